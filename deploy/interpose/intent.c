/*
 * What a build is meant to be. libxl computes a sum and sets it several calls deeper; only the call
 * that the program made has the target. The table has a fixed size, so there is no memory to free.
 */
#include "intent.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#define SLOTS 64
#define MOST_SLACK_KIB 65536 /* a guess: no version of libxl adds more to a target */
#define NO_DOMAIN UINT32_MAX

static struct slot {
    bool used, async;
    pthread_t thread;
    uint32_t domid;
    struct intent intent;
} slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread int direct;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* A child has only the forking thread: builds that other threads began are not its own. */
static void in_child(void)
{
    for (int i = 0; i < SLOTS; i++)
        slots[i].used = slots[i].used && pthread_equal(slots[i].thread, pthread_self());
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, in_parent, in_child);
}

int intent_begin(const struct intent *intent, bool async)
{
    int number = -1;

    pthread_once(&once, watch_forks);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < SLOTS && number < 0; i++)
        if (!slots[i].used)
            number = i;
    if (number >= 0)
        slots[number] = (struct slot){ true, async, pthread_self(), NO_DOMAIN, *intent };
    pthread_mutex_unlock(&lock);
    return number;
}

void intent_end(int number)
{
    if (number < 0)
        return;
    pthread_mutex_lock(&lock);
    if (!slots[number].async)
        slots[number].used = false;
    pthread_mutex_unlock(&lock);
}

static bool is_target_and_slack(const struct slot *slot, uint64_t max_kib)
{
    int64_t over = (int64_t)max_kib - slot->intent.target_kib;

    return slot->intent.target_kib != KIB_UNKNOWN && over >= 0 && over <= MOST_SLACK_KIB;
}

/* Return this thread's slot, else that of any thread whose target fits, else NULL. */
static struct slot *slot_for(uint32_t domid, uint64_t max_kib)
{
    struct slot *other = NULL;

    for (struct slot *slot = slots; slot < slots + SLOTS; slot++) {
        if (!slot->used || (slot->domid != NO_DOMAIN && slot->domid != domid))
            continue;
        if (pthread_equal(slot->thread, pthread_self()) && !slot->async)
            return slot;
        if (is_target_and_slack(slot, max_kib) && !other)
            other = slot;
    }
    return other;
}

bool intent_find(uint32_t domid, uint64_t max_kib, struct intent *found)
{
    struct slot *slot;

    pthread_mutex_lock(&lock);
    slot = slot_for(domid, max_kib);
    if (slot) {
        slot->domid = domid;
        *found = slot->intent;
        slot->used = !slot->async; /* intent_end, which came before, has left it in use */
    }
    pthread_mutex_unlock(&lock);
    return slot != NULL;
}

bool intent_any(void)
{
    bool any = false;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < SLOTS; i++)
        any = any || slots[i].used;
    pthread_mutex_unlock(&lock);
    return any;
}

void direct_begin(void)
{
    direct++;
}

void direct_end(void)
{
    direct--;
}

bool is_direct(void)
{
    return direct > 0;
}
