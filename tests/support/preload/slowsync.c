/* A disk that takes SLOW_SYNC_MS longer for every sync: an LD_PRELOAD library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *call, int fd)
{
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
	const char *ms = getenv("SLOW_SYNC_MS");
	int failed = real(fd);

	if (ms)
		usleep((useconds_t)atoi(ms) * 1000);
	return failed;
}

int fsync(int fd)
{
	return slowly("fsync", fd);
}

int fdatasync(int fd)
{
	return slowly("fdatasync", fd);
}
