/* One HTTP exchange with the daemon's Unix socket. */
#ifndef MAXMEM_EXCHANGE_H
#define MAXMEM_EXCHANGE_H

#include <stddef.h>

struct request {
    const char *method, *path, *body, *key;
};

struct exchange {
    struct request request;
    const char *socket;
    long reply_ms;     /* the longest time to wait */
    long status;       /* HTTP status */
    char reply[16384]; /* the body, ended by a 0; head and body must fit */
    size_t length;     /* of the body, in bytes */
    char trouble[256]; /* what went wrong, for the user */
};

enum outcome {
    ANSWERED,
    NOT_CONNECTED, /* the request was not sent */
    CUT_OFF,      /* the connection ended before the reply did */
    NO_ANSWER,    /* no reply in time, or an invalid one */
};

/* Send one request and wait up to reply_ms for its reply. */
enum outcome exchange(struct exchange *with);

#endif
