/* Monotonic time, for deadlines. */
#ifndef MAXMEM_CLOCK_H
#define MAXMEM_CLOCK_H

#include <stdint.h>

/* Return milliseconds since some fixed point. */
int64_t now_ms(void);

#endif
