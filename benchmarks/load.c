/*
 * A closed-loop load generator: each of N connections to a Unix socket sends its next PUT after the
 * whole reply to the one before. In C, so that it takes little of the machine.
 *
 *     load SOCKET CONNECTIONS SECONDS WARM_SECONDS DOMAINS component|limit
 *
 * Prints one line: requests in the measured time, errors in the whole time (statuses other than
 * 2xx), and the latencies p50, p90, p99 and the longest, in milliseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 1024
#define MOST_SAMPLES (1 << 22)

struct connection {
    int fd;
    double sent;
    size_t have;
    char reply[16384];
};

static int domains, with_limit;
static unsigned long sent_in_all;
static struct connection connections[MOST_CONNECTIONS];
static float samples[MOST_SAMPLES];

static void fail(const char *what)
{
    fprintf(stderr, "load: cannot %s: %s\n", what, errno ? strerror(errno) : "the peer closed");
    exit(1);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* Domains in turn; the amount always differs from the domain's last one. */
static void send_request(struct connection *connection)
{
    char body[64], request[512];
    unsigned long domid = 1 + sent_in_all % domains;
    unsigned long step = 4 * (sent_in_all / domains % 1000);
    const char *noun = with_limit ? "limit" : "components/device-model/roms";
    const char *field = with_limit ? "max_mem_kib" : "amount_kib";
    int length = snprintf(body, sizeof body, "{\"%s\":%lu}", field,
                          (with_limit ? 131072UL : 256UL) + step);
    int size = snprintf(request, sizeof request,
                        "PUT /v1/domains/%lu/%s HTTP/1.1\r\nHost: maxmemd\r\n"
                        "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                        domid, noun, length, body);
    sent_in_all++;
    connection->have = 0;
    connection->sent = now();
    if (write(connection->fd, request, size) != size)
        fail("send");
}

/* Return the length of a reply whose head has arrived, 0 before. */
static size_t reply_size(struct connection *connection)
{
    char *end, *length;
    connection->reply[connection->have] = 0;
    end = strstr(connection->reply, "\r\n\r\n");
    if (!end)
        return 0;
    length = strcasestr(connection->reply, "\r\ncontent-length:");
    if (!length || length > end) {
        fprintf(stderr, "load: a reply without Content-Length\n");
        exit(1);
    }
    return end + 4 - connection->reply + strtoul(length + 17, NULL, 10);
}

/* Read what has arrived; return whether the reply is complete. */
static int receive(struct connection *connection)
{
    size_t size;
    ssize_t got = read(connection->fd, connection->reply + connection->have,
                       sizeof connection->reply - 1 - connection->have);
    if (got == 0)
        errno = 0;
    if (got <= 0)
        fail("read");
    connection->have += got;
    size = reply_size(connection);
    return size && connection->have >= size;
}

static int open_connection(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    return fd;
}

static int by_size(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;
    return (a > b) - (a < b);
}

int main(int count, char **words)
{
    size_t sampled = 0;
    unsigned long errors = 0, replies = 0;
    double from, until;
    int clients, poll, index;
    if (count != 7) {
        fprintf(stderr, "usage: load SOCKET CONNECTIONS SECONDS WARM DOMAINS component|limit\n");
        return 2;
    }
    clients = atoi(words[2]);
    domains = atoi(words[5]);
    with_limit = strcmp(words[6], "limit") == 0;
    if (clients < 1 || clients > MOST_CONNECTIONS || domains < 1)
        return 2;
    poll = epoll_create1(EPOLL_CLOEXEC);
    for (index = 0; index < clients; index++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
        connections[index].fd = open_connection(words[1]);
        epoll_ctl(poll, EPOLL_CTL_ADD, connections[index].fd, &event);
    }
    from = now() + atof(words[4]);
    until = from + atof(words[3]);
    for (index = 0; index < clients; index++)
        send_request(&connections[index]);
    while (now() < until) {
        struct epoll_event events[256];
        int ready = epoll_wait(poll, events, 256, 100);
        for (index = 0; index < ready; index++) {
            struct connection *connection = &connections[events[index].data.u32];
            double at;
            if (!receive(connection))
                continue;
            at = now();
            errors += connection->reply[9] != '2';
            if (at >= from && at < until) {
                replies++;
                if (sampled < MOST_SAMPLES)
                    samples[sampled++] = (at - connection->sent) * 1e3;
            }
            send_request(connection);
        }
    }
    qsort(samples, sampled, sizeof *samples, by_size);
    if (sampled == 0)
        fail("get one reply in time");
    printf("%lu %lu %.4f %.4f %.4f %.4f\n", replies, errors, samples[sampled / 2],
           samples[sampled * 90 / 100], samples[sampled * 99 / 100], samples[sampled - 1]);
    return 0;
}
