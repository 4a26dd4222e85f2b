/* Messages on stderr. */
#ifndef MAXMEM_SAY_H
#define MAXMEM_SAY_H

/*
 * Print one line that begins with "maxmemd: ", or as libxl's errors do. It is lost where stderr
 * cannot take it now, or is not the program's stderr; errno is not changed.
 */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_as_libxl(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Return what an errno means, in English; unlike strerror() safe after a fork. */
const char *error_text(int number);

#endif
