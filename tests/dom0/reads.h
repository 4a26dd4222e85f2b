/*
 * How a program reads a domain's pages with libxenctrl: xc_domain_getinfo_single() has taken the
 * place of xc_domain_getinfo() with Xen 4.18.
 */
#include <xenctrl.h>

#define KIB_OF_PAGE (XC_PAGE_SIZE / 1024)

struct pages {
    unsigned long most, held;
};

static int read_pages(xc_interface *xch, uint32_t domid, struct pages *pages)
{
#if XEN_DOMCTL_INTERFACE_VERSION >= 0x16
    xc_domaininfo_t info;

    if (xc_domain_getinfo_single(xch, domid, &info))
        return -1;
    *pages = (struct pages){ info.max_pages, info.tot_pages };
#else
    xc_dominfo_t info;

    if (xc_domain_getinfo(xch, domid, 1, &info) != 1 || info.domid != domid)
        return -1;
    *pages = (struct pages){ info.max_memkb / KIB_OF_PAGE, info.nr_pages };
#endif
    return 0;
}
