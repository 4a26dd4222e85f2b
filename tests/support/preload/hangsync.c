/* A disk that hangs, once: the sync that can remove the file HANG_SYNC never ends. LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int perhaps(const char *call, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
	const char *path = getenv("HANG_SYNC");

	if (path && unlink(path) == 0)
		for (;;)
			pause();
	return real(fd);
}

int fsync(int fd)
{
	return perhaps("fsync", fd);
}

int fdatasync(int fd)
{
	return perhaps("fdatasync", fd);
}
