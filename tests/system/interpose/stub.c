/*
 * libxenctrl, libxentoollog and libxenlight in miniature: the names that the interposing library
 * stands before. Each call that would reach Xen is one line in the file that STUB_LOG names.
 * A configuration is its own JSON text; STUB_SLACK is this libxl's constant in KiB.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
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

/* Build: set the sum, then populate; a stub domain beside it where one is wanted. */
static int build(void *config, uint32_t *domid)
{
    const char *target = strstr(config, "\"target_memkb\":");
    uint64_t kib = target ? strtoull(target + 15, NULL, 10) : 32768;

    *domid = (uint32_t)number(DOMID_OF_BUILD, 2);
    if (xc_domain_setmaxmem(NULL, *domid, kib + (uint64_t)number("STUB_SLACK", 1024)) != 0) {
        fprintf(stderr, "stub: setting domain maxmem: %s\n", strerror(errno));
        return -3;
    }
    if (number("STUB_STUBDOM", 0))
        xc_domain_setmaxmem(NULL, (uint32_t)number("STUB_STUBDOM", 0), 28672 + 1024);
    return xc_domain_populate_physmap_exact(NULL, *domid, kib / 4, 0, 0, NULL);
}

int libxl_domain_create_new(void *context, void *config, uint32_t *domid, const void *how, const void *console)
{
    (void)context, (void)how, (void)console;
    return build(config, domid);
}

int libxl_domain_create_restore(void *context, void *config, uint32_t *domid, int fd, int back,
                                const void *params, const void *how, const void *console)
{
    (void)context, (void)fd, (void)back, (void)params, (void)how, (void)console;
    return build(config, domid);
}
