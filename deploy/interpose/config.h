/* The configuration: where the daemon is, and what to do when it is away. */
#ifndef MAXMEM_CONFIG_H
#define MAXMEM_CONFIG_H

#include <stdbool.h>

struct config {
    char socket[108]; /* sun_path's size */
    char device_model_socket[108]; /* the one linked into a device model's root */
    bool direct;      /* when_away = direct: write to Xen; otherwise refuse */
    long wait_ms;     /* how long to wait for a daemon that is away: it may be restarting */
    long busy_ms;     /* how long to retry while it is busy or silent, or after a lost connection */
};

/* Return the configuration, which is read once, when first needed. */
const struct config *config(void);

#endif
