/*
 * One HTTP exchange: one request, one reply of a stated length, and the connection is closed.
 *
 * A client library would do more and costs more: loading libcurl and the two dozen libraries that
 * it depends on takes more than half as long as a whole `xl mem-max`. So this is written by hand, for the one
 * server that there is, and understands nothing but what that server sends: a reply in chunks, of
 * no stated length or of too many bytes is refused with a word.
 *
 * It is made to run inside of any program: one descriptor, close-on-exec from its birth; no memory
 * from the heap; nothing that is kept between calls, so nothing that a fork could break; no
 * SIGPIPE; calls that a signal interrupts go on; every wait ends by one deadline.
 */
#include "exchange.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 1000
#define REQUEST_MOST 2048
#define END_OF_HEAD "\r\n\r\n"
#define LENGTH_UNKNOWN (-1)

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* Note what is wrong and return the outcome. */
__attribute__((format(printf, 3, 4)))
static enum outcome trouble(struct exchange *with, enum outcome outcome, const char *format, ...)
{
    va_list words;

    va_start(words, format);
    vsnprintf(with->trouble, sizeof with->trouble, format, words);
    va_end(words);
    return outcome;
}

/*
 * Connect, for a second at most: where the queue of a Unix socket is full, connect waits for as
 * long as SO_SNDTIMEO says, and poll has no part in it (unix(7)).
 */
static enum outcome join(struct exchange *with, int fd)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { CONNECT_MS / 1000, CONNECT_MS % 1000 * 1000 };
    int64_t until = now_ms() + CONNECT_MS;
    int failed;

    if (strlen(with->socket) >= sizeof address.sun_path)
        return trouble(with, NOBODY_THERE, "the socket's path is too long");
    strcpy(address.sun_path, with->socket);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    do
        failed = connect(fd, (const struct sockaddr *)&address, sizeof address);
    while (failed && errno == EINTR && now_ms() < until);
    if (failed && (errno == EAGAIN || errno == EINTR))
        return trouble(with, NOBODY_THERE, "nobody accepts the connection");
    if (failed)
        return trouble(with, NOBODY_THERE, "%s", strerror(errno));
    return ANSWERED;
}

/* Wait until the socket is ready; false at the deadline. */
static bool ready(int fd, short events, int64_t until)
{
    struct pollfd one = { fd, events, 0 };
    int64_t left;

    while ((left = until - now_ms()) > 0)
        if (poll(&one, 1, (int)left) > 0) /* else a signal, or the deadline */
            return true;
    return false;
}

/* Send all. A server that closes early may have said why: that is read, whatever became of this. */
static enum outcome tell(struct exchange *with, int fd, int64_t until)
{
    char request[REQUEST_MOST];
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                          "Idempotency-Key: %s\r\n\r\n%s",
                          with->method, with->path, strlen(with->body), with->key, with->body);
    size_t sent = 0;

    if (length < 0 || (size_t)length >= sizeof request)
        return trouble(with, NO_ANSWER, "the request is too long");
    while (sent < (size_t)length) {
        ssize_t part = send(fd, request + sent, (size_t)length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part >= 0)
            sent += (size_t)part;
        else if (errno == EAGAIN && !ready(fd, POLLOUT, until))
            return trouble(with, NO_ANSWER, "the request is not taken in %ld ms", with->reply_ms);
        else if (errno != EAGAIN && errno != EINTR)
            return ANSWERED;
    }
    return ANSWERED;
}

/* Return the value of the only header of that name, "" where there is none, NULL for several. */
static const char *header(const char *head, const char *name)
{
    size_t length = strlen(name);
    const char *found = "";

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) || line[length] != ':')
            continue;
        if (*found)
            return NULL;
        found = line + length + 1;
        found += strspn(found, " \t");
    }
    return found;
}

/* Read decimal digits up to the end of a header's line; LENGTH_UNKNOWN for anything else. */
static long number(const char *value)
{
    char *end;
    long amount;

    if (!isdigit((unsigned char)*value))
        return LENGTH_UNKNOWN;
    errno = 0;
    amount = strtol(value, &end, 10);
    end += strspn(end, " \t");
    return strncmp(end, "\r\n", 2) || errno ? LENGTH_UNKNOWN : amount;
}

/* Understand a head, which a 0 ends after its last line: the status, and the body's length. */
static enum outcome understand(struct exchange *with, const char *head, size_t room, size_t *length)
{
    const char *said, *encoding;
    long stated;

    if (strncmp(head, "HTTP/1.", 7) || !isdigit((unsigned char)head[7]) || head[8] != ' '
        || strspn(head + 9, "0123456789") != 3 || !strchr(" \r", head[12]) || !head[12])
        return trouble(with, NO_ANSWER, "what it sends is not HTTP");
    with->status = strtol(head + 9, NULL, 10);
    if (with->status < 200)
        return trouble(with, NO_ANSWER, "it sends status %ld, which nobody asked for", with->status);

    encoding = header(head, "Transfer-Encoding");
    if (!encoding || *encoding)
        return trouble(with, NO_ANSWER, "its reply has a transfer encoding (chunks?)");
    said = header(head, "Content-Length");
    stated = said ? number(said) : LENGTH_UNKNOWN;
    if (stated == LENGTH_UNKNOWN)
        return trouble(with, NO_ANSWER, "its reply does not state one length");
    if ((size_t)stated > room)
        return trouble(with, NO_ANSWER, "its reply of %ld bytes is too long", stated);
    *length = (size_t)stated;
    return ANSWERED;
}

/* Take in more of the reply; ANSWERED where there was some. */
static enum outcome more(struct exchange *with, int fd, int64_t until)
{
    size_t room = sizeof with->reply - 1 - with->length;
    ssize_t part;

    if (room == 0)
        return trouble(with, NO_ANSWER, "its reply is too long");
    do {
        if (!ready(fd, POLLIN, until))
            return trouble(with, NO_ANSWER, "no reply in %ld ms", with->reply_ms);
        part = recv(fd, with->reply + with->length, room, MSG_DONTWAIT);
    } while (part < 0 && (errno == EINTR || errno == EAGAIN));
    if (part < 0)
        return trouble(with, CUT_OFF, "%s", strerror(errno));
    if (part == 0)
        return trouble(with, CUT_OFF, "the connection ended before the reply did");
    with->length += (size_t)part;
    return ANSWERED;
}

/* Take in the reply; its body is left at the beginning of `reply`. */
static enum outcome hear(struct exchange *with, int fd, int64_t until)
{
    char *const reply = with->reply, *end = NULL;
    enum outcome outcome = ANSWERED;
    size_t head, length = 0;

    while (!end) {
        if ((outcome = more(with, fd, until)) != ANSWERED)
            return outcome;
        end = memmem(reply, with->length, END_OF_HEAD, strlen(END_OF_HEAD));
    }
    head = (size_t)(end - reply) + strlen(END_OF_HEAD);
    if (memchr(reply, '\0', head))
        return trouble(with, NO_ANSWER, "what it sends is not HTTP");
    end[2] = '\0'; /* every line of the head keeps its end */
    outcome = understand(with, reply, sizeof with->reply - 1 - head, &length);
    while (outcome == ANSWERED && with->length - head < length)
        outcome = more(with, fd, until);
    memmove(reply, reply + head, length);
    reply[length] = '\0';
    with->length = length;
    return outcome;
}

enum outcome exchange(struct exchange *with)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t until = now_ms() + with->reply_ms;

    with->length = 0;
    with->status = 0;
    with->reply[0] = '\0';
    if (fd < 0)
        return trouble(with, NOBODY_THERE, "%s", strerror(errno));
    enum outcome outcome = join(with, fd);
    if (outcome == ANSWERED)
        outcome = tell(with, fd, until);
    if (outcome == ANSWERED)
        outcome = hear(with, fd, until);
    close(fd);
    return outcome;
}
