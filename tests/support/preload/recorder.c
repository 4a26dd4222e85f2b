/*
 * An LD_PRELOAD recorder of what a process does to the files of one directory, in order.
 *
 * RECORD_LOG is the file to write; RECORD_DIR the directory that is watched. Each event is a
 * header of 64 bytes (kind, file name, offset, length) and its data. W: bytes were written, T: the
 * file was cut to `offset`, U: it was unlinked, S: it was synced, D: the directory was synced,
 * A: the process called maxmemd_mark(), which stands for a reply that leaves.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NAME = 39 };

struct header {
	char kind;
	char name[NAME];
	uint64_t offset;
	uint32_t length;
	char unused[12];
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *directory;
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_write)(int, const void *, size_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_unlink)(const char *);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("RECORD_LOG");

	real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
	real_write = dlsym(RTLD_NEXT, "write");
	real_fsync = dlsym(RTLD_NEXT, "fsync");
	real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
	real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
	real_unlink = dlsym(RTLD_NEXT, "unlink");
	directory = getenv("RECORD_DIR");
	if (path && directory)
		log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void emit(const void *data, size_t length)
{
	const char *at = data;

	while (length > 0) {
		ssize_t done = real_write(log_fd, at, length);
		if (done <= 0)
			abort();
		at += done;
		length -= done;
	}
}

static void record(char kind, const char *name, uint64_t offset, const void *data, size_t length)
{
	struct header header = { .kind = kind, .offset = offset, .length = length };

	snprintf(header.name, NAME, "%s", name);
	emit(&header, sizeof header);
	if (data)
		emit(data, length);
}

/* The name of an open file below the directory, "" for the directory itself, or NULL. */
static const char *name_of(int fd, char *path, size_t size)
{
	char link[64];
	size_t prefix;
	ssize_t length;

	if (log_fd < 0)
		return NULL;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	length = readlink(link, path, size - 1);
	if (length <= 0)
		return NULL;
	path[length] = 0;
	prefix = strlen(directory);
	if (strncmp(path, directory, prefix))
		return NULL;
	if (!path[prefix])
		return path + prefix;
	return path[prefix] == '/' ? path + prefix + 1 : NULL;
}

void maxmemd_mark(const char *text)
{
	if (log_fd < 0)
		return;
	pthread_mutex_lock(&order);
	record('A', "", 0, text, strlen(text));
	pthread_mutex_unlock(&order);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off_t offset)
{
	char path[512];
	const char *name = name_of(fd, path, sizeof path);
	ssize_t done;

	pthread_mutex_lock(&order);
	done = real_pwrite(fd, data, length, offset);
	if (name && done > 0)
		record('W', name, offset, data, done);
	pthread_mutex_unlock(&order);
	return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return pwrite64(fd, data, length, offset);
}

ssize_t write(int fd, const void *data, size_t length)
{
	char path[512];
	const char *name = name_of(fd, path, sizeof path);
	ssize_t done;

	if (!name)
		return real_write(fd, data, length);
	pthread_mutex_lock(&order);
	done = real_write(fd, data, length);
	if (done > 0)
		record('W', name, lseek(fd, 0, SEEK_CUR) - done, data, done);
	pthread_mutex_unlock(&order);
	return done;
}

static int synced(int fd, int (*real)(int))
{
	char path[512];
	const char *name = name_of(fd, path, sizeof path);
	int failed;

	pthread_mutex_lock(&order);
	failed = real(fd);
	if (name && !failed)
		record(*name ? 'S' : 'D', name, 0, NULL, 0);
	pthread_mutex_unlock(&order);
	return failed;
}

int fsync(int fd)
{
	return synced(fd, real_fsync);
}

int fdatasync(int fd)
{
	return synced(fd, real_fdatasync);
}

int ftruncate64(int fd, off_t length)
{
	char path[512];
	const char *name = name_of(fd, path, sizeof path);
	int failed;

	pthread_mutex_lock(&order);
	failed = real_ftruncate(fd, length);
	if (name && !failed)
		record('T', name, length, NULL, 0);
	pthread_mutex_unlock(&order);
	return failed;
}

int ftruncate(int fd, off_t length)
{
	return ftruncate64(fd, length);
}

int unlink(const char *path)
{
	size_t prefix = log_fd < 0 ? 0 : strlen(directory);
	int failed;

	pthread_mutex_lock(&order);
	failed = real_unlink(path);
	if (prefix && !failed && !strncmp(path, directory, prefix) && path[prefix] == '/')
		record('U', path + prefix + 1, 0, NULL, 0);
	pthread_mutex_unlock(&order);
	return failed;
}
