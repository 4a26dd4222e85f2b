"""Values that the tests of the policy share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import strategies as st

from maxmemd.policy.components import MAX_MEM, SLACK, Component, Key, Record
from maxmemd.policy.decide import Picture
from maxmemd.policy.facts import DOM0_UUID, StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Grant, Refusal, Verdict
from maxmemd.units import END_KIB, Memory

UUID = "51a70000-0000-4000-8000-000000000001"
ROM: Key = ("device-model", "rom")
VGA: Key = ("device-model", "vga")
RULES = Rules()
SLACK_KIB = RULES.slack.kib


def kib(amount: int) -> Memory:
    """Return that many KiB."""
    return Memory(kib=amount)


def record_of(
    limit: int = 65536, *, static_max: int | None = None, revision: int = 3, **others: int
) -> Record:
    """Return a record with the operator's limit, the slack and a device model's components."""
    components = {MAX_MEM: Component(kib(limit), 1), SLACK: Component(RULES.slack, 1)}
    components |= {
        ("device-model", name): Component(kib(amount), 2) for name, amount in others.items()
    }
    return Record(UUID, revision, components, None if static_max is None else kib(static_max))


def store_of(
    target: int | None = None, static_max: int | None = None, videoram: int = 0
) -> StoreFacts:
    """Return xenstore's facts, in KiB."""
    return StoreFacts(
        "guest",
        None if target is None else kib(target),
        None if static_max is None else kib(static_max),
        kib(videoram),
    )


def xen_of(
    domid: int = 7, *, max_pages: int = 16640, tot_pages: int = 16384, hvm: bool = False
) -> XenFacts:
    """Return Xen's facts of a domain that runs."""
    uuid = UUID if domid else DOM0_UUID
    return XenFacts(domid, uuid, tot_pages, max_pages, hvm=hvm, cpu_time_ns=1)


def picture_of(
    record: Record | None = None,
    store: StoreFacts | None = None,
    *,
    rules: Rules = RULES,
    xen: XenFacts | None = None,
    past: Record | None = None,
) -> Picture:
    """Return a picture of a PV guest with 64 MiB, unless told otherwise."""
    return Picture(
        rules,
        record_of() if record is None else record,
        xen_of() if xen is None else xen,
        store_of(65536, 65536) if store is None else store,
        past,
    )


def granted(verdict: Verdict) -> Grant:
    """Return a verdict that must be a grant."""
    assert isinstance(verdict, Grant), verdict
    return verdict


def refused(verdict: Verdict | None) -> tuple[str, dict[str, int | str]]:
    """Return the code and the numbers of a verdict that must be a refusal."""
    assert isinstance(verdict, Refusal), verdict
    assert verdict.detail.startswith("cannot ")
    for number in verdict.numbers.values():
        assert str(number).removeprefix("-") in verdict.detail, (number, verdict.detail)
    return verdict.code, dict(verdict.numbers)


def amounts(record: Record) -> dict[Key, int]:
    """Return a record's components in KiB."""
    return {key: part.amount.kib for key, part in record.components.items()}


KEYS: st.SearchStrategy[Key] = st.sampled_from([MAX_MEM, SLACK, ROM, VGA, ("operator", "extra")])
SMALL = st.integers(0, 2**40)
ANY = st.one_of(st.integers(0, 2**24), st.integers(0, END_KIB - 1), st.just(END_KIB - 1))
MAYBE = st.one_of(st.none(), ANY)


@st.composite
def records(draw: st.DrawFn, amount: st.SearchStrategy[int] = SMALL) -> Record:
    """Draw a record whose sum a Memory holds."""
    wanted = draw(st.dictionaries(KEYS, amount, max_size=5))
    while sum(wanted.values()) >= END_KIB:
        wanted.popitem()
    revision = draw(st.integers(0, 9))
    since = draw(st.integers(0, revision))
    components = {key: Component(kib(amount), since) for key, amount in wanted.items()}
    static_max = draw(MAYBE)
    return Record(UUID, revision, components, None if static_max is None else kib(static_max))


@st.composite
def stores(draw: st.DrawFn) -> StoreFacts:
    """Draw what xenstore may say, sense or nonsense."""
    return store_of(draw(MAYBE), draw(MAYBE), draw(st.one_of(st.just(0), ANY)))


@st.composite
def xens(draw: st.DrawFn) -> XenFacts:
    """Draw what Xen may say of dom0 or a guest."""
    pages = st.integers(0, 2**32 - 1)
    return xen_of(
        draw(st.sampled_from([0, 7])),
        max_pages=draw(pages),
        tot_pages=draw(pages),
        hvm=draw(st.booleans()),
    )


class Refuses(NamedTuple):
    """One past a clause's edge: the refusal's code, its whole sentence and its numbers."""

    ask: Callable[[], Refusal | None]
    code: str
    detail: str
    numbers: dict[str, int | str]

    def check(self) -> None:
        """Demand exactly this; the sentence alone has every number and name of the numbers."""
        assert self.ask() == Refusal(self.code, self.detail, self.numbers)
        for name, number in self.numbers.items():
            assert str(number).removeprefix("-") in self.detail, name


def each_of(cases: Sequence[Refuses]) -> pytest.MarkDecorator:
    """Have a test check each of these refusals."""
    names = [f"{number}-{case.code}" for number, case in enumerate(cases)]
    return pytest.mark.parametrize("case", cases, ids=names)
