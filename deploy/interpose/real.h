/* The functions that ours stand before. */
#ifndef MAXMEM_REAL_H
#define MAXMEM_REAL_H

/* Return the next definition of a symbol after ours; NULL, and it is said, where there is none. */
void *real(const char *name);

#endif
