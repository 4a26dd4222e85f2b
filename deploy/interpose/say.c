/*
 * Messages on stderr: one write for each line, so that threads do not mix theirs. The program must
 * not be the worse for it. So nothing waits until a full pipe or a stopped terminal takes a line, no
 * signal comes of it (SIGPIPE, SIGXFSZ, SIGTTOU), and a descriptor 2 that is another file of the
 * program is left alone.
 */
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lock.h"

static struct stat at_start; /* st_mode is 0 if there was no stderr */

__attribute__((constructor)) static void on_load(void)
{
    if (fstat(STDERR_FILENO, &at_start))
        at_start.st_mode = 0;
}

static bool is_same(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/*
 * Return whether descriptor 2 is stderr: what it was at the start, or the same as stdout, which a
 * daemon replaces together with it. Anything else the program may have opened after closing it.
 */
static bool is_stderr(struct stat *now)
{
    struct stat output;

    if (!at_start.st_mode || fstat(STDERR_FILENO, now))
        return false;
    return is_same(now, &at_start) || (!fstat(STDOUT_FILENO, &output) && is_same(now, &output));
}

/*
 * Write to a pipe or a terminal without waiting. O_NONBLOCK belongs to the open file, which other
 * processes share, so this opens it once more; where that is not allowed, it asks first.
 */
static void write_without_waiting(const char *line, size_t length)
{
    struct pollfd one = { STDERR_FILENO, POLLOUT, 0 };
    ssize_t written = 0;

    lock_state(); /* a child must not keep a pipe open */
    int again = open("/proc/thread-self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    bool is_allowed = again >= 0 || errno == ENXIO; /* which is a pipe without a reader */
    if (again >= 0) {
        written = write(again, line, length);
        close(again);
    }
    unlock_state();
    if (!is_allowed && poll(&one, 1, 0) > 0)
        written = write(STDERR_FILENO, line, length);
    (void)written; /* there is no other place to report a failure */
}

static void write_line(const char *line, size_t length)
{
    struct stat now;
    ssize_t written = 0;

    if (!is_stderr(&now))
        return;
    if (S_ISSOCK(now.st_mode))
        written = send(STDERR_FILENO, line, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (S_ISFIFO(now.st_mode) || S_ISCHR(now.st_mode))
        write_without_waiting(line, length);
    else
        written = write(STDERR_FILENO, line, length);
    (void)written;
}

/* Write with these signals blocked, and take away those that came of it. */
static void write_quietly(const char *line, size_t length)
{
    static const int raised[] = { SIGPIPE, SIGXFSZ, SIGTTOU };
    enum { COUNT = sizeof raised / sizeof *raised };
    const struct timespec at_once = { 0, 0 };
    sigset_t pending, before, one;
    int cancelled;

    sigemptyset(&one);
    for (int i = 0; i < COUNT; i++)
        sigaddset(&one, raised[i]);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
    pthread_sigmask(SIG_BLOCK, &one, &before);
    sigpending(&pending);
    write_line(line, length);
    for (int i = 0; i < COUNT; i++) {
        sigemptyset(&one);
        sigaddset(&one, raised[i]);
        if (!sigismember(&pending, raised[i]))
            sigtimedwait(&one, NULL, &at_once);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_setcancelstate(cancelled, NULL);
}

__attribute__((format(printf, 2, 0)))
static void say_after(const char *beginning, const char *format, va_list words)
{
    int before = errno;
    char line[1024];
    int head = snprintf(line, sizeof line, "%s", beginning);

    vsnprintf(line + head, sizeof line - (size_t)head - 1, format, words);
    size_t length = strlen(line);
    line[length] = '\n';
    write_quietly(line, length + 1);
    errno = before;
}

void say(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    say_after("maxmemd: ", format, words);
    va_end(words);
}

void say_as_libxl(const char *format, ...)
{
    va_list words;

    va_start(words, format);
    say_after("libxl: error: ", format, words);
    va_end(words);
}

const char *error_text(int number)
{
#if __GLIBC_PREREQ(2, 32)
    const char *text = strerrordesc_np(number);
    return text ? text : "unknown error";
#else
    return strerror(number);
#endif
}
