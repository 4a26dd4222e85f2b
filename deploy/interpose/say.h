/* Messages to people, on stderr: one line, one write. */
#ifndef MAXMEM_SAY_H
#define MAXMEM_SAY_H

/* Say one line, "maxmemd: " in front; errno is left as it was. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
