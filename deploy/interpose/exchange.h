/* One HTTP exchange with the daemon's Unix socket. */
#ifndef MAXMEM_EXCHANGE_H
#define MAXMEM_EXCHANGE_H

#include <stddef.h>

struct exchange {
    const char *method, *path, *body, *key, *socket;
    long reply_ms;     /* how long it may take */
    long status;       /* HTTP's */
    char reply[16384]; /* the body, ended by a 0; with its head it has to fit */
    size_t length;     /* of the body, in bytes */
    char trouble[256]; /* what is wrong, for people */
};

enum outcome {
    ANSWERED,
    NOT_CONNECTED, /* nothing accepts: the request was not sent */
    CUT_OFF,      /* the connection ended before the reply did */
    NO_ANSWER,    /* in time, or none that can be understood */
};

/* Send one request and wait for its reply, for reply_ms at most. */
enum outcome exchange(struct exchange *with);

#endif
