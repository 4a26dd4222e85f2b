/* What Xen says of a domain whose maximum is about to be set. */
#ifndef MAXMEM_DOMAIN_H
#define MAXMEM_DOMAIN_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_SIZE 37 /* as text, with its 0 */

/* struct xen_domctl_getdomaininfo (xc_domaininfo_t) up to the UUID: the same from Xen 4.8 on. */
struct domaininfo {
    uint16_t domid, padding;
    uint32_t flags;
    uint64_t tot_pages, max_pages, others[5];
    uint32_t numbers[3];
    uint8_t handle[16];
};

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
