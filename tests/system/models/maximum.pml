/*
 * The models of who sets a domain's maximum, again, for spin: written apart from models/races/,
 * so that a mistake in one of them shows. Two actors, of every kind, in every interleaving, and
 * either may be killed after any of its steps; so may the arbiter, once. Amounts are KiB.
 *
 * -DWAY=..   RECOMPUTE (model 2), MODIFY or ADD (3), PARTS (4), ARBITER (1)
 * -DLOCKS=.. 1: libxl takes its userdata lock; a device model never does
 * -DCB=..    the constant of libxl B, which built the domain; that of libxl A is CA
 */
#define RECOMPUTE 1
#define MODIFY    2
#define ADD       3
#define PARTS     4
#define ARBITER   5

#define MIB   1024
#define CA    1024
#define BUILT (128 * MIB)
#define NONE  (-1)

mtype:verb   = { nothing, set, max, bump, build, move };
mtype:status = { idle, running, done, refused, crashed };
mtype:about  = { updates, moves, limits };

mtype:verb verb[2] = nothing;
mtype:status status[2] = idle;
mtype:about about;
int amount[2];
bool after[2];          /* when this one began, the other's word had ended */
bool died;              /* somebody was killed */

/* Xen: one number, or the toolstack's part and one for each device model */
int xen; int part[2]; int populated; byte life;
int incoming = NONE;    /* the destination's, while a migration runs */

/* xenstore, and libxl's lock (0: free) */
int target = BUILT; int static_max = BUILT; int base = BUILT; byte lock;

int ceiling = NONE;

/* the arbiter */
chan mailbox = [2] of { byte };
bool answered[2]; bool denied[2]; bool asked[2];
int word = BUILT; int share[2];
bool serving = true; bool fell;

/* what is wrong at an end */
bool bad_lost, bad_twice, bad_order, bad_migration, bad_explained, bad_admission;

ltl lost           { [] !bad_lost }
ltl twice          { [] !bad_twice }
ltl order          { [] !bad_order }
ltl migration      { [] !bad_migration }
ltl explained      { [] !bad_explained }
ltl admission      { [] !bad_admission }
ltl calm_lost      { [] !(bad_lost && !died) }
ltl calm_twice     { [] !(bad_twice && !died) }
ltl calm_order     { [] !(bad_order && !died) }
ltl calm_migration { [] !(bad_migration && !died) }
ltl calm_explained { [] !(bad_explained && !died) }
ltl calm_admission { [] !(bad_admission && !died) }

#define other       (1 - me)
#define CONST(me)   ((me) == 0 -> CA : CB)
#define MAXIMUM     (xen + part[0] + part[1])
#define ANNOUNCED   (target != NONE)
#define IS_WORD(n)  (verb[n] == set || verb[n] == max || verb[n] == build)
#define ENDED(n)    (status[n] == done || status[n] == crashed)
#define MAY_BEGIN   (ANNOUNCED && (!LOCKS || lock == 0))
#define TOO_MUCH(n) (ceiling != NONE && (n) > ceiling)
#define WHOLE       (word + share[0] + share[1] + CA)

inline begins() { status[me] = running; after[me] = IS_WORD(other) && ENDED(other) }

inline takes_lock() { if :: LOCKS -> lock = me + 1 :: else fi }

inline ends(how) {
    status[me] = how;
    if :: lock == me + 1 -> lock = 0 :: else fi;
    goto over
}

/* between any two steps: go on, or die (and the kernel gives the lock back) */
inline or_dies() {
    if
    :: true
    :: atomic { true -> died = true; ends(crashed) }
    fi
}

inline sets_xen(whole, delta) {
    if
    :: WAY == ADD -> xen = xen + delta
    :: else -> xen = whole
    fi
}

proctype libxl_set(byte me) {
    int seen_target, seen_max, seen_base, whole; byte seen_life;

    atomic {
        MAY_BEGIN -> begins(); takes_lock();
        seen_target = target; seen_max = MAXIMUM; seen_base = base; seen_life = life;
        if
        :: WAY == MODIFY -> whole = seen_max - seen_target + amount[me]
        :: WAY == ADD -> whole = seen_max - seen_base + amount[me]
        :: else -> whole = amount[me] + CONST(me) + part[0] + part[1]
        fi;
        if :: amount[me] > static_max || TOO_MUCH(whole) -> ends(refused) :: else fi
    }
    or_dies();
    atomic {
        if :: life != seen_life -> ends(refused) :: else fi;
        if
        :: WAY == MODIFY -> xen = seen_max - seen_target + amount[me]
        :: else -> sets_xen(amount[me] + CONST(me), amount[me] - seen_base)
        fi
    }
    or_dies();
    atomic {
        if :: life != seen_life -> ends(refused) :: else fi;
        target = amount[me]; base = amount[me]; ends(done)
    }
over: skip
}

proctype libxl_max(byte me) {
    int seen_base; byte seen_life;

    atomic {
        MAY_BEGIN -> begins(); takes_lock();
        seen_base = base; seen_life = life;
        if
        :: amount[me] < target || TOO_MUCH(amount[me] + CONST(me)) -> ends(refused)
        :: else
        fi
    }
    or_dies();
    atomic {
        if :: life != seen_life -> ends(refused) :: else fi;
        sets_xen(amount[me] + CONST(me), amount[me] - seen_base)
    }
    or_dies();
    atomic {
        if :: life != seen_life -> ends(refused) :: else fi;
        static_max = amount[me]; base = amount[me]; ends(done)
    }
over: skip
}

proctype device_model(byte me) {
    int seen_max; byte seen_life;

    atomic {
        ANNOUNCED -> begins();
        seen_max = MAXIMUM; seen_life = life;
        if :: TOO_MUCH(seen_max + amount[me]) -> ends(refused) :: else fi
    }
    or_dies();
    atomic {
        if :: life != seen_life -> ends(refused) :: else fi;
        populated = populated + amount[me];
        if
        :: WAY == MODIFY -> xen = seen_max + amount[me]
        :: WAY == ADD -> xen = xen + amount[me]
        :: else -> part[me] = amount[me]
        fi;
        ends(done)
    }
over: skip
}

proctype libxl_build(byte me) {
    atomic { begins(); xen = BUILT + CB }
    or_dies();
    atomic { target = BUILT; static_max = BUILT; base = BUILT; ends(done) }
over: skip
}

/* what the source holds must fit below the destination's maximum, or the restore dies */
inline restores() {
    held = BUILT + CA + populated;
    if :: held > MAXIMUM -> held = MAXIMUM :: else fi;
    if :: held > incoming -> incoming = NONE; ends(refused) :: else fi
}

proctype libxl_migrate(byte me) {
    int seen_target, seen_static, held;

    atomic { MAY_BEGIN -> begins(); seen_target = target; seen_static = static_max }
    or_dies();
    atomic { incoming = seen_target + CONST(me) }
    or_dies();
    atomic { restores() }
    or_dies();
    atomic {
        xen = incoming; part[0] = 0; part[1] = 0; incoming = NONE; life++;
        target = seen_target; static_max = seen_static; base = seen_target; lock = 0;
        ends(done)
    }
over: skip
}

/* model 1: everybody asks */

inline hears() {
    if
    :: status[me] == crashed -> goto over  /* the arbiter died under it: nobody knows */
    :: answered[me]
    :: denied[me] -> ends(refused)
    fi
}

proctype client(byte me) {
    atomic { serving && (ANNOUNCED || verb[me] == build) -> begins(); asked[me] = true; mailbox!me }
    if
    :: atomic { status[me] == running -> died = true; ends(crashed) }
    :: atomic {
        (answered[me] || denied[me] || status[me] == crashed) -> hears();
        if
        :: verb[me] == bump -> populated = populated + amount[me]
        :: verb[me] == build -> target = BUILT; static_max = BUILT
        :: else
        fi;
        ends(done)
       }
    fi;
over: skip
}

proctype mover(byte me) {
    int held;

    atomic { serving && ANNOUNCED -> begins(); incoming = 0; asked[me] = true; mailbox!me }
    if
    :: atomic { status[me] == running -> died = true; ends(crashed) }
    :: atomic { (answered[me] || status[me] == crashed) -> hears(); restores() }
    fi;
    or_dies();
    atomic { xen = incoming; incoming = NONE; life++; ends(done) }
over: skip
}

inline kills_clients() {
    if :: asked[0] && status[0] == running && !answered[0] && !denied[0] -> status[0] = crashed :: else fi;
    if :: asked[1] && status[1] == running && !answered[1] && !denied[1] -> status[1] = crashed :: else fi;
    do :: mailbox?_ :: empty(mailbox) -> break od
}

inline or_falls() {
    if
    :: true
    :: atomic { !fell -> fell = true; died = true; serving = false; kills_clients(); goto down }
    fi
}

/* the destination first, and only upwards; then the domain */
inline pushes() {
    if :: incoming != NONE && WHOLE > incoming -> incoming = WHOLE :: else fi;
    if :: word > 0 && MAXIMUM != WHOLE -> xen = WHOLE :: else fi
}

proctype arbiter() {
    byte me; int next_word, next_share[2];

serve:
    do
    :: atomic {
        nempty(mailbox) -> mailbox?me;
        next_word = word; next_share[0] = share[0]; next_share[1] = share[1];
        if
        :: verb[me] == bump -> next_share[me] = next_share[me] + amount[me]
        :: verb[me] == move
        :: else -> next_word = amount[me]
        fi;
        if
        :: TOO_MUCH(next_word + next_share[0] + next_share[1] + CA) -> denied[me] = true; goto serve
        :: else
        fi
       }
       or_falls();
       atomic { word = next_word; share[0] = next_share[0]; share[1] = next_share[1] }
       or_falls();
       atomic { if :: incoming != NONE && WHOLE > incoming -> incoming = WHOLE :: else fi }
       or_falls();
       atomic { pushes() }
       or_falls();
       atomic { answered[me] = true }
    :: atomic { empty(mailbox) && word > 0 && MAXIMUM != WHOLE -> pushes() }
    :: atomic { nempty(mailbox) && !fell ->
        fell = true; died = true; serving = false; kills_clients(); goto down }
    od;
down:
    atomic { pushes(); serving = true; goto serve }
}

/* which actors there are */

inline any_change(n) {
    if
    :: verb[n] = set
    :: verb[n] = max
    :: WAY != RECOMPUTE -> verb[n] = bump
    fi
}

inline starts_at(t) { target = t; base = t; word = t; xen = t + CB }

inline chooses() {
    starts_at(BUILT);
    if
    :: about = updates; any_change(0); any_change(1)
    :: about = updates; verb[0] = build; any_change(1);
       target = NONE; static_max = NONE; xen = 0; word = 0
    :: about = moves; any_change(0); verb[1] = move
    :: about = limits; verb[0] = set; verb[1] = max; starts_at(100 * MIB);
       amount[0] = BUILT; amount[1] = 110 * MIB
    :: about = limits; verb[0] = max; verb[1] = set; starts_at(100 * MIB);
       amount[0] = BUILT; amount[1] = BUILT; ceiling = BUILT + CA
    :: WAY != RECOMPUTE -> about = limits; verb[0] = bump; verb[1] = bump; ceiling = BUILT + CA + 512
    :: WAY != RECOMPUTE -> about = limits; verb[0] = set; verb[1] = bump; ceiling = BUILT + CA
    fi;
    usual(0); usual(1)
}

inline usual(n) {
    if
    :: amount[n] != 0 || verb[n] == move
    :: else ->
        if
        :: verb[n] == set -> amount[n] = (n == 1 && verb[0] == set -> 120 * MIB : 100 * MIB)
        :: verb[n] == max -> amount[n] = (n == 1 && verb[0] == max -> 400 * MIB : 300 * MIB)
        :: verb[n] == bump -> amount[n] = (n == 1 && verb[0] == bump -> 512 : 256)
        :: verb[n] == build -> amount[n] = BUILT
        fi
    fi
}

inline starts(n) {
    if
    :: WAY == ARBITER && verb[n] == move -> run mover(n)
    :: WAY == ARBITER && verb[n] != move -> run client(n)
    :: WAY != ARBITER && verb[n] == set -> run libxl_set(n)
    :: WAY != ARBITER && verb[n] == max -> run libxl_max(n)
    :: WAY != ARBITER && verb[n] == bump -> run device_model(n)
    :: WAY != ARBITER && verb[n] == build -> run libxl_build(n)
    :: WAY != ARBITER && verb[n] == move -> run libxl_migrate(n)
    fi
}

/* the nearest sum that does everybody justice: how much more Xen has, and the least that may be */
inline tries_sum(w) {
    i = 0;
    do
    :: i < 4 ->
        ok = true; sum = w + CB; n = 0;
        do
        :: n < 2 ->
            if
            :: verb[n] == bump && ((i >> n) & 1) -> sum = sum + amount[n];
               ok = ok && (status[n] == done || status[n] == crashed)
            :: verb[n] == bump && !((i >> n) & 1) -> ok = ok && status[n] != done
            :: else
            fi;
            n++
        :: else -> break
        od;
        if
        :: ok ->
            gap = MAXIMUM - sum;
            if :: (gap < 0 -> -gap : gap) < (best < 0 -> -best : best) -> best = gap :: else fi;
            if :: sum < least -> least = sum :: else fi
        :: else
        fi;
        i++
    :: else -> break
    od
}

#define STANDS(n) (IS_WORD(n) && ENDED(n) \
                   && !(IS_WORD(1-(n)) && status[1-(n)] == done && after[1-(n)]))

inline tries_words() {
    if
    :: !(IS_WORD(0) && status[0] == done) && !(IS_WORD(1) && status[1] == done) -> tries_sum(BUILT)
    :: else
    fi;
    if :: STANDS(0) -> tries_sum(amount[0]) :: else fi;
    if :: STANDS(1) -> tries_sum(amount[1]) :: else fi
}

/* one whole command on a world of its own: Xen's sum, target, static-max, base, last word */
inline whole_command(k) {
    if
    :: verb[k] == set && WAY == MODIFY -> sx = sx - st + amount[k]; st = amount[k]; sw = amount[k]
    :: verb[k] == set && WAY == ADD -> sx = sx - sb + amount[k]; st = amount[k]; sb = amount[k];
       sw = amount[k]
    :: verb[k] == set && WAY != MODIFY && WAY != ADD ->
       sx = amount[k] + CONST(k) + sp; sw = amount[k];
       if :: WAY != ARBITER -> st = amount[k] :: else fi
    :: verb[k] == max && WAY == ADD -> sx = sx - sb + amount[k]; ss = amount[k]; sb = amount[k];
       sw = amount[k]
    :: verb[k] == max && WAY != ADD -> sx = amount[k] + CONST(k) + sp; sw = amount[k];
       if :: WAY != ARBITER -> ss = amount[k] :: else fi
    :: verb[k] == bump -> sx = sx + amount[k];
       if :: WAY == PARTS || WAY == ARBITER -> sp = sp + amount[k] :: else fi
    :: verb[k] == build -> sx = BUILT + CB; st = BUILT; ss = BUILT; sb = BUILT; sw = BUILT
    fi
}

inline whole_order(first, second) {
    sx = BUILT + CB; st = BUILT; ss = BUILT; sb = BUILT; sp = 0; sw = BUILT;
    whole_command(first); whole_command(second);
    if :: sx == MAXIMUM && st == target && ss == static_max -> ok = true :: else fi;
    rest[first] = sx - sw
}

inline judges() {
    best = 2147483647; least = 2147483647;
    tries_words();
    if
    :: about == updates ->
        bad_lost = best < 0; bad_twice = best > 0;
        if
        :: WAY == PARTS
        :: WAY == ARBITER -> bad_explained = MAXIMUM != WHOLE
        :: WAY == ADD -> bad_explained = MAXIMUM != base + CA
        :: else -> bad_explained = !((MAXIMUM == target + CA || MAXIMUM == static_max + CA)
                                     && (MAXIMUM == target + CB || MAXIMUM == static_max + CB))
        fi;
        if
        :: !died ->
            ok = false; whole_order(0, 1);
            if
            :: verb[0] != build -> whole_order(1, 0)
            :: else -> rest[1] = rest[0]
            fi;
            bad_order = !ok || rest[0] != rest[1]
        :: else
        fi
    :: about == moves -> bad_migration = best != 0 || status[1] == refused
    :: about == limits ->
        bad_admission = (ceiling != NONE && least > ceiling) || target > static_max
    fi
}

proctype judge() {
    int i, n, sum, gap, best, least, sx, st, ss, sb, sp, sw, rest[2]; bool ok;

    atomic { timeout -> if :: ANNOUNCED -> judges() :: else fi }
}

init {
    atomic {
        chooses();
        starts(0); starts(1);
        if :: WAY == ARBITER -> run arbiter() :: else fi;
        run judge()
    }
}
