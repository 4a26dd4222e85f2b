/*
 * A plugin that uses libxl and libxenctrl, loaded for itself alone by loader.c: one verb for each
 * awkward thing that a program may do around its calls. Each returns the number of faults.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stub.h"

#define HANGS_AFTER_S 20
#define MIB 1024
#define KIB_OF(number) (UINT64_C(700) * MIB + (uint64_t)(number) * 4)

int plugin_asks(void);
int run(char **words);
int stress(char **words);

static void *context;
static atomic_bool over;

static int populate(void)
{
    return xc_domain_populate_physmap_exact(NULL, 1, 1, 0, 0, NULL);
}

int plugin_asks(void)
{
    return populate();
}

static int nothing(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)info, (void)size, (void)data;
    return 0;
}

/* Load and unload a library, and look at all that are loaded, until it is over. */
static void *load(void *path)
{
    while (!over) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            abort();
        dlclose(library);
        dl_iterate_phdr(nothing, NULL);
    }
    return NULL;
}

static void *ask(void *domid)
{
    while (!over)
        xc_domain_setmaxmem(NULL, *(const uint32_t *)domid, KIB_OF(0));
    return NULL;
}

/* loads LIBRARY TIMES: call the originals beside a thread that loads and unloads. */
static int loads(char **words)
{
    pthread_t other;
    int bad = 0;

    pthread_create(&other, NULL, load, words[0]);
    for (int i = 0; i < atoi(words[1]); i++)
        bad += populate() != 0;
    over = true;
    pthread_join(other, NULL);
    return bad;
}

/* constructs LIBRARY: one whose constructor waits for a thread that asks. */
static int constructs(char **words)
{
    return dlopen(words[0], RTLD_NOW | RTLD_LOCAL) ? 0 : 1;
}

/* Return 1 if a child hangs, or its call fails. */
static int child_fails(int (*call)(void))
{
    int status = 0;
    pid_t child = fork();

    if (child == 0)
        _exit(call() != 0);
    for (int i = 0; i < HANGS_AFTER_S * 1000; i++) {
        if (waitpid(child, &status, WNOHANG) == child)
            return status != 0;
        usleep(1000);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return 1;
}

static uint32_t forked_domid;

static int set_in_child(void)
{
    return xc_domain_setmaxmem(NULL, forked_domid, KIB_OF(0));
}

static int populate_in_grandchild(void)
{
    return populate() || child_fails(populate);
}

/* forks DOMID TIMES: fork beside threads that ask. */
static int forks(char **words)
{
    pthread_t others[4];
    int bad = 0;

    forked_domid = (uint32_t)atoi(words[0]);
    for (int i = 0; i < 4; i++)
        pthread_create(&others[i], NULL, ask, &forked_domid);
    for (int i = 0; i < atoi(words[1]) && !bad; i++)
        bad += child_fails(set_in_child);
    over = true;
    for (int i = 0; i < 4; i++)
        pthread_join(others[i], NULL);
    return bad;
}

/* forks-loading LIBRARY TIMES: fork beside a thread that loads and unloads. */
static int forks_loading(char **words)
{
    pthread_t other;
    int bad = 0;

    pthread_create(&other, NULL, load, words[0]);
    for (int i = 0; i < atoi(words[1]) && !bad; i++)
        bad += child_fails(populate_in_grandchild);
    over = true;
    pthread_join(other, NULL);
    return bad;
}

static int sockets(void)
{
    char name[64], target[64];
    int found = 0;

    for (int fd = 0; fd < 64; fd++) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(name, target, sizeof target - 1);
        found += length > 7 && !strncmp(target, "socket:", 7);
    }
    return found;
}

/* Fork while another thread waits for a daemon that does not answer: the child has no socket. */
static int forks_waiting(char **words)
{
    uint32_t domid = (uint32_t)atoi(words[0]);
    pthread_t other;

    pthread_create(&other, NULL, ask, &domid);
    while (!sockets())
        usleep(1000);
    int bad = child_fails(sockets);
    over = true;
    pthread_join(other, NULL);
    return bad;
}

struct creation {
    const char *verb;
    char *config;
    uint32_t domid;
    int rc;
};

static void *create(void *data)
{
    struct creation *one = data;

    if (!strcmp(one->verb, "create"))
        one->rc = libxl_domain_create_new(context, one->config, &one->domid, NULL, NULL);
    else
        one->rc = libxl_domain_create_restore(context, one->config, &one->domid, 0, -1, NULL, NULL, NULL);
    return NULL;
}

/* crowd (create|restore CONFIG)...: all at once in one context, a thread for each. */
static int crowd(char **words)
{
    struct creation all[32];
    pthread_t threads[32];
    int count = 0, bad = 0;

    for (; *words; words += 2) {
        all[count] = (struct creation){ words[0], words[1], 0, -1 };
        pthread_create(&threads[count], NULL, create, &all[count]);
        count++;
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        bad += all[i].rc != 0;
    }
    return bad;
}

static int ended;

static void end(void *in, int rc, void *how_often)
{
    if (in != context)
        abort();
    ended = rc;
    ++*(int *)how_often;
}

/* begins HOW CONFIG DOMID KIB: begin an asynchronous creation, go on with it, then set a maximum. */
static int begins(char **words)
{
    int reports = 0;
    struct how with_callback = { end, &reports }, by_event = { NULL, &reports };
    const struct how *how = !strcmp(words[0], "callback") ? &with_callback : &by_event;
    uint32_t domid = 0;

    int rc = libxl_domain_create_new(context, words[1], &domid, how, NULL);
    stub_poll(context);
    if (reports != (rc == 0 && how == &with_callback) || (reports && ended != (strstr(words[1], "stub_fail") ? -3 : 0)))
        return 1;
    return xc_domain_setmaxmem(NULL, (uint32_t)atoi(words[2]), strtoull(words[3], NULL, 10)) != 0;
}

/* Addresses that are none: the kernel's answer, and no message for dlerror() is taken away. */
static int addresses(char **words)
{
    void *const none[] = { NULL, (void *)8, (void *)-1 };
    int (*volatile remove_any)(const char *) = rmdir, (*volatile change_root)(const char *) = chroot;
    int bad = 0;

    (void)words;
    for (int i = 0; i < 3; i++) {
        errno = 0;
        bad += remove_any(none[i]) != -1 || errno != EFAULT;
        errno = 0;
        bad += change_root(none[i]) != -1 || (errno != EFAULT && errno != EPERM);
    }
    dlopen("/nonexistent.so", RTLD_NOW);
    bad += rmdir("/dev/null/none") != -1 || errno != ENOTDIR;
    bad += populate() != 0;
    bad += libxl_domain_setmaxmem(context, 999, KIB_OF(0)) == 0;
    bad += dlerror() == NULL;
    errno = 7;
    bad += populate() != 0 || errno != 7;
    return bad;
}

static void *set_once(void *domid)
{
    return (void *)(intptr_t)xc_domain_setmaxmem(NULL, *(const uint32_t *)domid, KIB_OF(0));
}

/* small DOMID: ask in a thread with the smallest stack that there is. */
static int small(char **words)
{
    uint32_t domid = (uint32_t)atoi(words[0]);
    pthread_attr_t attributes;
    pthread_t thread;
    void *result;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)PTHREAD_STACK_MIN);
    if (pthread_create(&thread, &attributes, set_once, &domid))
        return 1;
    pthread_join(thread, &result);
    return result != NULL;
}

/* cancels DOMID: cancel a thread while it waits for the daemon: its call ends as it would. */
static int cancels(char **words)
{
    uint32_t domid = (uint32_t)atoi(words[0]);
    pthread_t thread;
    void *result;

    pthread_create(&thread, NULL, set_once, &domid);
    while (!sockets())
        usleep(1000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    return result != (void *)-1 || sockets();
}

/* writes DOMID FILE: with no stderr; what the program opens now is descriptor 2, and its own. */
static int writes(char **words)
{
    close(2);
    if (open(words[1], O_WRONLY | O_CREAT, 0600) != 2)
        return 1;
    return xc_domain_setmaxmem(NULL, (uint32_t)atoi(words[0]), KIB_OF(0)) != -1;
}

/* daemonizes DOMID FILE: as `xl create` does, whose messages then go to its log. */
static int daemonizes(char **words)
{
    int file = open(words[1], O_WRONLY | O_CREAT | O_APPEND, 0600), output = dup(1);

    dup2(file, 1);
    dup2(file, 2);
    int rc = xc_domain_setmaxmem(NULL, (uint32_t)atoi(words[0]), KIB_OF(0));
    dup2(output, 1);
    return rc != -1;
}

/* refuses DOMID TIMES: ask for what is refused, which says one line each time. */
static int refuses(char **words)
{
    int bad = 0;

    for (int i = 0; i < atoi(words[1]); i++)
        bad += xc_domain_setmaxmem(NULL, (uint32_t)atoi(words[0]), KIB_OF(0)) != -1;
    return bad;
}

/* limits DOMID: refuses, where files may not become larger. */
static int limits(char **words)
{
    const struct rlimit none = { 0, 0 };

    setrlimit(RLIMIT_FSIZE, &none);
    return xc_domain_setmaxmem(NULL, (uint32_t)atoi(words[0]), KIB_OF(0)) != -1;
}

int run(char **words)
{
    static const struct { const char *name; int (*verb)(char **); bool is_first; } verbs[] = {
        { "forks", forks, true }, { "forks-loading", forks_loading, true },
        { "loads", loads, false }, { "constructs", constructs, false },
        { "forks-waiting", forks_waiting, false }, { "crowd", crowd, false },
        { "begins", begins, false }, { "addresses", addresses, false },
        { "cancels", cancels, false }, { "writes", writes, false },
        { "daemonizes", daemonizes, false }, { "refuses", refuses, false },
        { "limits", limits, false }, { "small", small, false }, { "stress", stress, false },
    };

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(words[0], verbs[i].name))
            continue;
        if (!verbs[i].is_first) /* else its calls are the first of all */
            libxl_ctx_alloc(&context, 0, 0, NULL);
        int bad = verbs[i].verb(words + 1);
        if (!verbs[i].is_first)
            libxl_ctx_free(context);
        return bad;
    }
    return 99;
}
