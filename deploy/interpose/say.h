/* Messages on stderr. */
#ifndef MAXMEM_SAY_H
#define MAXMEM_SAY_H

/* Print one line that begins with "maxmemd: "; errno is not changed. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
