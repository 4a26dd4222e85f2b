/*
 * The functions that ours replace: the next definition in loading order. Libraries that were
 * loaded later by dlopen(), as for libvirt's drivers, are searched by name.
 */
#include "real.h"

#include <dlfcn.h>
#include <link.h>
#include <stddef.h>
#include <string.h>

#include "say.h"

struct search {
    const char *name;
    void *found;
};

/* Search one loaded library of Xen; a result other than 0 ends the iteration. */
static int search_library(struct dl_phdr_info *info, size_t size, void *data)
{
    struct search *search = data;
    void *library;

    (void)size;
    if (!info->dlpi_name || !strstr(info->dlpi_name, "/libxen"))
        return 0;
    library = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    if (!library)
        return 0;
    search->found = dlsym(library, search->name);
    dlclose(library); /* it stays loaded by its first user */
    return search->found != NULL;
}

void *real(const char *name)
{
    struct search search = { name, dlsym(RTLD_NEXT, name) };

    if (!search.found)
        dl_iterate_phdr(search_library, &search);
    if (!search.found)
        say("cannot call %s: no loaded library defines it", name);
    return search.found;
}
