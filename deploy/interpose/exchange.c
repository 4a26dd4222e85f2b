/*
 * One HTTP exchange: one request, one reply with a Content-Length, then the connection is closed.
 *
 * Written by hand: loading libcurl and its two dozen dependencies takes more than half as long as a
 * whole `xl mem-max`. It accepts only what maxmemd sends: a reply in chunks, without a length or
 * with too many bytes is refused with a message.
 *
 * It runs inside of any program. So it has one descriptor, which neither an exec nor a fork keeps;
 * takes no memory from the heap; raises no SIGPIPE; resumes interrupted system calls; and has one
 * deadline for all waits.
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
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "clock.h"
#include "descriptor.h"
#include "number.h"
#include "say.h"

#define CONNECT_MS 1000
#define REQUEST_MOST 2048
#define END_OF_HEAD "\r\n\r\n"
#define LENGTH_UNKNOWN (-1)

/* Store the message and return the outcome. */
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
 * Connect, within a second: while the backlog of a Unix socket is full, connect() blocks for
 * SO_SNDTIMEO, and poll() cannot be used to wait (unix(7)).
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
        return fail(with, NOT_CONNECTED, "the connection is not accepted");
    if (failed)
        return fail(with, NOT_CONNECTED, "%s", error_text(errno));
    return ANSWERED;
}

/* Wait until the socket is readable or writable; return false at the deadline. */
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
 * Send the whole request. When sending fails, the reply is still read: a server that closes early
 * may have sent the reason before.
 */
static enum outcome send_request(struct exchange *with, int fd, int64_t until)
{
    const struct request *what = &with->request;
    char request[REQUEST_MOST];
    int length = snprintf(request, sizeof request,
                          "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n"
                          "Idempotency-Key: %s\r\n\r\n%s",
                          what->method, what->path, strlen(what->body), what->key, what->body);
    size_t sent = 0;

    if (length < 0 || (size_t)length >= sizeof request)
        return fail(with, NO_ANSWER, "the request is too long");
    while (sent < (size_t)length) {
        ssize_t part = send(fd, request + sent, (size_t)length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part >= 0)
            sent += (size_t)part;
        else if (errno == EAGAIN && !wait_until_ready(fd, POLLOUT, until))
            return fail(with, NO_ANSWER, "the request was not read within %ld ms", with->reply_ms);
        else if (errno != EAGAIN && errno != EINTR)
            return ANSWERED;
    }
    return ANSWERED;
}

/* Return the value of a header, "" if it is missing, NULL if it occurs more than once. */
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

/* Parse decimal digits up to the end of the line; return LENGTH_UNKNOWN for anything else. */
static long long parse_length(const char *value)
{
    char *end;
    long long amount;

    if (!isdigit((unsigned char)*value))
        return LENGTH_UNKNOWN;
    errno = 0;
    amount = parse_number(value, &end);
    end += strspn(end, " \t");
    return strncmp(end, "\r\n", 2) || errno ? LENGTH_UNKNOWN : amount;
}

/* Parse status and body length; `head` ends with a 0 after its last line. */
static enum outcome parse_head(struct exchange *with, const char *head, size_t room, size_t *length)
{
    const char *said, *encoding;
    long long stated;

    if (strncmp(head, "HTTP/1.", 7) || !isdigit((unsigned char)head[7]) || head[8] != ' '
        || strspn(head + 9, "0123456789") != 3 || !strchr(" \r", head[12]) || !head[12])
        return fail(with, NO_ANSWER, "the reply is not HTTP");
    with->status = (long)parse_number(head + 9, NULL);
    if (with->status < 200)
        return fail(with, NO_ANSWER, "status %ld is not a final one", with->status);

    encoding = header(head, "Transfer-Encoding");
    if (!encoding || *encoding)
        return fail(with, NO_ANSWER, "the reply has a Transfer-Encoding");
    said = header(head, "Content-Length");
    stated = said ? parse_length(said) : LENGTH_UNKNOWN;
    if (stated == LENGTH_UNKNOWN)
        return fail(with, NO_ANSWER, "the reply has no unique Content-Length");
    if ((size_t)stated > room)
        return fail(with, NO_ANSWER, "the reply of %lld bytes is too long", stated);
    *length = (size_t)stated;
    return ANSWERED;
}

/* Receive the next part of the reply; return ANSWERED if there was one. */
static enum outcome receive_part(struct exchange *with, int fd, int64_t until)
{
    size_t room = sizeof with->reply - 1 - with->length;
    ssize_t part;

    if (room == 0)
        return fail(with, NO_ANSWER, "the reply is too long");
    do {
        if (!wait_until_ready(fd, POLLIN, until))
            return fail(with, NO_ANSWER, "no reply within %ld ms", with->reply_ms);
        part = recv(fd, with->reply + with->length, room, MSG_DONTWAIT);
    } while (part < 0 && (errno == EINTR || errno == EAGAIN));
    if (part < 0)
        return fail(with, CUT_OFF, "%s", error_text(errno));
    if (part == 0)
        return fail(with, CUT_OFF, "the connection ended before the reply did");
    with->length += (size_t)part;
    return ANSWERED;
}

/* Receive the reply; its body is moved to the beginning of `reply`. */
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
        return fail(with, NO_ANSWER, "the reply is not HTTP");
    end[2] = '\0'; /* after the last line's CRLF, which header() and parse_length() need */
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
    int fd = descriptor_socket();
    int64_t until = now_ms() + with->reply_ms;

    with->length = 0;
    with->status = 0;
    with->reply[0] = '\0';
    if (fd < 0)
        return fail(with, NOT_CONNECTED, "%s", error_text(errno));
    enum outcome outcome = connect_to_socket(with, fd);
    if (outcome == ANSWERED)
        outcome = send_request(with, fd, until);
    if (outcome == ANSWERED)
        outcome = receive_reply(with, fd, until);
    descriptor_close(fd);
    return outcome;
}
