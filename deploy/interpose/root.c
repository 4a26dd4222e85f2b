/*
 * The root directory of a restricted device model. With dm_restrict libxl makes an empty directory
 * of mode 0000 and starts QEMU with -chroot and -runas; QEMU does both at the end of its start, and
 * is root until then. Later it runs as its domain's uid and could not reach the daemon's socket, so
 * the daemon's socket for device models is linked into the new root before. Only root can do that:
 * the directory of that socket is closed to all other users.
 *
 * libxl removes such a directory before it makes one for another device model of that domid (after
 * a soft reset, or when a domid is reused), and fails if it is not empty. So our link is removed.
 * Source: tools/libs/light/libxl_dm.c:libxl__build_device_model_args_new.
 */
#include "root.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "program.h"
#include "real.h"
#include "say.h"

#define EXPORT __attribute__((visibility("default")))
#define NAME "maxmemd.sock"
#define ROOT_PREFIX "qemu-root-" /* then a domid: libxl's name for such a directory */
#define SEARCH (S_IXUSR | S_IXGRP | S_IXOTH)

EXPORT int chroot(const char *path);
EXPORT int rmdir(const char *path);

static atomic_bool inside; /* after chroot() */

const char *socket_path(void)
{
    return inside ? "/" NAME : config()->socket;
}

/* Remove our link if there is one; return 0, or -1 and an errno. */
static int remove_link(int directory)
{
    struct stat found;

    if (fstatat(directory, NAME, &found, AT_SYMLINK_NOFOLLOW))
        return errno == ENOENT ? 0 : -1;
    return S_ISSOCK(found.st_mode) ? unlinkat(directory, NAME, 0) : 0;
}

/* Link the socket into a directory, and let any uid search it. */
static int link_socket(int directory)
{
    struct stat found;

    if (remove_link(directory))
        return -1;
    if (linkat(AT_FDCWD, config()->device_model_socket, directory, NAME, 0))
        return -1;
    if (fstat(directory, &found))
        return -1;
    return fchmodat(directory, ".", (found.st_mode & ALLPERMS) | SEARCH, 0);
}

static void link_socket_or_say(const char *path)
{
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

    if (directory < 0 && errno == EFAULT)
        return; /* no path at all, which chroot() reports */
    if (directory < 0 || link_socket(directory))
        say("cannot link %s into %s: %s; this device model will not be able to ask for headroom, so"
            " its pages have to fit below the present maximum",
            config()->device_model_socket, path, error_text(errno));
    if (directory >= 0)
        close(directory);
}

/* Remove our link from a directory that will be removed, or that chroot() did not enter. */
static void unlink_socket(const char *path)
{
    int directory = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (directory < 0)
        return; /* the caller's own rmdir or chroot reports it */
    if (remove_link(directory))
        say("cannot remove %s/%s: %s", path, NAME, error_text(errno));
    close(directory);
}

int chroot(const char *path)
{
    int (*next)(const char *) = real("chroot");
    int before = errno, cancelled, rc;

    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    if (!is_device_model())
        return next(path);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
    config(); /* cannot be read inside */
    link_socket_or_say(path);
    errno = before;
    rc = next(path);
    before = errno;
    if (rc == 0)
        inside = true;
    else
        unlink_socket(path);
    errno = before;
    pthread_setcancelstate(cancelled, NULL);
    return rc;
}

static bool is_libxl_root(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    const char *domid = name + strlen(ROOT_PREFIX);

    return !strncmp(name, ROOT_PREFIX, strlen(ROOT_PREFIX)) && *domid
           && domid[strspn(domid, "0123456789")] == '\0';
}

/* The path is looked at only after the kernel has read it: it may be no address at all. */
int rmdir(const char *path)
{
    int (*next)(const char *) = real("rmdir");
    int before = errno, cancelled, rc;

    if (!next) {
        errno = ENOSYS;
        return -1;
    }
    rc = next(path);
    if (rc == 0 || (errno != ENOTEMPTY && errno != EEXIST) || !is_libxl_root(path))
        return rc;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
    unlink_socket(path);
    pthread_setcancelstate(cancelled, NULL);
    errno = before;
    return next(path);
}
