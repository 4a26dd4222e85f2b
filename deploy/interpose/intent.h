/* What a build is meant to be, for the calls that libxl makes for it. */
#ifndef MAXMEM_INTENT_H
#define MAXMEM_INTENT_H

#include <stdbool.h>
#include <stdint.h>

#define KIB_UNKNOWN (-1)

struct intent {
    const char *life;   /* created, restored, migrated-in */
    int64_t target_kib; /* KIB_UNKNOWN if libxl's default applies */
    int64_t static_max_kib;
};

/* Note that this thread begins a build, which `async` goes on after the call; return its number. */
int intent_begin(const struct intent *intent, bool async);

/* End an intent, unless it is asynchronous and its domain has not appeared yet. */
void intent_end(int number);

/*
 * Find the intent of the build that sets a domain's maximum to `max_kib`: this thread's, else any
 * whose target is at most 64 MiB below it, since libxl continues an asynchronous call in any thread
 * that polls. That is a guess: see docs/interpose.md, "What it guesses". The first domain is the
 * guest; for another one, a stub domain, none is found.
 */
bool intent_find(uint32_t domid, uint64_t max_kib, struct intent *found);

/* Return whether any build is in progress in this process. */
bool intent_any(void);

/* Between these two, calls go to Xen directly: the daemon is away, and is not asked again. */
void direct_begin(void);
void direct_end(void);
bool is_direct(void);

#endif
