/* libxl's own way of saying what is wrong, by the program's own logger. */
#ifndef MAXMEM_LOGGER_H
#define MAXMEM_LOGGER_H

#include <stdint.h>

/* Remember, or forget (NULL), which logger a libxl context was made with. */
void logger_note(const void *context, void *logger);

#define LOGGER_NO_DOMAIN UINT32_MAX /* the line names no domain in front */

/*
 * Log an error in libxl's form: "libxl: error: WHERE: Domain N:TEXT[: strerror]". `number` is an
 * errno, or -1 for none. `where` names this library and the function that the program called:
 * a file and line of libxl's would lead a reader to code that never ran.
 */
void logger_error(const void *context, uint32_t domid, int number, const char *where,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
