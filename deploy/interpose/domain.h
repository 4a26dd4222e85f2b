/* What Xen says of a domain whose maximum is about to be set. */
#ifndef MAXMEM_DOMAIN_H
#define MAXMEM_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_SIZE 37 /* as text, with its 0 */

struct domain {
    bool known;           /* else the rest says nothing */
    bool has_maximum;     /* a new domain has none yet */
    char uuid[UUID_SIZE]; /* "" if it has none */
};

/* Ask Xen about a domain, by the caller's own handle; errno is not changed. */
struct domain domain_read(void *xch, uint32_t domid);

/* Return whether a UUID is none: empty, or zeros only. */
bool is_nil(const char *uuid);

#endif
