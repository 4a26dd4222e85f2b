/* What the configuration file says: where the daemon is, and what to do when it is away. */
#ifndef MAXMEM_CONFIG_H
#define MAXMEM_CONFIG_H

#include <stdbool.h>

struct config {
    char socket[108]; /* sun_path's size */
    char device_model_socket[108]; /* what is linked into a device model's root */
    bool direct;      /* when_away = direct: write as before; refuse otherwise */
    long wait_ms;     /* how long to wait for a daemon that is away: it may be restarting */
    long busy_ms;     /* how long to go on with one that is busy or silent, or ended a connection */
};

/* Return the configuration; read once, when first needed. */
const struct config *config(void);

#endif
