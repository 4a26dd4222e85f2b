/*
 * The configuration file, /etc/maxmemd/interpose.conf: lines of key=value, # begins a comment.
 *
 * For an unknown key or value one message is printed and the default is used: a typing error must
 * not stop a host from starting its guests. MAXMEM_INTERPOSE_CONF names another file, and
 * MAXMEM_SOCKET another socket, as for maxmemctl; not in a program that has more rights than its
 * caller (secure_getenv).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "number.h"
#include "say.h"

#define FILE_DEFAULT "/etc/maxmemd/interpose.conf"
#define SOCKET_DEFAULT "/run/maxmemd/maxmemd.sock"
#define DEVICE_MODEL_SOCKET_DEFAULT "/run/maxmemd-device-model/maxmemd.sock"
#define FILE_MOST 16384
#define WAIT_DEFAULT_MS 3000
#define BUSY_DEFAULT_MS 30000 /* the watchdog takes 10 s, then a restart */
#define TIME_MOST_MS 600000

static struct config values = {
    SOCKET_DEFAULT, DEVICE_MODEL_SOCKET_DEFAULT, false, WAIT_DEFAULT_MS, BUSY_DEFAULT_MS
};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_socket(char socket[static 108], const char *value, const char *where)
{
    if (value[0] == '/' && strlen(value) < sizeof values.socket)
        strcpy(socket, value);
    else
        say("cannot use the socket '%s' in %s: give an absolute path", value, where);
}

static void set(const char *key, const char *value, const char *where)
{
    char *end = NULL;
    long long number = parse_number(value, &end);
    bool is_time = *value && *end == '\0' && number >= 0 && number <= TIME_MOST_MS;

    if (!strcmp(key, "socket"))
        set_socket(values.socket, value, where);
    else if (!strcmp(key, "device_model_socket"))
        set_socket(values.device_model_socket, value, where);
    else if (!strcmp(key, "when_away") && (!strcmp(value, "refuse") || !strcmp(value, "direct")))
        values.direct = !strcmp(value, "direct");
    else if (!strcmp(key, "wait_ms") && is_time)
        values.wait_ms = (long)number;
    else if (!strcmp(key, "busy_ms") && is_time)
        values.busy_ms = (long)number;
    else
        say("cannot use '%s=%s' in %s: the keys are socket=PATH, device_model_socket=PATH,"
            " when_away=refuse|direct, wait_ms=0..%d, busy_ms=0..%d", key, value, where, TIME_MOST_MS,
            TIME_MOST_MS);
}

/* Remove blanks at both ends, in place. */
static char *trim(char *text)
{
    text += strspn(text, " \t\r\n");
    size_t length = strlen(text);
    while (length && strchr(" \t\r\n", text[length - 1]))
        text[--length] = '\0';
    return text;
}

static void read_line(char *line, const char *path)
{
    char *value, *key = trim(line);

    if (!*key || *key == '#')
        return;
    value = strchr(key, '=');
    if (value)
        *value++ = '\0';
    set(trim(key), value ? trim(value) : "", path);
}

/* Without stdio, which allocates memory: after fork() malloc may be locked by a lost thread. */
static void read_file(const char *path)
{
    static char text[FILE_MOST + 1]; /* not on the stack, which may be small */
    char *rest = text, *line;
    size_t length = 0;
    ssize_t part = 1;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (file < 0)
        return;
    while (length < FILE_MOST && part > 0) {
        part = read(file, text + length, FILE_MOST - length);
        length += part > 0 ? (size_t)part : 0;
    }
    close(file);
    if (part < 0)
        say("cannot read %s: %s", path, error_text(errno));
    if (length == FILE_MOST)
        say("cannot use all of %s: it is longer than %d bytes", path, FILE_MOST - 1);
    text[length] = '\0';
    while ((line = strsep(&rest, "\n")))
        read_line(line, path);
}

static void load(void)
{
    const char *path = secure_getenv("MAXMEM_INTERPOSE_CONF");
    const char *socket = secure_getenv("MAXMEM_SOCKET");

    read_file(path ? path : FILE_DEFAULT);
    if (socket && *socket)
        set_socket(values.socket, socket, "MAXMEM_SOCKET");
}

const struct config *config(void)
{
    pthread_once(&once, load);
    return &values;
}
