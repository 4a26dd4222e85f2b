/*
 * The symbols of one loaded library, read from its tables in memory. dlsym() would wait for the
 * lock that a thread in dlopen() holds while constructors run, and would replace the message that
 * dlerror() returns to the program. Only the GNU hash table is read, which every distribution's
 * libraries have had for long.
 */
#include "symbol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HIDDEN_VERSION 0x8000 /* not the default version of a symbol */

struct hash_table {
    uint32_t buckets, first_symbol, filter_words, filter_shift;
    ElfW(Addr) filter[]; /* then the buckets and the chains */
};

struct tables {
    const ElfW(Sym) *symbols;
    const char *strings;
    const uint16_t *versions;
    const struct hash_table *hash;
};

/* glibc has replaced the addresses in a dynamic section, except where that is read-only. */
static const void *at(ElfW(Addr) base, ElfW(Addr) address)
{
    return (const void *)(address < base ? base + address : address);
}

static struct tables tables_of(ElfW(Addr) base, const ElfW(Dyn) *dynamic)
{
    struct tables found = { NULL, NULL, NULL, NULL };

    for (; dynamic->d_tag != DT_NULL; dynamic++) {
        if (dynamic->d_tag == DT_SYMTAB)
            found.symbols = at(base, dynamic->d_un.d_ptr);
        else if (dynamic->d_tag == DT_STRTAB)
            found.strings = at(base, dynamic->d_un.d_ptr);
        else if (dynamic->d_tag == DT_VERSYM)
            found.versions = at(base, dynamic->d_un.d_ptr);
        else if (dynamic->d_tag == DT_GNU_HASH)
            found.hash = at(base, dynamic->d_un.d_ptr);
    }
    return found;
}

static uint32_t hash_of(const char *name)
{
    uint32_t hash = 5381;

    while (*name)
        hash = hash * 33 + (unsigned char)*name++;
    return hash;
}

static bool is_function(const struct tables *in, uint32_t number, const char *name)
{
    const ElfW(Sym) *symbol = in->symbols + number;

    return ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF
           && !(in->versions && in->versions[number] & HIDDEN_VERSION)
           && !strcmp(in->strings + symbol->st_name, name);
}

void *symbol_find(ElfW(Addr) base, const ElfW(Dyn) *dynamic, const char *name)
{
    const struct tables in = tables_of(base, dynamic);
    uint32_t hash = hash_of(name);

    if (!in.hash || !in.symbols || !in.strings || !in.hash->buckets)
        return NULL;
    const uint32_t *buckets = (const uint32_t *)(in.hash->filter + in.hash->filter_words);
    const uint32_t *chains = buckets + in.hash->buckets;
    uint32_t number = buckets[hash % in.hash->buckets];
    if (number < in.hash->first_symbol)
        return NULL;
    for (;; number++) {
        uint32_t link = chains[number - in.hash->first_symbol];
        if ((link | 1) == (hash | 1) && is_function(&in, number, name))
            return (void *)(base + in.symbols[number].st_value);
        if (link & 1) /* the last of its bucket */
            return NULL;
    }
}
