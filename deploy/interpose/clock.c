/* Monotonic time, for deadlines: setting the clock does not change it. */
#include "clock.h"

#include <time.h>

int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}
