/* Errors in libxl's form, through the program's logger. */
#ifndef MAXMEM_LOGGER_H
#define MAXMEM_LOGGER_H

#include <stdint.h>

/* Remember the logger of a libxl context, or forget it (NULL). */
void logger_note(const void *context, void *logger);

#define LOGGER_NO_DOMAIN UINT32_MAX /* the line does not begin with a domain */

/*
 * Log an error in libxl's form: "libxl: error: WHERE: Domain N:TEXT[: strerror]". `number` is an
 * errno, or -1 for none. `where` names this library and the function that the program called: a
 * file and line of libxl would point to code that did not run.
 */
void logger_error(const void *context, uint32_t domid, int number, const char *where,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
