/* libxl's own way of saying what is wrong, by the program's own logger. */
#ifndef MAXMEM_LOGGER_H
#define MAXMEM_LOGGER_H

#include <stdint.h>

/* Remember, or forget (NULL), which logger a libxl context was made with. */
void logger_note(const void *context, void *logger);

#define LOGGER_NO_DOMAIN UINT32_MAX /* the line names no domain in front */

/*
 * Log an error as libxl does: "libxl: error: FILE:FUNCTION: Domain N:TEXT[: strerror]". `number`
 * is an errno, or -1 for none. libxl's line numbers differ from version to version; `where` has
 * those of 4.17.
 */
void logger_error(const void *context, uint32_t domid, int number, const char *where,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
