/* What a refusal means in errno's words. */
#ifndef MAXMEM_REFUSAL_H
#define MAXMEM_REFUSAL_H

#include "daemon.h"

/* Return the errno that an answer which is no grant means. */
int errno_of(const struct answer *answer);

#endif
