/*
 * The functions of libxl whose arguments are what the program wants. For mem-max and mem-set the
 * daemon does all that libxl would have done. A refusal has libxl's return code and the sentence of
 * libxl 4.17, so that xl and libvirt report what they always report; in the log, where libxl names
 * its file and line, this library is named instead. Creation and restore are left to libxl, with
 * a note of their target for the write that they lead to (xc.c).
 *
 * The parameters are those of Xen 4.8 and later (LIBXL_HAVE_MEMKB_64BITS); contexts,
 * configurations and the like are only passed on.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config.h"
#include "daemon.h"
#include "intent.h"
#include "json.h"
#include "logger.h"
#include "real.h"
#include "refusal.h"

#define EXPORT __attribute__((visibility("default")))
#define ERROR_FAIL (-3)
#define ERROR_INVAL (-6)
#define ERROR_LOCK_FAIL (-15)
#define SOURCE(function) "libmaxmem-interpose:" function
#define STALE 0      /* libxl appends an errno that is not its own, mostly "Success" */
#define MAX_FAILED 1 /* what libxl_domain_setmaxmem returns for its own refusals */

EXPORT int libxl_ctx_alloc(void **context, int version, unsigned flags, void *logger);
EXPORT int libxl_ctx_free(void *context);
EXPORT int libxl_domain_setmaxmem(void *context, uint32_t domid, uint64_t max_memkb);
EXPORT int libxl_set_memory_target(void *context, uint32_t domid, int64_t target_memkb,
                                   int relative, int enforce);
EXPORT int libxl_domain_create_new(void *context, void *config_of, uint32_t *domid,
                                   const struct how *how, const void *console_how);
EXPORT int libxl_domain_create_restore(void *context, void *config_of, uint32_t *domid,
                                       int restore_fd, int send_back_fd, const void *params,
                                       const struct how *how, const void *console_how);

int libxl_ctx_alloc(void **context, int version, unsigned flags, void *logger)
{
    int (*next)(void **, int, unsigned, void *) = real("libxl_ctx_alloc");
    int rc = next ? next(context, version, flags, logger) : ERROR_FAIL;

    if (rc == 0)
        logger_note(*context, logger);
    return rc;
}

int libxl_ctx_free(void *context)
{
    int (*next)(void *) = real("libxl_ctx_free");

    if (context) {
        logger_note(context, NULL);
        intents_end_of(context);
    }
    return next ? next(context) : ERROR_FAIL;
}

static bool has_code(const struct answer *answer, const char *code)
{
    return !strcmp(answer->code, code);
}

/* Log that there is no such domain, in the words of libxl__userdata_path. */
static int report_no_domain(const void *context, uint32_t domid, const char *where)
{
    logger_error(context, LOGGER_NO_DOMAIN, STALE, where,
                 "unable to find domain info for domain %" PRIu32, domid);
    return ERROR_LOCK_FAIL;
}

static int report_refused_max(const void *context, uint32_t domid, uint64_t kib,
                              const struct answer *answer)
{
    static const char *const where = SOURCE("libxl_domain_setmaxmem");

    if (has_code(answer, "limit-below-target")) {
        logger_error(context, domid, STALE, where,
                     "memory_static_max must be greater than or or equal to memory_dynamic_max");
        return MAX_FAILED;
    }
    if (errno_of(answer) == ESRCH)
        return report_no_domain(context, domid, where);
    logger_error(context, domid, errno_of(answer), where,
                 "maxmemd %s; xc_domain_setmaxmem domid=%" PRIu32 " memkb=%" PRIu64 " failed rc=-1",
                 answer->detail, domid, kib);
    return -1;
}

static int set_max_without_daemon(void *context, uint32_t domid, uint64_t max_memkb)
{
    int (*next)(void *, uint32_t, uint64_t) = real("libxl_domain_setmaxmem");

    direct_begin();
    int rc = next ? next(context, domid, max_memkb) : ERROR_FAIL;
    direct_end();
    return rc;
}

int libxl_domain_setmaxmem(void *context, uint32_t domid, uint64_t max_memkb)
{
    struct answer answer = ask(domid, "PUT", "limit", "{\"max_mem_kib\": %" PRIu64 "}", max_memkb);

    if (answer.granted)
        return 0;
    if (!answer.away)
        return report_refused_max(context, domid, max_memkb, &answer);
    if (config()->direct)
        return set_max_without_daemon(context, domid, max_memkb);
    errno = ECONNREFUSED;
    return -1;
}

static int report_refused_target(const void *context, uint32_t domid, int64_t kib,
                                 const struct answer *answer)
{
    static const char *const where = SOURCE("libxl_set_memory_target");

    if (has_code(answer, "target-above-static-max") || has_code(answer, "target-below-videoram")) {
        logger_error(context, domid, -1, where,
                     "memory_dynamic_max must be less than or equal to memory_static_max\n");
        return ERROR_INVAL;
    }
    if (has_code(answer, "target-below-dom0-floor")) {
        logger_error(context, domid, -1, where,
                     "New target %" PRId64 " for dom0 is below the minimum threshold", kib);
        return ERROR_INVAL;
    }
    if (errno_of(answer) == ESRCH)
        return report_no_domain(context, domid, where);
    logger_error(context, domid, errno_of(answer), where, "maxmemd %s; memkb=%" PRId64 " failed",
                 answer->detail, kib);
    return ERROR_FAIL;
}

static int set_target_without_daemon(void *context, uint32_t domid, int64_t target_memkb,
                                     int relative, int enforce)
{
    int (*next)(void *, uint32_t, int64_t, int, int) = real("libxl_set_memory_target");

    direct_begin();
    int rc = next ? next(context, domid, target_memkb, relative, enforce) : ERROR_FAIL;
    direct_end();
    return rc;
}

int libxl_set_memory_target(void *context, uint32_t domid, int64_t target_memkb, int relative,
                            int enforce)
{
    struct answer answer = ask(domid, "PUT", "target", "{\"%s\": %" PRId64 ", \"enforce\": %s}",
                               relative ? "by_kib" : "target_kib", target_memkb,
                               enforce ? "true" : "false");

    if (answer.granted)
        return 0;
    if (!answer.away)
        return report_refused_target(context, domid, target_memkb, &answer);
    if (config()->direct)
        return set_target_without_daemon(context, domid, target_memkb, relative, enforce);
    errno = ECONNREFUSED;
    return ERROR_FAIL;
}

/* Read a configuration through libxl's JSON: its layout differs from version to version. */
static struct intent intent_of(void *context, void *config_of, const char *life)
{
    struct intent intent = { life, KIB_UNKNOWN, KIB_UNKNOWN, "" };
    char *(*as_json)(void *, void *) = real("libxl_domain_config_to_json");
    char *text = as_json ? as_json(context, config_of) : NULL;

    if (text && !json_number(text, "target_memkb", &intent.target_kib))
        intent.target_kib = KIB_UNKNOWN;
    if (text && !json_number(text, "max_memkb", &intent.static_max_kib))
        intent.static_max_kib = KIB_UNKNOWN;
    if (text)
        json_string(text, "uuid", intent.uuid, sizeof intent.uuid);
    free(text);
    return intent;
}

int libxl_domain_create_new(void *context, void *config_of, uint32_t *domid, const struct how *how,
                            const void *console_how)
{
    int (*next)(void *, void *, uint32_t *, const struct how *, const void *) =
        real("libxl_domain_create_new");
    struct intent intent = intent_of(context, config_of, "created");
    uint64_t number = intent_begin(context, &intent, how);
    int rc = ERROR_FAIL;

    if (next)
        rc = next(context, config_of, domid, intent_how(number, how), console_how);
    intent_end(number, rc);
    return rc;
}

/* A stream from a file was saved here; one from a pipe or a socket migrates in. */
static const char *life_of(int restore_fd)
{
    struct stat what;

    return fstat(restore_fd, &what) == 0 && S_ISREG(what.st_mode) ? "restored" : "migrated-in";
}

int libxl_domain_create_restore(void *context, void *config_of, uint32_t *domid, int restore_fd,
                                int send_back_fd, const void *params, const struct how *how,
                                const void *console_how)
{
    int (*next)(void *, void *, uint32_t *, int, int, const void *, const struct how *,
                const void *) = real("libxl_domain_create_restore");
    struct intent intent = intent_of(context, config_of, life_of(restore_fd));
    uint64_t number = intent_begin(context, &intent, how);
    int rc = ERROR_FAIL;

    if (next)
        rc = next(context, config_of, domid, restore_fd, send_back_fd, params,
                  intent_how(number, how), console_how);
    intent_end(number, rc);
    return rc;
}
