/*
 * A toolstack that does everything at once, beside programs that do what they like: domains are
 * created in one context and in several, synchronously and not, some refused; libraries come and go;
 * threads fork, are cancelled, and have signals; stderr is full. `stress` returns the number of
 * faults, and says each.
 */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stub.h"

#define CREATORS 6
#define HANGS_AFTER_S 60
#define KIB 1024

int stress(char **words);

static void *shared;
static const char *library;
static int (*volatile remove_any)(const char *) = rmdir; /* which does not promise a path */
static uint32_t running, building;
static atomic_bool over;
static atomic_int faults;

__attribute__((format(printf, 1, 2)))
static void fault(const char *format, ...)
{
    char line[256];
    va_list words;

    va_start(words, format);
    int length = vsnprintf(line, sizeof line, format, words);
    va_end(words);
    faults++;
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        abort();
}

/* A creation says by its target which domain it is of; a few KiB are between two of them. */
static void configure(char *config, size_t size, uint32_t domid, const char *more)
{
    char uuid[64] = "", digits[3];

    snprintf(digits, sizeof digits, "%02x", domid & 0xff);
    for (int i = 0; i < 16; i++) {
        strcat(uuid, i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "");
        strcat(uuid, digits);
    }
    snprintf(config, size, "{\"c_info\":{\"uuid\":\"%s\"},\"b_info\":{\"max_memkb\":262144,"
             "\"target_memkb\":%" PRIu32 "},\"stub_domid\":%" PRIu32 "%s}", uuid,
             128 * KIB + 4 * domid, domid, more);
}

static void create(void *context, uint32_t domid, bool restored)
{
    char config[512];
    uint32_t made = 0;
    int rc;

    configure(config, sizeof config, domid, "");
    if (restored)
        rc = libxl_domain_create_restore(context, config, &made, 0, -1, NULL, NULL, NULL);
    else
        rc = libxl_domain_create_new(context, config, &made, NULL, NULL);
    if (rc || made != domid)
        fault("creation of %" PRIu32 ": rc %d, domain %" PRIu32 "\n", domid, rc, made);
}

static void *create_in_shared(void *number)
{
    uint32_t domid = building + (uint32_t)(uintptr_t)number;

    for (int i = 0; !over; i++)
        create(shared, domid, i % 2);
    return NULL;
}

static void *create_in_own(void *nothing)
{
    (void)nothing;
    while (!over) {
        void *context;
        libxl_ctx_alloc(&context, 0, 0, NULL);
        create(context, building + CREATORS, false);
        libxl_ctx_free(context);
    }
    return NULL;
}

static void on_end(void *context, int rc, void *expected)
{
    (void)context;
    if (rc != (int)(intptr_t)expected)
        fault("an operation ended with %d\n", rc);
}

/* Asynchronous ones: that succeed, fail later, or are refused; reported by a callback or an event. */
static void *begin(void *nothing)
{
    static const char *const ends[] = { "", ",\"stub_fail\":1", ",\"stub_refuse\":1" };
    static const int codes[] = { 0, -3, 0 };
    char config[512];
    uint32_t domid = building + CREATORS + 1, made;

    (void)nothing;
    for (int i = 0; !over; i++) {
        struct how by_callback = { on_end, (void *)(intptr_t)codes[i % 3] };
        struct how by_event = { NULL, (void *)1 };
        configure(config, sizeof config, domid, ends[i % 3]);
        int rc = libxl_domain_create_new(shared, config, &made, i % 2 ? &by_callback : &by_event, NULL);
        if ((rc != 0) != (i % 3 == 2))
            fault("asynchronous creation %d: rc %d\n", i, rc);
        stub_poll(shared);
    }
    return NULL;
}

static void *set(void *nothing)
{
    (void)nothing;
    for (uint64_t i = 0; !over; i++) {
        uint64_t kib = (600 + i % 100) * KIB;
        errno = 7;
        if (libxl_domain_setmaxmem(shared, running, kib) || xc_domain_setmaxmem(NULL, running + 1, kib)
            || libxl_set_memory_target(shared, running + 2, (int64_t)kib, 0, 1) || errno != 7)
            fault("set: errno %d\n", errno);
    }
    return NULL;
}

/* What is refused says a line on a stderr that takes none; dlerror()'s message stays. */
static void *be_refused(void *nothing)
{
    (void)nothing;
    while (!over) {
        dlopen("/nonexistent.so", RTLD_NOW);
        if (xc_domain_setmaxmem(NULL, 9999, 1024) != -1 || errno != ESRCH)
            fault("refused: errno %d\n", errno);
        if (remove_any(NULL) != -1 || errno != EFAULT)
            fault("rmdir: errno %d\n", errno);
        if (!dlerror())
            fault("no message of dlerror\n");
    }
    return NULL;
}

static void *load(void *nothing)
{
    (void)nothing;
    while (!over) {
        void *loaded = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        if (!loaded)
            fault("%s\n", dlerror());
        else
            dlclose(loaded);
    }
    return NULL;
}

static void *fork_and_ask(void *nothing)
{
    (void)nothing;
    for (int i = 0; !over; i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0)
            _exit(i % 2 ? xc_domain_populate_physmap_exact(NULL, running, 1, 0, 0, NULL) != 0
                        : xc_domain_setmaxmem(NULL, running + 3, 700 * KIB) != 0);
        for (int ms = 0; waitpid(child, &status, WNOHANG) != child; ms++) {
            if (ms == HANGS_AFTER_S * 1000)
                kill(child, SIGKILL);
            usleep(1000);
        }
        if (status)
            fault("child %d: status %d\n", i, status);
    }
    return NULL;
}

static void *ask_once(void *nothing)
{
    (void)nothing;
    xc_domain_setmaxmem(NULL, running + 4, 700 * KIB);
    return NULL;
}

static void *cancel(void *nothing)
{
    (void)nothing;
    while (!over) {
        pthread_t thread;
        pthread_create(&thread, NULL, ask_once, NULL);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    return NULL;
}

static void on_tick(int number)
{
    int before = errno;

    (void)number;
    if (rmdir("/dev/null/none") != -1 || errno != ENOTDIR)
        faults++;
    errno = before;
}

/* stress SECONDS LIBRARY RUNNING BUILDING: the first domids of those that it may use. */
int stress(char **words)
{
    void *(*const all[])(void *) = {
        create_in_own, begin, set, be_refused, load, fork_and_ask, fork_and_ask, cancel,
    };
    enum { OTHERS = sizeof all / sizeof *all };
    pthread_t threads[CREATORS + OTHERS];
    struct sigaction action = { .sa_handler = on_tick };
    struct itimerval each = { { 0, 2000 }, { 0, 2000 } }, none = { { 0, 0 }, { 0, 0 } };

    library = words[1];
    running = (uint32_t)atoi(words[2]);
    building = (uint32_t)atoi(words[3]);
    libxl_ctx_alloc(&shared, 0, 0, NULL);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &each, NULL);
    for (uintptr_t i = 0; i < CREATORS; i++)
        pthread_create(&threads[i], NULL, create_in_shared, (void *)i);
    for (int i = 0; i < OTHERS; i++)
        pthread_create(&threads[CREATORS + i], NULL, all[i], NULL);
    for (time_t until = time(NULL) + atoi(words[0]); time(NULL) < until;)
        usleep(100000);
    over = true;
    for (int i = 0; i < CREATORS + OTHERS; i++)
        pthread_join(threads[i], NULL);
    setitimer(ITIMER_REAL, &none, NULL);
    libxl_ctx_free(shared);
    return faults;
}
