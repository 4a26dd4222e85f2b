/* The errno of each refusal. */
#ifndef MAXMEM_REFUSAL_H
#define MAXMEM_REFUSAL_H

#include "daemon.h"

/* Return the errno for an answer that is no grant. */
int errno_of(const struct answer *answer);

#endif
