/*
 * Preloaded into a device model: QEMU as it was in 2.3 (its commit c1d322e604, xen-hvm: increase
 * maxmem before calling xc_domain_populate_physmap). Before it populates it raises the
 * domain's maximum by what is missing, by a read-modify-write of its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include <xenctrl.h>

#define QEMU_SPARE_PAGES 16
#define KIB_OF_PAGE (XC_PAGE_SIZE / 1024)

typedef int populate_t(xc_interface *, uint32_t, unsigned long, unsigned int, unsigned int,
                       xen_pfn_t *);

static int make_room(xc_interface *xch, uint32_t domid, unsigned long pages)
{
    xc_dominfo_t info;
    unsigned long max_pages, free_pages;

    if (xc_domain_getinfo(xch, domid, 1, &info) != 1 || info.domid != domid)
        return -1;
    max_pages = info.max_memkb / KIB_OF_PAGE;
    free_pages = max_pages - info.nr_pages;
    free_pages = free_pages > QEMU_SPARE_PAGES ? free_pages - QEMU_SPARE_PAGES : 0;
    if (free_pages >= pages)
        return 0;
    return xc_domain_setmaxmem(xch, domid, (max_pages + pages - free_pages) * KIB_OF_PAGE);
}

int xc_domain_populate_physmap_exact(xc_interface *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, xen_pfn_t *start)
{
    populate_t *next = (populate_t *)dlsym(RTLD_NEXT, "xc_domain_populate_physmap_exact");

    if (strstr(program_invocation_short_name, "qemu") && make_room(xch, domid, extents << order))
        return -1;
    return next(xch, domid, extents, order, flags, start);
}
