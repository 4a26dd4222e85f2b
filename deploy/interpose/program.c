/*
 * Which program this is. libxl populates guests with the same call as QEMU, but below a maximum
 * that it has just set; only a device model has to ask for headroom first. Its executable is called
 * xen-qemu-system-i386 in Debian, qemu-system-i386 in Xen's build, and qemu-dm if traditional.
 */
#include "program.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static bool device_model;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_executable_name(void)
{
    char path[4096];
    int before = errno;
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    const char *base;

    errno = before;
    if (length <= 0)
        return;
    path[length] = '\0';
    base = strrchr(path, '/');
    device_model = strstr(base ? base : path, "qemu") != NULL;
}

bool is_device_model(void)
{
    pthread_once(&once, read_executable_name);
    return device_model;
}
