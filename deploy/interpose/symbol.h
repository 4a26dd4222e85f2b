/* The symbols of one loaded library. */
#ifndef MAXMEM_SYMBOL_H
#define MAXMEM_SYMBOL_H

#include <link.h>

/* Return the address of a function that a loaded library defines, or NULL. Takes no lock. */
void *symbol_find(ElfW(Addr) base, const ElfW(Dyn) *dynamic, const char *name);

#endif
