/*
 * Descriptors of ours that are open while we wait for the daemon. An exec closes them, and a fork
 * by another thread must not leave them in the child. Nor may one be 0, 1 or 2 where the program
 * has closed these: what it prints would go to the daemon.
 */
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lock.h"

#define MOST 256 /* of more than that at once, a child keeps some */
#define FIRST 3

static struct {
    int fd;
    uint64_t thread; /* 0: not in use */
} table[MOST];

static int above_stderr(int fd)
{
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST), error = errno;

    close(fd);
    errno = error;
    return moved;
}

int descriptor_socket(void)
{
    uint64_t thread = this_thread();

    lock_state();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && fd < FIRST)
        fd = above_stderr(fd);
    for (int i = 0; i < MOST && fd >= 0; i++)
        if (!table[i].thread) {
            table[i].fd = fd;
            table[i].thread = thread;
            break;
        }
    unlock_state();
    return fd;
}

void descriptor_close(int fd)
{
    lock_state();
    close(fd);
    for (int i = 0; i < MOST; i++)
        if (table[i].thread && table[i].fd == fd)
            table[i].thread = 0;
    unlock_state();
}

void descriptors_in_child(void)
{
    for (int i = 0; i < MOST; i++)
        if (table[i].thread && table[i].thread != this_thread()) {
            close(table[i].fd);
            table[i].thread = 0;
        }
}
