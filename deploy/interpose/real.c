/*
 * The functions that ours stand before: the next definition in the order of loading. Where a
 * library came later, by dlopen (libvirt's drivers), it is found among what is loaded.
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

/* Look into one loaded library of Xen's; a positive answer ends the walk. */
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
    dlclose(library); /* it was loaded before, and stays */
    return search->found != NULL;
}

void *real(const char *name)
{
    struct search search = { name, dlsym(RTLD_NEXT, name) };

    if (!search.found)
        dl_iterate_phdr(search_library, &search);
    if (!search.found)
        say("cannot call %s: no library of this program has it", name);
    return search.found;
}
