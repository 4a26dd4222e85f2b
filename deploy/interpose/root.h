/* The root that a device model locks itself into, and the socket that it finds there. */
#ifndef MAXMEM_ROOT_H
#define MAXMEM_ROOT_H

/* Return the path of the daemon's socket, as this process sees it now. */
const char *socket_path(void);

#endif
