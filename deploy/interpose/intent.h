/* What builds are meant to be, for the calls that libxl makes for them. */
#ifndef MAXMEM_INTENT_H
#define MAXMEM_INTENT_H

#include <stdbool.h>
#include <stdint.h>

#include "domain.h"

#define KIB_UNKNOWN (-1)

struct intent {
    const char *life;   /* created, restored, migrated-in */
    int64_t target_kib; /* KIB_UNKNOWN if libxl's default applies */
    int64_t static_max_kib;
    char uuid[UUID_SIZE]; /* "" if libxl makes one */
};

/* libxl_asyncop_how: how the end of an asynchronous operation is reported. */
struct how {
    void (*callback)(void *context, int rc, void *for_callback); /* NULL: by an event */
    union {
        uint64_t for_event;
        void *for_callback;
    } u;
};

/* What a maximum is for, as far as that is certain. */
enum purpose {
    NO_BUILD,     /* none is in progress, or the domain was built before */
    A_BUILD,      /* that of the intent that was found */
    BESIDE_BUILD, /* a stub domain that this thread creates beside its guest */
    UNCERTAIN,    /* one of several builds, or of none */
};

/*
 * Note that this thread begins a build in a context of libxl; `how` is NULL for one that ends with
 * the call. Return its number, or 0 if there is no room to note it.
 */
uint64_t intent_begin(void *context, const struct intent *intent, const struct how *how);

/* Return what libxl is to be given for `how`: the intent ends when its operation does. */
const struct how *intent_how(uint64_t number, const struct how *how);

/* The call that began it has returned `rc`: it ends, unless its operation has yet to. */
void intent_end(uint64_t number, int rc);

/* A context is about to be freed. */
void intents_end_of(void *context);

/*
 * Find which build sets this domain's maximum to `max_kib`. libxl goes on with any operation of a
 * context in any thread that waits in it, so the thread alone says nothing. Certain are the UUID;
 * else the only intent whose target is at most 64 MiB below the maximum.
 */
enum purpose intent_find(uint32_t domid, uint64_t max_kib, const struct domain *domain,
                         struct intent *found);

/* Know whether the daemon took the domain for one that is built. */
void intent_answered(uint32_t domid, bool is_built);

/* Return whether any build is in progress in this process. */
bool intent_any(void);

/* Forget what the threads of the parent began. Called with the lock. */
void intents_in_child(void);

/* Between these two, calls go to Xen directly: the daemon is away, and is not asked again. */
void direct_begin(void);
void direct_end(void);
bool is_direct(void);

#endif
