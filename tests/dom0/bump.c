/*
 * Preloaded into a device model: QEMU as it was in 2.3 (its commit c1d322e604, xen-hvm: increase
 * maxmem before calling xc_domain_populate_physmap). Before it populates it raises the
 * domain's maximum by what is missing, by a read-modify-write of its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "reads.h"

#define QEMU_SPARE_PAGES 16

typedef int populate_t(xc_interface *, uint32_t, unsigned long, unsigned int, unsigned int,
                       xen_pfn_t *);

static int make_room(xc_interface *xch, uint32_t domid, unsigned long pages)
{
    struct pages now;
    unsigned long free_pages;

    if (read_pages(xch, domid, &now))
        return -1;
    free_pages = now.most - now.held;
    free_pages = free_pages > QEMU_SPARE_PAGES ? free_pages - QEMU_SPARE_PAGES : 0;
    if (free_pages >= pages)
        return 0;
    return xc_domain_setmaxmem(xch, domid, (now.most + pages - free_pages) * KIB_OF_PAGE);
}

int xc_domain_populate_physmap_exact(xc_interface *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, xen_pfn_t *start)
{
    populate_t *next = (populate_t *)dlsym(RTLD_NEXT, "xc_domain_populate_physmap_exact");

    if (strstr(program_invocation_short_name, "qemu") && make_room(xch, domid, extents << order))
        return -1;
    return next(xch, domid, extents, order, flags, start);
}
