/* The functions that ours replace. */
#ifndef MAXMEM_REAL_H
#define MAXMEM_REAL_H

/* Return the definition of a symbol after ours; NULL, with a line on stderr, if there is none. */
void *real(const char *name);

#endif
