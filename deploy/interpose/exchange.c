/*
 * One HTTP exchange: one request, one reply of a stated length, and the connection is closed.
 *
 * A client library would do more and costs more: loading libcurl and the two dozen libraries that
 * it depends on takes more than half as long as a whole `xl mem-max`. So this is written by hand,
 * for the one server that there is, and accepts nothing but what that server sends: a reply in
 * chunks, of no stated length or of too many bytes is refused with a message.
 *
 * It is made to run inside of any program: one descriptor, close-on-exec from its birth; no memory
 * from the heap; nothing that is kept between calls, so nothing that a fork could break; no
 * SIGPIPE; calls that a signal interrupts go on; every wait ends by one deadline.
 */
#include "exchange.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"

#define CONNECT_MS 1000
#define REQUEST_MOST 2048
#define END_OF_HEAD "\r\n\r\n"
#define LENGTH_UNKNOWN (-1)

/* Keep a message for people and return the outcome. */
__attribute__((format(printf, 3, 4)))
static enum outcome fail(struct exchange *with, enum outcome outcome, const char *format, ...)
{
    va_list words;

    va_start(words, format);
    vsnprintf(with->trouble, sizeof with->trouble, format, words);
    va_end(words);
    return outcome;
}

/*
 * Connect, for a second at most: where the queue of a Unix socket is full, connect waits for
 * SO_SNDTIMEO, and poll has no part in it (unix(7)).
 */
static enum outcome connect_to_socket(struct exchange *with, int fd)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct timeval patience = { CONNECT_MS / 1000, CONNECT_MS % 1000 * 1000 };
    int64_t until = now_ms() + CONNECT_MS;
    int failed;

    if (strlen(with->socket) >= sizeof address.sun_path)
        return fail(with, NOT_CONNECTED, "the socket's path is too long");
    strcpy(address.sun_path, with->socket);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    do
        failed = connect(fd, (const struct sockaddr *)&address, sizeof address);
    while (failed && errno == EINTR && now_ms() < until);
    if (failed && (errno == EAGAIN || errno == EINTR))
        return fail(with, NOT_CONNECTED, "nothing accepts the connection");
    if (failed)
        return fail(with, NOT_CONNECTED, "%s", strerror(errno));
    return ANSWERED;
}

/* Wait until the socket can be read or written; false at the deadline. */
static bool wait_until_ready(int fd, short events, int64_t until)
{
    struct pollfd one = { fd, events, 0 };
    int64_t left;

    while ((left = until - now_ms()) > 0)
        if (poll(&one, 1, (int)left) > 0) /* else a signal, or the deadline */
            return true;
    return false;
}

/*
 * Send the whole request. A server that closes early may have sent the reason before: that is why
 * a failed send is no outcome of its own, and the reply is read all the same.
 */
static enum outcome send_request(struct exchange *with, int fd, int64_t until)
{
    char request[REQUEST_MOST];
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                          "Idempotency-Key: %s\r\n\r\n%s",
                          with->method, with->path, strlen(with->body), with->key, with->body);
    size_t sent = 0;

    if (length < 0 || (size_t)length >= sizeof request)
        return fail(with, NO_ANSWER, "the request is too long");
    while (sent < (size_t)length) {
        ssize_t part = send(fd, request + sent, (size_t)length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part >= 0)
            sent += (size_t)part;
        else if (errno == EAGAIN && !wait_until_ready(fd, POLLOUT, until))
            return fail(with, NO_ANSWER, "the request is not taken in %ld ms", with->reply_ms);
        else if (errno != EAGAIN && errno != EINTR)
            return ANSWERED;
    }
    return ANSWERED;
}

/* Return the value of the only header of that name, "" where there is none, NULL for several. */
static const char *header(const char *head, const char *name)
{
    size_t length = strlen(name);
    const char *found = "";

    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) || line[length] != ':')
            continue;
        if (*found)
            return NULL;
        found = line + length + 1;
        found += strspn(found, " \t");
    }
    return found;
}

/* Read decimal digits up to the end of a header's line; LENGTH_UNKNOWN for anything else. */
static long parse_length(const char *value)
{
    char *end;
    long amount;

    if (!isdigit((unsigned char)*value))
        return LENGTH_UNKNOWN;
    errno = 0;
    amount = strtol(value, &end, 10);
    end += strspn(end, " \t");
    return strncmp(end, "\r\n", 2) || errno ? LENGTH_UNKNOWN : amount;
}

/* Read status and body length from a head, which a 0 ends after its last line. */
static enum outcome parse_head(struct exchange *with, const char *head, size_t room, size_t *length)
{
    const char *said, *encoding;
    long stated;

    if (strncmp(head, "HTTP/1.", 7) || !isdigit((unsigned char)head[7]) || head[8] != ' '
        || strspn(head + 9, "0123456789") != 3 || !strchr(" \r", head[12]) || !head[12])
        return fail(with, NO_ANSWER, "what it sends is not HTTP");
    with->status = strtol(head + 9, NULL, 10);
    if (with->status < 200)
        return fail(with, NO_ANSWER, "it sends status %ld, which is no final answer", with->status);

    encoding = header(head, "Transfer-Encoding");
    if (!encoding || *encoding)
        return fail(with, NO_ANSWER, "its reply has a transfer encoding (chunks?)");
    said = header(head, "Content-Length");
    stated = said ? parse_length(said) : LENGTH_UNKNOWN;
    if (stated == LENGTH_UNKNOWN)
        return fail(with, NO_ANSWER, "its reply has no unique Content-Length");
    if ((size_t)stated > room)
        return fail(with, NO_ANSWER, "its reply of %ld bytes is too long", stated);
    *length = (size_t)stated;
    return ANSWERED;
}

/* Receive the next part of the reply; ANSWERED where there was one. */
static enum outcome receive_part(struct exchange *with, int fd, int64_t until)
{
    size_t room = sizeof with->reply - 1 - with->length;
    ssize_t part;

    if (room == 0)
        return fail(with, NO_ANSWER, "its reply is too long");
    do {
        if (!wait_until_ready(fd, POLLIN, until))
            return fail(with, NO_ANSWER, "no reply in %ld ms", with->reply_ms);
        part = recv(fd, with->reply + with->length, room, MSG_DONTWAIT);
    } while (part < 0 && (errno == EINTR || errno == EAGAIN));
    if (part < 0)
        return fail(with, CUT_OFF, "%s", strerror(errno));
    if (part == 0)
        return fail(with, CUT_OFF, "the connection ended before the reply did");
    with->length += (size_t)part;
    return ANSWERED;
}

/* Receive the reply; its body is left at the beginning of `reply`. */
static enum outcome receive_reply(struct exchange *with, int fd, int64_t until)
{
    char *const reply = with->reply, *end = NULL;
    enum outcome outcome = ANSWERED;
    size_t head, length = 0;

    while (!end) {
        if ((outcome = receive_part(with, fd, until)) != ANSWERED)
            return outcome;
        end = memmem(reply, with->length, END_OF_HEAD, strlen(END_OF_HEAD));
    }
    head = (size_t)(end - reply) + strlen(END_OF_HEAD);
    if (memchr(reply, '\0', head))
        return fail(with, NO_ANSWER, "what it sends is not HTTP");
    end[2] = '\0'; /* every line of the head keeps its end */
    outcome = parse_head(with, reply, sizeof with->reply - 1 - head, &length);
    while (outcome == ANSWERED && with->length - head < length)
        outcome = receive_part(with, fd, until);
    memmove(reply, reply + head, length);
    reply[length] = '\0';
    with->length = length;
    return outcome;
}

enum outcome exchange(struct exchange *with)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int64_t until = now_ms() + with->reply_ms;

    with->length = 0;
    with->status = 0;
    with->reply[0] = '\0';
    if (fd < 0)
        return fail(with, NOT_CONNECTED, "%s", strerror(errno));
    enum outcome outcome = connect_to_socket(with, fd);
    if (outcome == ANSWERED)
        outcome = send_request(with, fd, until);
    if (outcome == ANSWERED)
        outcome = receive_reply(with, fd, until);
    close(fd);
    return outcome;
}
