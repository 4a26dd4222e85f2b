/* Descriptors of ours that are open for longer than a moment. */
#ifndef MAXMEM_DESCRIPTOR_H
#define MAXMEM_DESCRIPTOR_H

/* Return a new Unix socket, close-on-exec, that is none of the first three; or -1 and an errno. */
int descriptor_socket(void);

/* Close it. */
void descriptor_close(int fd);

/* Close those of threads that this process has not. Called with the lock. */
void descriptors_in_child(void);

#endif
