/*
 * A program that uses libxl and libxenctrl, unaware of maxmemd: `client VERB NUMBERS...` prints
 * what the call returned, and errno. `client times COUNT VERB NUMBERS...` does it so many times.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

struct dominfo { char bytes[1024]; };

int xc_domain_setmaxmem(void *xch, uint32_t domid, uint64_t max_memkb);
int xc_domain_getinfo(void *xch, uint32_t first, unsigned int count, struct dominfo *info);
int xc_domain_getinfo_single(void *xch, uint32_t domid, struct dominfo *info);
int xc_domain_populate_physmap_exact(void *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, void *start);
int libxl_ctx_alloc(void **context, int version, unsigned flags, void *logger);
int libxl_ctx_free(void *context);
int libxl_domain_setmaxmem(void *context, uint32_t domid, uint64_t max_memkb);
int libxl_set_memory_target(void *context, uint32_t domid, int64_t kib, int relative, int enforce);
int libxl_domain_create_new(void *context, void *config, uint32_t *domid, const void *how, const void *console);
int libxl_domain_create_restore(void *context, void *config, uint32_t *domid, int fd, int back,
                                const void *params, const void *how, const void *console);

static void *context;
static char **words;

static uint64_t word(int at)
{
    return strtoull(words[at], NULL, 0);
}

static void *one_increase(void *data)
{
    struct dominfo info;

    (void)data;
    xc_domain_getinfo(NULL, (uint32_t)word(2), 1, &info);
    for (uint64_t i = 0; i < word(4); i++) {
        xc_domain_getinfo(NULL, (uint32_t)word(2), 1, &info);
        if (xc_domain_setmaxmem(NULL, (uint32_t)word(2), 132096 + 4) != 0)
            abort();
    }
    return NULL;
}

static int threads(void)
{
    pthread_t all[64];
    int count = (int)word(3);

    for (int i = 0; i < count; i++)
        pthread_create(&all[i], NULL, one_increase, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(all[i], NULL);
    return 0;
}

/* Fork while other threads ask; every child asks too. */
static int forks(void)
{
    pthread_t other;
    int bad = 0, status;

    pthread_create(&other, NULL, one_increase, NULL);
    for (uint64_t i = 0; i < word(3); i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(libxl_domain_setmaxmem(context, 1, 716800 + i * 4) == 0 ? 0 : 1);
        waitpid(child, &status, 0);
        bad += status != 0;
    }
    pthread_join(other, NULL);
    return bad;
}

/* Exec while other threads ask: the new program must have no descriptor but the first three. */
static int execs(void)
{
    pthread_t other;
    int bad = 0, status;

    pthread_create(&other, NULL, one_increase, NULL);
    for (uint64_t i = 0; i < word(3); i++) {
        char *arguments[] = { words[5], NULL };
        pid_t child;
        posix_spawn(&child, words[5], NULL, NULL, arguments, NULL);
        waitpid(child, &status, 0);
        bad += status != 0;
    }
    pthread_join(other, NULL);
    return bad;
}

static void tick(int number)
{
    (void)number;
}

/* Ask while a timer interrupts every millisecond, and system calls are not restarted. */
static int ticking(void)
{
    struct sigaction action = { .sa_handler = tick };
    struct itimerval each = { { 0, 1000 }, { 0, 1000 } }, none = { { 0, 0 }, { 0, 0 } };

    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &each, NULL);
    int rc = libxl_domain_setmaxmem(context, (uint32_t)word(2), word(3));
    setitimer(ITIMER_REAL, &none, NULL);
    return rc;
}

static int bump(void)
{
    struct dominfo info;
    uint32_t domid = (uint32_t)word(2);

    if (word(3) == 1)
        xc_domain_getinfo(NULL, domid, 1, &info);
    if (word(3) == 2)
        xc_domain_getinfo_single(NULL, domid, &info);
    return xc_domain_setmaxmem(NULL, domid, word(4));
}

static int run(const char *verb)
{
    uint32_t domid = 0;

    if (!strcmp(verb, "max"))
        return libxl_domain_setmaxmem(context, (uint32_t)word(2), word(3));
    if (!strcmp(verb, "target"))
        return libxl_set_memory_target(context, (uint32_t)word(2), (int64_t)word(3), (int)word(4), (int)word(5));
    if (!strcmp(verb, "create"))
        return libxl_domain_create_new(context, words[2], &domid, NULL, NULL);
    if (!strcmp(verb, "restore"))
        return libxl_domain_create_restore(context, words[2], &domid, open(words[3], O_RDONLY | O_CLOEXEC), -1, NULL, NULL, NULL);
    if (!strcmp(verb, "raw"))
        return xc_domain_setmaxmem(NULL, (uint32_t)word(2), word(3));
    if (!strcmp(verb, "ticking"))
        return ticking();
    if (!strcmp(verb, "bump"))
        return bump();
    if (!strcmp(verb, "populate"))
        return xc_domain_populate_physmap_exact(NULL, (uint32_t)word(2), word(3), 0, 0, NULL);
    if (!strcmp(verb, "threads"))
        return threads();
    if (!strcmp(verb, "forks"))
        return forks();
    if (!strcmp(verb, "execs"))
        return execs();
    return 99;
}

int main(int count, char **given)
{
    words = given;
    if (count < 2)
        return 2;
    int times = 1;
    if (!strcmp(given[1], "times") && count > 3) {
        times = atoi(given[2]);
        words += 2;
    }
    libxl_ctx_alloc(&context, 0, 0, "the logger");
    while (times--) {
        errno = 0;
        int rc = run(words[1]);
        printf("rc=%d errno=%d\n", rc, rc ? errno : 0);
    }
    libxl_ctx_free(context);
    return 0;
}
