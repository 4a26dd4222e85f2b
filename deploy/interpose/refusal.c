/* The errno of each refusal. Codes are permanent: docs/api.md lists them. */
#include "refusal.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct { const char *code; int number; } table[] = {
    { "unknown-domain", ESRCH },     { "domain-gone", ESRCH },
    { "not-allowed", EPERM },        { "xen-not-permitted", EPERM },
    { "xen-wrong-interface", EACCES },
    { "arbiter-busy", EBUSY },       { "ledger-busy", EBUSY },
    { "too-many-requests", EBUSY },  { "too-many-connections", EBUSY },
    { "ledger-full", ENOSPC },       { "ledger-failed", EIO },
    { "ledger-corrupt", EIO },       { "ledger-too-new", EIO },
    { "ledger-moved", EIO },         { "xen-failed", EIO },
    { "xenstore-failed", EIO },      { "internal", EIO },
    { "", EIO },
};

int errno_of(const struct answer *answer)
{
    if (answer->away)
        return ECONNREFUSED;
    if (answer->error > 0 && answer->error < 4096)
        return (int)answer->error;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(answer->code, table[i].code))
            return table[i].number;
    return EINVAL; /* a decision: the amounts do not fit together */
}
