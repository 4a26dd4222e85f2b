/* The root directory of a restricted device model, and the socket in it. */
#ifndef MAXMEM_ROOT_H
#define MAXMEM_ROOT_H

/* Return the path of the daemon's socket for this process, before or after its chroot(). */
const char *socket_path(void);

#endif
