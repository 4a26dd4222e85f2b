/* The library's only lock, and what a fork finds. */
#ifndef MAXMEM_LOCK_H
#define MAXMEM_LOCK_H

#include <stdint.h>

/*
 * Between these two no other thread is, this thread has no signals and is not cancelled, and the
 * process is not forked. Not recursive; errno is not changed.
 */
void lock_state(void);
void unlock_state(void);

/* Return a number of this thread that no other thread of the process ever had. */
uint64_t this_thread(void);

#endif
