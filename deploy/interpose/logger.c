/*
 * Errors through libxl's logger. A context's logger is known from libxl_ctx_alloc, a public
 * function, so that nothing depends on the layout of a context.
 */
#include "logger.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "lock.h"
#include "real.h"
#include "say.h"

#define SLOTS 64
#define XTL_ERROR 8 /* xentoollog.h */

static struct { const void *context; void *logger; } slots[SLOTS];
static void *find(const void *context)
{
    void *logger = NULL;

    lock_state();
    for (int i = 0; i < SLOTS; i++)
        if (context && slots[i].context == context)
            logger = slots[i].logger;
    unlock_state();
    return logger;
}

void logger_note(const void *context, void *logger)
{
    lock_state();
    for (int i = 0; i < SLOTS; i++)
        if (slots[i].context == context)
            slots[i].context = NULL;
    for (int i = 0; i < SLOTS && logger; i++) {
        if (slots[i].context)
            continue;
        slots[i].context = context;
        slots[i].logger = logger;
        break;
    }
    unlock_state();
}

void logger_error(const void *context, uint32_t domid, int number, const char *where,
                  const char *format, ...)
{
    void (*log)(void *, int, int, const char *, const char *, ...);
    char text[512], about[32] = "";
    va_list words;
    void *logger = find(context);

    va_start(words, format);
    vsnprintf(text, sizeof text, format, words);
    va_end(words);
    if (domid != LOGGER_NO_DOMAIN)
        snprintf(about, sizeof about, "Domain %" PRIu32 ":", domid);

    log = logger ? real("xtl_log") : NULL;
    if (log)
        log(logger, XTL_ERROR, number, "libxl", "%s: %s%s", where, about, text);
    else
        say_as_libxl("%s: %s%s%s%s", where, about, text, number < 0 ? "" : ": ",
                     number < 0 ? "" : error_text(number));
}
