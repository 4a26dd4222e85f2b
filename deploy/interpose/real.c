/*
 * The functions that ours replace: the next definition in loading order, also where a library was
 * loaded later by dlopen(), for itself alone (RTLD_LOCAL), as Python's extensions and libvirt's
 * drivers are.
 *
 * What was found is kept, and used as long as the library that defines it is loaded. Searching takes
 * a lock of the loader, which a child may find locked for ever by a thread that it does not have.
 * So a process with threads searches before it forks. Then a child finds everything here but what
 * is in libraries that it has loaded itself, which it could not if that lock were lost.
 */
#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "lock.h"
#include "say.h"
#include "symbol.h"

#if __GLIBC_PREREQ(2, 32)
#include <sys/single_threaded.h>
#define HAS_THREADS (!__libc_single_threaded)
#else
#define HAS_THREADS true
#endif

static struct { const char *name; _Atomic(void *) found; } table[] = {
    { "xc_domain_setmaxmem", NULL },
    { "xc_domain_getinfo", NULL },
    { "xc_domain_getinfo_single", NULL },
    { "xc_domain_getinfolist", NULL },
    { "xc_domain_populate_physmap_exact", NULL },
    { "xtl_log", NULL },
    { "libxl_ctx_alloc", NULL },
    { "libxl_ctx_free", NULL },
    { "libxl_domain_setmaxmem", NULL },
    { "libxl_set_memory_target", NULL },
    { "libxl_domain_config_to_json", NULL },
    { "libxl_domain_create_new", NULL },
    { "libxl_domain_create_restore", NULL },
    { "chroot", NULL },
    { "rmdir", NULL },
};
#define COUNT (sizeof table / sizeof *table)

extern const char __ehdr_start[] __attribute__((visibility("hidden"))); /* this library's first byte */
static bool forked_with_threads, is_child;

/* Return whether a loaded library still defines a function where it was found. Takes no lock. */
static bool is_defined_at(void *found, const char *name)
{
#if __GLIBC_PREREQ(2, 35)
    struct dl_find_object in;

    if (!found || _dl_find_object(found, &in))
        return false;
    return symbol_find(in.dlfo_link_map->l_addr, in.dlfo_link_map->l_ld, name) == found;
#else
    (void)found, (void)name;
    return false;
#endif
}

/* Search one loaded library for all that is missing; called in loading order. */
static int search_library(struct dl_phdr_info *info, size_t size, void *data)
{
    bool *is_after_ours = data;

    (void)size;
    if (info->dlpi_addr == (ElfW(Addr))__ehdr_start)
        *is_after_ours = true;
    else if (*is_after_ours)
        for (int i = 0; i < info->dlpi_phnum; i++) {
            const ElfW(Dyn) *dynamic = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
            if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
                continue;
            for (size_t j = 0; j < COUNT; j++)
                if (!table[j].found)
                    table[j].found = symbol_find(info->dlpi_addr, dynamic, table[j].name);
        }
    return 0;
}

/* Search for all that is missing, or was unloaded; nothing but the loader's lock is waited for. */
static void search(void)
{
    bool is_after_ours = false, is_missing = false;

    for (size_t i = 0; i < COUNT; i++)
        if (!is_defined_at(table[i].found, table[i].name)) {
            table[i].found = NULL;
            is_missing = true;
        }
    if (is_missing)
        dl_iterate_phdr(search_library, &is_after_ours);
}

/* Before any thread and any signal handler calls rmdir(), which may be called by both. */
__attribute__((constructor)) static void on_load(void)
{
    real_if_any("rmdir");
}

void *real_if_any(const char *name)
{
    size_t number = 0;
    void *found;

    while (strcmp(table[number].name, name))
        number++;
    found = table[number].found;
    if (is_defined_at(found, name))
        return found;
    lock_state();
    search();
    found = table[number].found;
    unlock_state();
    return found;
}

void *real(const char *name)
{
    void *found = real_if_any(name);

    if (!found)
        say("cannot call %s: no loaded library defines it", name);
    return found;
}

void real_before_fork(void)
{
    forked_with_threads = HAS_THREADS;
    if (forked_with_threads && !is_child)
        search();
}

void real_in_child(void)
{
    is_child = is_child || forked_with_threads;
}
