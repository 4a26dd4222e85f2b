/* The functions that ours stand before. */
#ifndef MAXMEM_REAL_H
#define MAXMEM_REAL_H

/* Return the next definition of a symbol after ours; NULL, with a line on stderr, without one. */
void *real(const char *name);

#endif
