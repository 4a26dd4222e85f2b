/* The functions that ours replace. */
#ifndef MAXMEM_REAL_H
#define MAXMEM_REAL_H

/* Return the definition of a function after ours; NULL, with a line on stderr, if there is none. */
void *real(const char *name);

/* Return the same, without a word if there is none. */
void *real_if_any(const char *name);

/* Find all that a child may need; know that this is a child. Called with the lock. */
void real_before_fork(void);
void real_in_child(void);

#endif
