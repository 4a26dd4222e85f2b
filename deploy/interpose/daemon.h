/* Requests to the daemon. */
#ifndef MAXMEM_DAEMON_H
#define MAXMEM_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

struct answer {
    bool away;    /* no answer; a line on stderr has been printed */
    bool granted; /* and in force in Xen */
    char code[48];
    char detail[320];
    int64_t error; /* Xen's errno if Xen refused, else 0 */
};

/*
 * Ask the daemon to change a domain: `what` is the path after /v1/domains/DOMID/. Returns after
 * the read-back, or after about half a minute; errno is not changed.
 */
struct answer ask(uint32_t domid, const char *method, const char *what, const char *body_format,
                  ...) __attribute__((format(printf, 4, 5)));

#endif
