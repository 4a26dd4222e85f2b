/*
 * The library's only lock, for all that it keeps between calls, and what a fork finds.
 *
 * A process may be forked in any thread at any time, also by a signal handler, and its child has
 * only the forking thread. So fork() waits for the lock, from when the library is loaded, and a
 * thread that holds the lock has no signals and is not cancelled.
 */
#include "lock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>

#include "descriptor.h"
#include "intent.h"
#include "real.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct {
    sigset_t signals;
    int cancelled;
} before; /* of the thread that holds the lock */

static void before_fork(void)
{
    lock_state();
    real_before_fork();
}

static void in_child(void)
{
    real_in_child();
    intents_in_child();
    descriptors_in_child();
    unlock_state();
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, unlock_state, in_child);
}

/* Constructors of other libraries may call us before: see lock_state. */
__attribute__((constructor)) static void on_load(void)
{
    pthread_once(&once, watch_forks);
}

void lock_state(void)
{
    sigset_t all, signals;
    int cancelled;

    pthread_once(&once, watch_forks);
    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelled);
    pthread_sigmask(SIG_SETMASK, &all, &signals);
    pthread_mutex_lock(&mutex);
    before.signals = signals;
    before.cancelled = cancelled;
}

void unlock_state(void)
{
    sigset_t signals = before.signals;
    int cancelled = before.cancelled;

    pthread_mutex_unlock(&mutex);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
    pthread_setcancelstate(cancelled, NULL);
}

uint64_t this_thread(void)
{
    static atomic_uint_fast64_t last;
    static __thread uint64_t number;

    if (!number)
        number = atomic_fetch_add(&last, 1) + 1;
    return number;
}
