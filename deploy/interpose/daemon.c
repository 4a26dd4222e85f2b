/*
 * Requests to the daemon, with retries. Each request has an idempotency key: when the connection is
 * lost or the arbiter hangs, it is sent again, and still happens only once. A daemon that is away
 * has a few seconds to come back, one in trouble the time in which its watchdog restarts it.
 */
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "config.h"
#include "exchange.h"
#include "json.h"
#include "root.h"
#include "say.h"

#define PAUSE_NS 50000000L
#define SILENT_MS 3000 /* then a line on stderr says what we wait for */
#define REPLY_LEAST_MS 9000 /* the daemon itself answers arbiter-busy after 7 s */

static void make_key(char key[33])
{
    uint64_t random[2] = { (uint64_t)now_ms(), (uint64_t)getpid() };
    ssize_t got = getrandom(random, sizeof random, GRND_NONBLOCK);

    (void)got; /* early in boot, time and pid must do */
    snprintf(key, 33, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
}

/* Return whether the arbiter cannot answer: it waits for Xen or the disk, or is shutting down. */
static bool is_busy(const struct exchange *with)
{
    char code[48];

    json_string(with->reply, "code", code, sizeof code);
    return with->status == 503 && !strcmp(code, "arbiter-busy");
}

/*
 * Exchange until there is an answer or no time is left. Once the daemon was busy or a connection
 * was lost, the daemon may be restarting: from then on a refused connection is retried as well.
 */
static enum outcome exchange_until_answered(struct exchange *with)
{
    const struct timespec pause = { 0, PAUSE_NS };
    int64_t began = now_ms();
    bool troubled = false, said = false;

    for (;;) {
        with->reply_ms = config()->busy_ms - (now_ms() - began); /* the daemon may be starting */
        if (with->reply_ms < REPLY_LEAST_MS)
            with->reply_ms = REPLY_LEAST_MS;
        enum outcome outcome = exchange(with);
        bool busy = outcome == ANSWERED && is_busy(with);
        troubled = troubled || busy || outcome == CUT_OFF;
        if (!busy && (outcome == ANSWERED || (outcome == NO_ANSWER && !troubled)))
            return outcome;
        int64_t waited = now_ms() - began;
        long patience = troubled ? config()->busy_ms : config()->wait_ms;
        if (outcome == NOT_CONNECTED && patience < config()->wait_ms)
            patience = config()->wait_ms;
        if (waited >= patience) /* a request that was cut off once may have been carried out */
            return troubled && outcome == NOT_CONNECTED ? CUT_OFF : outcome;
        if (!said && waited >= SILENT_MS)
            say("waiting for maxmemd at %s: %s", with->socket, busy ? "it is busy" : with->trouble);
        said = said || waited >= SILENT_MS;
        nanosleep(&pause, NULL);
    }
}

static void read_reply(const struct exchange *with, struct answer *answer)
{
    answer->granted = with->status == 200;
    json_string(with->reply, "code", answer->code, sizeof answer->code);
    json_string(with->reply, "detail", answer->detail, sizeof answer->detail);
    if (!json_number(with->reply, "errno", &answer->error))
        answer->error = 0;
    if (with->status == 202) /* recorded, but not in force */
        json_string(with->reply, "error", answer->detail, sizeof answer->detail);
    if (!answer->granted && !*answer->detail)
        snprintf(answer->detail, sizeof answer->detail, "HTTP status %ld", with->status);
}

static void say_unreachable(const struct exchange *with, enum outcome outcome)
{
    const char *so = "nothing was changed (when_away=refuse in interpose.conf)";

    if (config()->direct)
        so = "going on without it (when_away=direct in interpose.conf)";
    else if (outcome != NOT_CONNECTED)
        so = "maxmemctl history shows whether it was done";
    say("cannot reach maxmemd at %s: %s (is it running? systemctl status maxmemd); %s",
        with->socket, with->trouble, so);
}

/* Exchange with a reply in memory of its own: a thread's stack may be small. */
static struct answer exchange_apart(const struct request *request)
{
    struct answer answer = { .away = true };
    struct exchange *with = mmap(NULL, sizeof *with, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (with == MAP_FAILED) {
        say("cannot ask maxmemd: %s", error_text(errno));
        return answer;
    }
    with->request = *request;
    with->socket = socket_path();
    enum outcome outcome = exchange_until_answered(with);
    answer.away = outcome != ANSWERED;
    if (answer.away)
        say_unreachable(with, outcome);
    else
        read_reply(with, &answer);
    munmap(with, sizeof *with);
    return answer;
}

struct answer ask(uint32_t domid, const char *method, const char *what, const char *body_format, ...)
{
    int before = errno, cancelled;
    char path[256], body[512], key[33];
    va_list numbers;

    va_start(numbers, body_format);
    vsnprintf(body, sizeof body, body_format, numbers);
    va_end(numbers);
    snprintf(path, sizeof path, "/v1/domains/%" PRIu32 "/%s", domid, what);
    make_key(key);

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled); /* these calls are no such points */
    struct answer answer = exchange_apart(&(struct request){ method, path, body, key });
    pthread_setcancelstate(cancelled, NULL);
    errno = before;
    return answer;
}
