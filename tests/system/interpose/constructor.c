/* A library that asks as it is loaded: in a thread of its own, for which its constructor waits. */
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

int plugin_asks(void);

static void *ask(void *nothing)
{
    (void)nothing;
    if (plugin_asks() != 0)
        abort();
    return NULL;
}

__attribute__((constructor)) static void on_load(void)
{
    pthread_t other;

    pthread_create(&other, NULL, ask, NULL);
    pthread_join(other, NULL);
}
