/*
 * libxenctrl, libxentoollog and libxenlight in miniature: the names that the interposing library
 * stands before. Each call that would reach Xen is one line in the file that STUB_LOG names.
 * A configuration is its own JSON text; STUB_SLACK is this libxl's constant in KiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DOMID_OF_BUILD "STUB_DOMID"

static int file;

/* Once: who has locked itself into another root would not find it. */
__attribute__((constructor)) static void open_log(void)
{
    file = open(getenv("STUB_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void note(const char *format, ...)
{
    char line[256];
    va_list words;

    va_start(words, format);
    int length = vsnprintf(line, sizeof line, format, words);
    va_end(words);
    if (write(file, line, (size_t)length) != length)
        abort();
}

static long number(const char *name, long otherwise)
{
    const char *text = getenv(name);

    return text ? atol(text) : otherwise;
}

int xc_domain_setmaxmem(void *xch, uint32_t domid, uint64_t max_memkb)
{
    (void)xch;
    note("setmaxmem %" PRIu32 " %" PRIu64 "\n", domid, max_memkb);
    return 0;
}

/* xc_dominfo_t of Xen 4.3 to 4.17, as far as it matters. */
struct dominfo {
    uint32_t domid, ssidref;
    unsigned int flags, shutdown_reason;
    unsigned long pages[4], shared_info_frame;
    uint64_t cpu_time;
    unsigned long max_memkb;
};

int xc_domain_getinfo(void *xch, uint32_t first, unsigned int count, struct dominfo *info)
{
    (void)xch, (void)count;
    memset(info, 0, sizeof *info);
    info->domid = first;
    info->max_memkb = (unsigned long)number("STUB_MAX", 132096);
    return 1;
}

/* struct xen_domctl_getdomaininfo up to the UUID, which is the domid in each of its 16 bytes. */
struct info {
    uint16_t domid, padding;
    uint32_t flags;
    uint64_t tot_pages, max_pages, others[5];
    uint32_t numbers[3];
    uint8_t handle[16];
};

/* Of Xen 4.18 and later. */
int xc_domain_getinfo_single(void *xch, uint32_t domid, struct info *info)
{
    (void)xch;
    *info = (struct info){ .domid = (uint16_t)domid };
    info->max_pages = (uint64_t)number("STUB_MAX", 132096) / 4;
    return 0;
}

/* With STUB_INFO it works; the domains up to that number have a maximum. */
int xc_domain_getinfolist(void *xch, uint32_t first, unsigned int count, struct info *info)
{
    (void)xch, (void)count;
    if (!number("STUB_INFO", 0))
        return -1;
    *info = (struct info){ .domid = (uint16_t)first };
    info->max_pages = first <= number("STUB_INFO", 0) ? 32768 : 0;
    memset(info->handle, (int)first, sizeof info->handle);
    return 1;
}

int xc_domain_populate_physmap_exact(void *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, void *start)
{
    (void)xch, (void)flags, (void)start;
    note("populate %" PRIu32 " %lu\n", domid, extents << order);
    return 0;
}

void xtl_log(void *logger, int level, int error, const char *context, const char *format, ...)
{
    char text[512];
    va_list words;

    va_start(words, format);
    vsnprintf(text, sizeof text, format, words);
    va_end(words);
    fprintf(stderr, "%s by %s: level %d: %s%s\n", context, (char *)logger, level, text,
            error >= 0 ? " (errno)" : "");
}

int libxl_ctx_alloc(void **context, int version, unsigned flags, void *logger)
{
    (void)version, (void)flags, (void)logger;
    *context = malloc(1);
    return 0;
}

int libxl_ctx_free(void *context)
{
    free(context);
    return 0;
}

int libxl_domain_setmaxmem(void *context, uint32_t domid, uint64_t max_memkb)
{
    note("libxl_domain_setmaxmem %" PRIu32 " %" PRIu64 "\n", domid, max_memkb);
    return xc_domain_setmaxmem(context, domid, max_memkb + (uint64_t)number("STUB_SLACK", 1024));
}

int libxl_set_memory_target(void *context, uint32_t domid, int64_t target, int relative, int enforce)
{
    note("libxl_set_memory_target %" PRIu32 " %" PRId64 " %d %d\n", domid, target, relative, enforce);
    return enforce ? xc_domain_setmaxmem(context, domid, (uint64_t)target + 1024) : 0;
}

char *libxl_domain_config_to_json(void *context, void *config)
{
    (void)context;
    return strdup(config);
}

/* A number of a configuration, or another one where that has it not. */
static uint64_t in_config(const char *config, const char *key, uint64_t otherwise)
{
    const char *found = strstr(config, key);

    return found ? strtoull(found + strlen(key), NULL, 10) : otherwise;
}

/* Build: set the sum, then populate; a stub domain beside it where one is wanted. */
static int build(void *config, uint32_t *domid)
{
    uint64_t kib = in_config(config, "\"target_memkb\":", 32768);

    *domid = (uint32_t)in_config(config, "\"stub_domid\":", (uint64_t)number(DOMID_OF_BUILD, 2));
    if (xc_domain_setmaxmem(NULL, *domid, kib + (uint64_t)number("STUB_SLACK", 1024)) != 0) {
        fprintf(stderr, "stub: setting domain maxmem: %s\n", strerror(errno));
        return -3;
    }
    if (number("STUB_STUBDOM", 0))
        xc_domain_setmaxmem(NULL, (uint32_t)number("STUB_STUBDOM", 0), 28672 + 1024);
    return xc_domain_populate_physmap_exact(NULL, *domid, kib / 4, 0, 0, NULL);
}

/* libxl_asyncop_how, for an operation that goes on after the call. */
struct how {
    void (*callback)(void *context, int rc, void *for_callback);
    void *for_callback;
};

/*
 * An operation that was begun. As in libxl, every thread that waits in a context goes on with
 * whatever is to be done there: never with its own, where another's is to be had.
 */
static struct operation {
    enum { FREE, WAITING, RUNNING, DONE } state;
    void *context, *config;
    uint32_t *domid;
    struct how how;
    int rc;
} operations[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long begun; /* so many, ever */

static struct operation *begin(void *context, void *config, uint32_t *domid, const struct how *how)
{
    struct operation *new = operations;

    pthread_mutex_lock(&lock);
    while (new->state != FREE)
        new++;
    *new = (struct operation){ WAITING, context, config, domid, { NULL, NULL }, 0 };
    if (how)
        new->how = *how;
    begun++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return new;
}

/* Return one that waits in this context, not this very one; called with the lock. */
static struct operation *another_of(void *context, const struct operation *own)
{
    for (struct operation *each = operations; each < operations + 64; each++)
        if (each->state == WAITING && each->context == context && each != own)
            return each;
    return NULL;
}

/* Called with the lock, which it gives up meanwhile. */
static void run_one(struct operation *one)
{
    one->state = RUNNING;
    pthread_mutex_unlock(&lock);
    int rc = strstr(one->config, "\"stub_fail\"") ? -3 : build(one->config, one->domid);
    struct how how = one->how;
    void *context = one->context;
    pthread_mutex_lock(&lock);
    one->rc = rc;
    one->state = how.callback || how.for_callback ? FREE : DONE;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (how.callback)
        how.callback(context, rc, how.for_callback);
    pthread_mutex_lock(&lock);
}

/* Whether an asynchronous operation goes on in this context; called with the lock. */
static bool is_going_on(void *context)
{
    for (struct operation *each = operations; each < operations + 64; each++)
        if (each->context == context && (each->state == WAITING || each->state == RUNNING)
            && (each->how.callback || each->how.for_callback))
            return true;
    return false;
}

/*
 * Go on with what is asynchronous in a context until all of it has ended, another thread's share
 * too: until then its configuration and the number of its domain are in use. No name of libxl's.
 */
void stub_poll(void *context)
{
    pthread_mutex_lock(&lock);
    while (is_going_on(context)) {
        struct operation *one = another_of(context, NULL);
        if (one)
            run_one(one);
        else
            pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

/*
 * With STUB_CROWD nothing is done before so many operations have been begun, none by the thread that
 * began it, and each thread does what there is to do.
 */
static int finish(struct operation *own)
{
    long crowd = number("STUB_CROWD", 0);
    struct operation *one;

    pthread_mutex_lock(&lock);
    while (begun < crowd)
        pthread_cond_wait(&changed, &lock);
    for (;;) {
        one = another_of(own->context, own);
        if (!one && !crowd && own->state == WAITING)
            one = own;
        if (one && (crowd || own->state != DONE))
            run_one(one);
        else if (own->state == DONE)
            break;
        else
            pthread_cond_wait(&changed, &lock);
    }
    int rc = own->rc;
    own->state = FREE;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int create(void *context, void *config, uint32_t *domid, const struct how *how)
{
    if (strstr(config, "\"stub_refuse\""))
        return -6;
    struct operation *own = begin(context, config, domid, how);
    return how ? 0 : finish(own);
}

int libxl_domain_create_new(void *context, void *config, uint32_t *domid, const void *how, const void *console)
{
    (void)console;
    return create(context, config, domid, how);
}

int libxl_domain_create_restore(void *context, void *config, uint32_t *domid, int fd, int back,
                                const void *params, const void *how, const void *console)
{
    (void)fd, (void)back, (void)params, (void)console;
    return create(context, config, domid, how);
}
