/*
 * What builds are meant to be. libxl computes a sum and sets it several calls deeper; only the call
 * that the program made has the target. The table has a fixed size, so there is no memory to free.
 */
#include "intent.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "lock.h"

#define SLOTS 64
#define MOST_SLACK_KIB 65536 /* no version of libxl adds more to a target */
#define NO_DOMAIN UINT32_MAX

enum end {
    WITH_CALL,
    WITH_CALLBACK,
    UNSEEN, /* libxl reports it by an event: once its domain has a maximum we need it no more */
};

static struct slot {
    bool used;
    enum end end;
    uint64_t number, thread;
    void *context;
    uint32_t domid; /* of the guest, once that is known */
    struct intent intent;
    struct how theirs, ours;
} slots[SLOTS];
static uint64_t last_number;
static __thread int direct;

#define FOR_EACH(slot) for (struct slot *slot = slots; slot < slots + SLOTS; slot++)

static bool is_same_uuid(const char *one, const char *other)
{
    return !is_nil(one) && !strcasecmp(one, other);
}

static void on_built(void *context, int rc, void *for_callback)
{
    struct slot *slot = for_callback;

    lock_state();
    struct how theirs = slot->theirs;
    slot->used = false;
    unlock_state();
    theirs.callback(context, rc, theirs.u.for_callback);
}

/* Return a slot that is free, or can be: of builds whose end is unseen the oldest goes first. */
static struct slot *slot_to_use(void)
{
    struct slot *oldest = NULL;

    FOR_EACH(slot) {
        if (!slot->used)
            return slot;
        if (slot->end == UNSEEN && (!oldest || slot->number < oldest->number))
            oldest = slot;
    }
    return oldest;
}

uint64_t intent_begin(void *context, const struct intent *intent, const struct how *how)
{
    uint64_t thread = this_thread(), number = 0;
    enum end end = !how ? WITH_CALL : how->callback ? WITH_CALLBACK : UNSEEN;

    lock_state();
    FOR_EACH(slot) /* a domain is built once at a time: an earlier attempt has failed */
        if (slot->end == UNSEEN && is_same_uuid(slot->intent.uuid, intent->uuid))
            slot->used = false;
    struct slot *slot = slot_to_use();
    if (slot) {
        number = ++last_number;
        *slot = (struct slot){ true, end, number, thread, context, NO_DOMAIN, *intent,
                               { 0 }, { on_built, { .for_callback = slot } } };
        if (how)
            slot->theirs = *how;
    }
    unlock_state();
    return number;
}

/* Return the slot of a number, or NULL: the build has ended, and the slot may be another's. */
static struct slot *slot_of(uint64_t number)
{
    FOR_EACH(slot)
        if (slot->used && slot->number == number)
            return slot;
    return NULL;
}

const struct how *intent_how(uint64_t number, const struct how *how)
{
    lock_state();
    struct slot *slot = how && how->callback ? slot_of(number) : NULL;
    unlock_state();
    return slot ? &slot->ours : how;
}

void intent_end(uint64_t number, int rc)
{
    lock_state();
    struct slot *slot = slot_of(number);
    if (slot && (rc || slot->end == WITH_CALL))
        slot->used = false;
    unlock_state();
}

void intents_end_of(void *context)
{
    lock_state();
    FOR_EACH(slot)
        if (slot->context == context && slot->end == UNSEEN)
            slot->used = false;
    unlock_state();
}

static bool is_target_of(const struct slot *slot, uint64_t max_kib)
{
    int64_t over = (int64_t)max_kib - slot->intent.target_kib;

    return slot->intent.target_kib == KIB_UNKNOWN || (over >= 0 && over <= MOST_SLACK_KIB);
}

static bool is_same_intent(const struct intent *one, const struct intent *other)
{
    return !strcmp(one->life, other->life) && one->target_kib == other->target_kib
           && one->static_max_kib == other->static_max_kib;
}

/* Return the call that this thread is in, or NULL: what libxl does in it is of the same context. */
static struct slot *own_slot(void)
{
    struct slot *own = NULL;

    FOR_EACH(slot)
        if (slot->used && slot->end == WITH_CALL && slot->thread == this_thread()
            && (!own || slot->number > own->number))
            own = slot;
    return own;
}

enum fit { NO, POSSIBLE, CERTAIN };

static enum fit fit_of(const struct slot *slot, const struct slot *own, uint32_t domid,
                       uint64_t max_kib, const struct domain *domain)
{
    if (!slot->used)
        return NO;
    if (slot->domid == domid)
        return CERTAIN;
    if (slot->domid != NO_DOMAIN)
        return NO;
    /* Whatever its maximum: the daemon may have raised a domain that it knows before libxl does. */
    if (domain->known && !is_nil(slot->intent.uuid))
        return is_same_uuid(slot->intent.uuid, domain->uuid) ? CERTAIN : NO;
    if (domain->has_maximum || (own && slot->context != own->context))
        return NO;
    return is_target_of(slot, max_kib) ? POSSIBLE : NO;
}

static enum purpose find(uint32_t domid, uint64_t max_kib, const struct domain *domain,
                         struct slot **found)
{
    struct slot *own = own_slot();
    enum fit best = NO;
    bool any = false, differ = false;

    FOR_EACH(slot) {
        enum fit fit = fit_of(slot, own, domid, max_kib, domain);
        any = any || slot->used;
        if (fit == NO || fit < best)
            continue;
        bool is_better = fit > best;
        differ = !is_better && (differ || !is_same_intent(&(*found)->intent, &slot->intent));
        if (is_better || slot == own)
            *found = slot;
        best = fit;
    }
    if (*found)
        return differ ? UNCERTAIN : A_BUILD;
    if (!any || domain->has_maximum)
        return NO_BUILD;
    return own && own->domid != NO_DOMAIN ? BESIDE_BUILD : UNCERTAIN;
}

enum purpose intent_find(uint32_t domid, uint64_t max_kib, const struct domain *domain,
                         struct intent *intent)
{
    struct slot *found = NULL;

    lock_state();
    enum purpose purpose = find(domid, max_kib, domain, &found);
    if (purpose == A_BUILD) {
        found->domid = domid;
        *intent = found->intent;
    }
    unlock_state();
    return purpose;
}

void intent_answered(uint32_t domid, bool is_built)
{
    lock_state();
    FOR_EACH(slot) {
        if (slot->domid != domid)
            continue;
        if (!is_built)
            slot->domid = NO_DOMAIN;
        else if (slot->end == UNSEEN)
            slot->used = false;
    }
    unlock_state();
}

bool intent_any(void)
{
    bool any = false;

    lock_state();
    FOR_EACH(slot)
        any = any || slot->used;
    unlock_state();
    return any;
}

void intents_in_child(void)
{
    FOR_EACH(slot)
        slot->used = slot->used && slot->thread == this_thread();
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
