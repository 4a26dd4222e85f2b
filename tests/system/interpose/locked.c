/*
 * A device model that locks itself in as QEMU does with -chroot and -runas. It does what it reads
 * from stdin, line by line: "populate DOMID PAGES", "chroot PATH", "become UID", "rmdir PATH"; and
 * says of each what the call returned, and errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int xc_domain_populate_physmap_exact(void *xch, uint32_t domid, unsigned long extents,
                                     unsigned int order, unsigned int flags, void *start);

/* As QEMU's os-posix.c: change_root, change_process_uid. */
static int lock_in(const char *path)
{
    int rc = chroot(path);

    return rc ? rc : chdir("/");
}

static int become(uid_t uid)
{
    if (setgroups(0, NULL) || setgid(uid) || setuid(uid))
        return -1;
    return setuid(0) ? 0 : -1;
}

static int open_descriptors(void)
{
    int open = 0;

    for (int fd = 0; fd < 256; fd++)
        open += fcntl(fd, F_GETFD) >= 0;
    return open;
}

static int obey(const char *verb, const char *first, const char *second)
{
    if (!strcmp(verb, "populate"))
        return xc_domain_populate_physmap_exact(NULL, (uint32_t)atol(first), strtoul(second, NULL, 10), 0, 0, NULL);
    if (!strcmp(verb, "chroot"))
        return lock_in(first);
    if (!strcmp(verb, "become"))
        return become((uid_t)atol(first));
    if (!strcmp(verb, "rmdir"))
        return rmdir(first);
    if (!strcmp(verb, "descriptors"))
        return open_descriptors();
    return 99;
}

int main(void)
{
    char line[4096], verb[32], first[2048], second[32];

    while (fgets(line, sizeof line, stdin)) {
        *first = *second = '\0';
        if (sscanf(line, "%31s %2047s %31s", verb, first, second) < 1)
            return 2;
        errno = 0;
        int rc = obey(verb, first, second);
        printf("rc=%d errno=%d\n", rc, rc ? errno : 0);
        fflush(stdout);
    }
    return 0;
}
