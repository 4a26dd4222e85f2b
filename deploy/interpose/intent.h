/* What a call of libxl's is about, for what happens underneath it. */
#ifndef MAXMEM_INTENT_H
#define MAXMEM_INTENT_H

#include <stdbool.h>
#include <stdint.h>

#define KIB_UNKNOWN (-1)

struct intent {
    const char *life;   /* created, restored, migrated-in */
    int64_t target_kib; /* KIB_UNKNOWN where libxl's default applies */
    int64_t static_max_kib;
};

/* Note that this thread begins to build; `async`: it goes on after the call. Returns a number. */
int intent_begin(const struct intent *intent, bool async);

/* End the intent of that number, unless it is asynchronous and still waits for its domain. */
void intent_end(int number);

/*
 * Find what the build of a domain, whose maximum is to be `max_kib`, is about: this thread's
 * intent, else any whose target is at most 64 MiB below it (libxl goes on with an asynchronous call
 * in any thread that polls). That is a guess: docs/interpose.md, "What it guesses".
 * The first domain that asks is the guest; another one is not found (a stub domain).
 */
bool intent_find(uint32_t domid, uint64_t max_kib, struct intent *found);

/* Return whether a build is under way in this process. */
bool intent_any(void);

/* Within real functions that are called because the daemon is away, nothing is asked again. */
void direct_begin(void);
void direct_end(void);
bool is_direct(void);

#endif
