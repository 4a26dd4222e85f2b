/* Time that no setting of the clock moves. */
#ifndef MAXMEM_CLOCK_H
#define MAXMEM_CLOCK_H

#include <stdint.h>

/* Return milliseconds since some fixed moment. */
int64_t now_ms(void);

#endif
