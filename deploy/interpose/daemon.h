/* The daemon, as a caller of libxenctrl wants to see it. */
#ifndef MAXMEM_DAEMON_H
#define MAXMEM_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

struct answer {
    bool away;    /* no answer came; a line on stderr says so */
    bool granted; /* and in force */
    char code[48];
    char detail[320];
    int64_t error; /* errno of Xen's where it said no, 0 otherwise */
};

/*
 * Ask the daemon to do something to a domain: `what` is the path after /v1/domains/DOMID/.
 * Returns after the read-back, or after half a minute at most; errno is left as it was.
 */
struct answer ask(uint32_t domid, const char *method, const char *what, const char *body_format,
                  ...) __attribute__((format(printf, 4, 5)));

#endif
