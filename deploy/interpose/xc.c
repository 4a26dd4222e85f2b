/*
 * The functions of libxenctrl that set a maximum or populate pages below it. Maxima are not written
 * to Xen here: the daemon decides and pushes, and the caller gets 0, or -1 and an errno.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "config.h"
#include "daemon.h"
#include "domain.h"
#include "intent.h"
#include "program.h"
#include "real.h"
#include "refusal.h"
#include "say.h"

#define EXPORT __attribute__((visibility("default")))
#define SLACK_KIB UINT64_C(1024)               /* LIBXL_MAXMEM_CONSTANT */
#define UNLIMITED_KIB UINT64_C(17179869180)    /* 0xFFFFFFFF pages */

#define PAGE_KIB UINT64_C(4)

/* The first fields of xc_dominfo_t, from Xen 4.3 to 4.17. 4.18 has xc_domain_getinfo_single() instead. */
struct dominfo {
    uint32_t domid, ssidref;
    unsigned int flags, shutdown_reason;
    unsigned long nr_pages, nr_outstanding_pages, nr_shared_pages, nr_paged_pages;
    unsigned long shared_info_frame;
    uint64_t cpu_time;
    unsigned long max_memkb;
};

EXPORT int xc_domain_setmaxmem(void *xch, uint32_t domid, uint64_t max_memkb);
EXPORT int xc_domain_getinfo(void *xch, uint32_t first, unsigned int count, struct dominfo *info);
EXPORT int xc_domain_getinfo_single(void *xch, uint32_t domid, struct domaininfo *info);
EXPORT int xc_domain_populate_physmap_exact(void *xch, uint32_t domid, unsigned long extents,
                                            unsigned int order, unsigned int flags, void *start);

static __thread struct {
    bool known;
    uint32_t domid;
    uint64_t max_kib;
} last_read; /* what a device model has read, of its read-modify-write */

static int set_without_daemon(void *xch, uint32_t domid, uint64_t max_memkb)
{
    int (*next)(void *, uint32_t, uint64_t) = real("xc_domain_setmaxmem");

    if (next)
        return next(xch, domid, max_memkb);
    errno = ENOSYS;
    return -1;
}

/* Return the caller's result for an answer; without one, do what when_away says. */
static int finish(const struct answer *answer, void *xch, uint32_t domid, uint64_t max_memkb)
{
    if (answer->granted)
        return 0;
    if (answer->away && config()->direct)
        return set_without_daemon(xch, domid, max_memkb);
    if (!answer->away)
        say("refused a maximum of %" PRIu64 " KiB for domain %" PRIu32 ": %s", max_memkb, domid,
            answer->detail);
    errno = errno_of(answer);
    return -1;
}

static uint64_t without_slack(uint64_t max_memkb)
{
    if (max_memkb >= UNLIMITED_KIB)
        return UNLIMITED_KIB;
    return max_memkb > SLACK_KIB ? max_memkb - SLACK_KIB : 0;
}

static struct answer announce(uint32_t domid, uint64_t max_memkb, const struct intent *build)
{
    uint64_t target = without_slack(max_memkb);

    if (build->target_kib != KIB_UNKNOWN)
        target = (uint64_t)build->target_kib;
    if (build->static_max_kib == KIB_UNKNOWN)
        return ask(domid, "POST", "builds", "{\"target_kib\": %" PRIu64 ", \"life\": \"%s\"}",
                   target, build->life);
    return ask(domid, "POST", "builds",
               "{\"target_kib\": %" PRIu64 ", \"life\": \"%s\", \"static_max_kib\": %" PRId64 "}",
               target, build->life, build->static_max_kib);
}

/*
 * A device model that reads a maximum and sets it higher means the difference; it may do no more.
 * Source: QEMU 2.3, xen-hvm.c:xen_ram_alloc.
 */
static int increase(void *xch, uint32_t domid, uint64_t max_memkb)
{
    if (!last_read.known || last_read.domid != domid) {
        say("refused a maximum for domain %" PRIu32 ": a device model may only add to what it"
            " has just read", domid);
        errno = EPERM;
        return -1;
    }
    last_read.known = false;
    if (last_read.max_kib >= UNLIMITED_KIB || last_read.max_kib == max_memkb)
        return 0;
    struct answer answer = ask(domid, "POST", "components/device-model/populated/increase",
                               "{\"by_kib\": %" PRId64 "}",
                               (int64_t)(max_memkb - last_read.max_kib));
    return finish(&answer, xch, domid, max_memkb);
}

/* The caller wants a sum, whatever the target, and no node written. */
static struct answer ask_for_limit(uint32_t domid, uint64_t max_memkb)
{
    return ask(domid, "PUT", "limit",
               "{\"max_mem_kib\": %" PRIu64 ", \"static_max\": false, \"force\": true}",
               without_slack(max_memkb));
}

/*
 * Announce the build that a maximum is for, or that this is not certain. Where the daemon sees that
 * the domain is none that is built, it is a plain limit.
 */
static struct answer ask_for_maximum(void *xch, uint32_t domid, uint64_t max_memkb)
{
    struct domain domain = domain_read(xch, domid);
    struct intent build = { "created", KIB_UNKNOWN, KIB_UNKNOWN, "" };
    enum purpose purpose = intent_find(domid, max_memkb, &domain, &build);

    if (purpose == NO_BUILD)
        return ask_for_limit(domid, max_memkb);
    if (purpose == UNCERTAIN)
        build.life = "unknown";
    struct answer answer = announce(domid, max_memkb, &build);
    bool is_built = strcmp(answer.code, "domain-started") != 0;
    intent_answered(domid, is_built);
    return is_built ? answer : ask_for_limit(domid, max_memkb);
}

int xc_domain_setmaxmem(void *xch, uint32_t domid, uint64_t max_memkb)
{
    struct answer answer;

    if (is_direct())
        return set_without_daemon(xch, domid, max_memkb);
    if (is_device_model())
        return increase(xch, domid, max_memkb);
    if (intent_any())
        answer = ask_for_maximum(xch, domid, max_memkb);
    else
        answer = ask_for_limit(domid, max_memkb);
    return finish(&answer, xch, domid, max_memkb);
}

static void note_read(uint32_t domid, uint64_t max_kib)
{
    if (!is_device_model())
        return;
    last_read.known = true;
    last_read.domid = domid;
    last_read.max_kib = max_kib;
}

int xc_domain_getinfo(void *xch, uint32_t first, unsigned int count, struct dominfo *info)
{
    int (*next)(void *, uint32_t, unsigned int, struct dominfo *) = real("xc_domain_getinfo");
    int found = -1;

    if (next)
        found = next(xch, first, count, info);
    else
        errno = ENOSYS;
    if (found > 0)
        note_read(info->domid, info->max_memkb);
    return found;
}

int xc_domain_getinfo_single(void *xch, uint32_t domid, struct domaininfo *info)
{
    int (*next)(void *, uint32_t, struct domaininfo *) = real("xc_domain_getinfo_single");
    int rc = -1;

    if (next)
        rc = next(xch, domid, info);
    else
        errno = ENOSYS;
    if (rc == 0 && info) /* without one it is asked whether the domain is there */
        note_read(domid, info->max_pages * PAGE_KIB);
    return rc;
}

/* Populate after asking for headroom. Whatever the daemon answers, Xen decides. */
int xc_domain_populate_physmap_exact(void *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, void *start)
{
    int (*next)(void *, uint32_t, unsigned long, unsigned int, unsigned int, void *) =
        real("xc_domain_populate_physmap_exact");
    unsigned long pages = order < 32 ? extents << order : 0;

    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    if (is_device_model() && pages > 0 && pages <= UINT32_MAX) {
        struct answer answer = ask(domid, "POST", "headroom", "{\"pages\": %lu}", pages);
        if (!answer.granted && !answer.away)
            say("no headroom for %lu pages of domain %" PRIu32 ": %s", pages, domid,
                answer.detail);
    }
    return next(xch, domid, extents, order, flags, start);
}
