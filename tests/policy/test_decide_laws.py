"""What holds of every decision, for every wish and state."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from maxmemd.policy.components import MAX_MEM, SLACK, Key, Record
from maxmemd.policy.decide import Picture, decide
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Grant, Verdict
from maxmemd.policy.wishes import (
    LIVES,
    Build,
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
)
from maxmemd.units import UNLIMITED_PAGES, Memory
from tests.policy.values import (
    ANY,
    KEYS,
    MAYBE,
    ROM,
    RULES,
    VGA,
    amounts,
    granted,
    kib,
    picture_of,
    record_of,
    records,
    store_of,
    stores,
    xen_of,
    xens,
)

BY = st.one_of(st.integers(-(2**20), 2**20), st.integers(-(2**60), 2**60))
WISHES: st.SearchStrategy[Wish] = st.one_of(
    st.builds(SetMaxMem, ANY.map(kib), force=st.booleans()),
    st.builds(SetTarget, ANY.map(kib), enforce=st.booleans()),
    st.builds(SetTarget, by_kib=BY, enforce=st.booleans()),
    st.builds(SetComponent, KEYS, ANY.map(kib)),
    st.builds(Increase, KEYS, BY),
    st.builds(RemoveComponent, KEYS),
    st.builds(Rollback, st.integers(0, 9), force=st.booleans()),
    st.builds(
        Import,
        st.dictionaries(KEYS, ANY.map(kib), max_size=4),
        MAYBE.map(lambda n: None if n is None else kib(n)),
    ),
)
PICTURES = st.builds(
    Picture,
    st.builds(Rules, st.sampled_from(["target", "none"])),
    records(ANY),
    xens(),
    stores(),
    st.one_of(st.none(), records(ANY)),
)


@given(PICTURES, WISHES)
def test_every_wish_has_a_verdict(picture: Picture, wish: Wish) -> None:
    """For every wish and state: a refusal, or a record whose sum can be pushed."""
    verdict = decide(picture, wish)
    if isinstance(verdict, Grant):
        assert verdict.record.revision == picture.record.revision + 1
        assert verdict.record.limit.kib == sum(amounts(verdict.record).values())
        assert verdict.record.uuid == picture.record.uuid
    else:
        assert verdict.detail.startswith("cannot ")


@given(
    PICTURES,
    st.one_of(
        WISHES,
        st.builds(Build, ANY.map(kib), st.sampled_from(LIVES)),
        st.builds(Headroom, st.integers(1, 2**32)),
    ),
    st.dictionaries(st.sampled_from(["operator", "device-model"]), ANY.map(kib)),
)
def test_no_owner_grows_above_its_cap(
    picture: Picture, wish: Wish, caps: dict[str, Memory]
) -> None:
    """For every wish, forced or not: an owner's components grow up to its cap at most."""
    rules = replace(picture.rules, caps=caps)
    verdict = decide(replace(picture, rules=rules), wish)
    if isinstance(verdict, Grant):
        before, after = amounts(picture.record), amounts(verdict.record)
        for owner, cap in caps.items():
            held = sum(n for key, n in before.items() if key[0] == owner)
            assert sum(n for key, n in after.items() if key[0] == owner) <= max(held, cap.kib)


@given(PICTURES, st.one_of(st.builds(SetMaxMem, ANY.map(kib)), st.builds(SetTarget, ANY.map(kib))))
def test_xls_commands_keep_the_other_owners_components(picture: Picture, wish: Wish) -> None:
    """mem-max and mem-set touch the operator's limit and the slack; all else is added."""
    verdict = decide(picture, wish)
    if isinstance(verdict, Grant):
        own = {MAX_MEM, SLACK}
        before, after = amounts(picture.record), amounts(verdict.record)
        others = {key: n for key, n in before.items() if key not in own}
        assert {key: n for key, n in after.items() if key not in own} == others
        assert verdict.record.limit_kib == (after[MAX_MEM] + after[SLACK] + sum(others.values()))


def in_turn(picture: Picture, wishes: list[Wish]) -> list[Verdict]:
    """Decide one after the other, each on what the one before came to."""
    verdicts = []
    for wish in wishes:
        verdicts.append(decide(picture, wish))
        if isinstance(verdicts[-1], Grant):
            picture = replace(picture, record=verdicts[-1].record)
    return verdicts


INCREASES = st.lists(
    st.builds(Increase, st.sampled_from([ROM, VGA, MAX_MEM]), st.integers(0, 2**30)), max_size=6
)


@given(records(), INCREASES.flatmap(lambda w: st.tuples(st.just(w), st.permutations(w))))
def test_the_order_of_increases_does_not_matter(
    record: Record, wishes: tuple[list[Wish], list[Wish]]
) -> None:
    """Increments add up to the same record in whatever order they come."""
    picture = picture_of(record, store_of(), xen=xen_of(tot_pages=0))
    ends = [granted(in_turn(picture, list(w))[-1]).record for w in wishes if w]
    assert all(amounts(end) == amounts(ends[0]) for end in ends)
    for end in ends:
        added = sum(wish.by_kib for wish in wishes[0] if isinstance(wish, Increase))
        assert end.limit_kib == record.limit_kib + added


@given(records(), st.lists(WISHES, max_size=4), st.booleans())
def test_rollback_undoes_whatever_was_granted(
    record: Record, wishes: list[Wish], forced: bool
) -> None:
    """After any wishes, rolling back to where they began restores every component."""
    picture = picture_of(record, store_of(), xen=xen_of(tot_pages=0))
    after = [v.record for v in in_turn(picture, wishes) if isinstance(v, Grant)]
    now = after[-1] if after else record
    back = granted(
        decide(replace(picture, record=now, past=record), Rollback(record.revision, force=forced))
    )
    assert (amounts(back.record), back.record.static_max) == (amounts(record), record.static_max)


@given(records(), records())
def test_import_of_an_export_is_the_same_record(here: Record, there: Record) -> None:
    """A record that is exported and imported elsewhere has the same sum there."""
    exported = there.with_amounts({MAX_MEM: there.amount_or_zero(MAX_MEM), SLACK: RULES.slack})
    components: dict[Key, int] = amounts(exported)
    wish = Import({key: kib(n) for key, n in components.items()}, exported.static_max)
    grant = granted(decide(replace(picture_of(here), xen=None), wish))
    assert amounts(grant.record) == components
    assert grant.record.static_max == exported.static_max
    assert grant.record.limit == exported.limit


class Xl:
    """xl's own arithmetic (libxl_mem.c), for a host on which only xl writes: in KiB."""

    def __init__(self, target: int, static_max: int, videoram: int) -> None:
        self.target, self.static_max, self.videoram = target, static_max, videoram
        self.max_pages = (target + videoram + 1024) // 4

    def mem_max(self, max_kib: int) -> bool:
        """libxl_domain_setmaxmem."""
        if max_kib < self.target:
            return False
        self.max_pages = min((max_kib + 1024) // 4, UNLIMITED_PAGES)
        self.static_max = max_kib
        return True

    def mem_set(self, amount: int, *, relative: bool) -> bool:
        """libxl_set_memory_target, enforcing; its underflow is refused as its huge result is."""
        new = max(0, self.target + amount) if relative else amount - self.videoram
        if new < 0 or new > self.static_max:
            return False
        self.max_pages = (new + self.videoram + 1024) // 4
        self.target = new
        return True


def both_ways(xl: Xl, command: str, amount: int) -> tuple[Wish, bool]:
    """Give xl a command; return the wish that it is here, and whether xl did it."""
    if command == "max":
        return SetMaxMem(kib(amount)), xl.mem_max(amount)
    if command == "set":
        return SetTarget(kib(amount)), xl.mem_set(amount, relative=False)
    return SetTarget(by_kib=amount - 150000), xl.mem_set(amount - 150000, relative=True)


COMMANDS = st.lists(
    st.tuples(st.sampled_from(["max", "set", "by"]), st.integers(0, 300000)), max_size=12
)


@given(
    st.integers(0, 200000),
    st.integers(0, 200000),
    st.sampled_from([0, 8192, 16384, 3]),
    COMMANDS,
    st.integers(0, 5000),
)
def test_sequences_equal_xls_own_arithmetic(
    target: int, more: int, videoram: int, commands: list[tuple[str, int]], rom: int
) -> None:
    """After any mem-max and mem-set, max_pages, static-max and target are xl's, plus the others."""
    xl = Xl(target, target + more, videoram)
    record = record_of(target + videoram, static_max=target + more, rom=rom)
    store, xen = store_of(target, target + more, videoram), xen_of(hvm=True)
    for command, amount in commands:
        wish, done = both_ways(xl, command, amount)
        verdict = decide(picture_of(record, store, xen=xen), wish)
        assert isinstance(verdict, Grant) == done
        if isinstance(verdict, Grant):
            record, written = verdict.record, verdict.effects
            store = store._replace(
                target=store.target if written.target is None else written.target,
                static_max=store.static_max if written.static_max is None else written.static_max,
            )
        assert (record.limit.kib - rom) // 4 == xl.max_pages
        assert record.limit.max_pages == (record.limit_kib) // 4
        assert (store.target, store.static_max) == (kib(xl.target), kib(xl.static_max))
