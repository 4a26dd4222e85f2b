/*
 * Dies by SIGKILL once it has written DIE_AT_WRITE pages to the file DIE_IN: in a database with a WAL
 * only a checkpoint writes there. An LD_PRELOAD library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_the_file(int fd)
{
	char link[64], path[512];
	const char *wanted = getenv("DIE_IN");
	ssize_t length;

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof path - 1);
	if (!wanted || length <= 0)
		return 0;
	path[length] = 0;
	return !strcmp(path, wanted);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
	static int left;
	ssize_t (*real)(int, const void *, size_t, off_t) =
		(ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
	ssize_t done = real(fd, data, length, offset);

	if (is_the_file(fd)) {
		if (!left)
			left = atoi(getenv("DIE_AT_WRITE"));
		if (--left == 0)
			kill(getpid(), SIGKILL);
	}
	return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return pwrite64(fd, data, length, offset);
}
