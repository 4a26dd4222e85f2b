"""Repeated refusals: which are entries, which are counted, and when the count is written."""

import json

import pytest

from maxmemd.arbiter.repeated_refusals import MOST_DOMAINS, MOST_RUNS, WINDOW_S, RefusalCoalescer
from maxmemd.policy.entries import Entry
from maxmemd.policy.wishes import SetMaxMem
from maxmemd.units import Memory
from tests.support.fakes import FakeClock
from tests.support.seat import Seat

ME = '{"name":"me","uid":5,"gid":5,"pid":%d}'


def refusal(uuid: str = "a", kib: int = 4, pid: int = 1, revision: int = 1) -> Entry:
    """Return a refusal as a line."""
    words = {"wish": "mem-max", "max_mem_kib": kib, "code": "no"}
    return Entry(uuid, revision, "refused", ME % pid, json.dumps(words), None)


def counts(lines: list[Entry]) -> list[tuple[int, int] | None]:
    """Return what lines say of repetition: how often and for how many seconds, None for none."""
    words = [json.loads(line.wish) for line in lines]
    return [(each["again"], each["seconds"]) if "again" in each else None for each in words]


def test_the_same_again_is_counted() -> None:
    """The first is an entry; the next are counted in one more, with the last process."""
    repeats = RefusalCoalescer()
    assert repeats.add(refusal(), 100.0) == [refusal()]
    for number in range(7):
        assert repeats.add(refusal(pid=number), 101.0 + number) == []
    (told,) = repeats.flush("a")
    assert counts([told]) == [(7, 7)]
    assert told.actor == ME % 6
    assert json.loads(told.wish)["max_mem_kib"] == 4
    assert repeats.flush("a") == []


def test_what_differs_is_a_line() -> None:
    """Another wish, domain, revision or caller: each has a line, and a count of its own."""
    repeats = RefusalCoalescer()
    other = refusal()._replace(actor='{"name":"you","uid":6,"gid":6,"pid":1}')
    each = [refusal(), refusal(kib=8), refusal(uuid="b"), refusal(revision=2), other]
    assert [repeats.add(one, 1.0) for one in each] == [[one] for one in each]
    assert [repeats.add(one, 2.0) for one in each] == [[]] * 5
    assert counts(repeats.flush_all()) == [(1, 1)] * 5
    assert repeats.flush_all() == []


def test_a_window_ends() -> None:
    """A client that repeats for long gets one entry in a while, then starts with an entry again."""
    repeats = RefusalCoalescer()
    said: list[Entry] = []
    for second in range(int(3 * WINDOW_S)):
        said += repeats.add(refusal(), float(second))
    assert counts(said) == [None, (59, 59), None, (59, 59), None]
    assert repeats.flush_old(3 * WINDOW_S - 1) == []
    assert counts(repeats.flush_old(3 * WINDOW_S)) == [(59, 59)]
    assert repeats.flush_all() == []


def test_nothing_grows() -> None:
    """Few different ones are counted at a time; those that give way are written."""
    repeats = RefusalCoalescer()
    for number in range(MOST_RUNS):
        repeats.add(refusal(kib=number), 1.0)
    repeats.add(refusal(kib=0), 2.0)
    assert counts(repeats.add(refusal(kib=99), 3.0)) == [(1, 1), None]
    assert repeats.add(refusal(kib=0), 4.0) == [refusal(kib=0)]
    for number in range(2 * MOST_DOMAINS):
        repeats.add(refusal(uuid=f"{number}"), 5.0)
    assert len(repeats._runs) == MOST_DOMAINS


@pytest.fixture
def seat() -> Seat:
    """Return a seat with one guest, web (1)."""
    made = Seat(clock=FakeClock())
    made.host.create("web", memory=Memory.of_mib(64), maxmem=Memory.of_mib(128))
    return made.restart()


def refused(seat: Seat, times: int, mib: int = 8) -> None:
    """Ask for what is refused so many times, a second apart."""
    for _ in range(times):
        assert seat.refuse(1, SetMaxMem(Memory.of_mib(mib))) == "limit-below-target"
        seat.clock.forward(1.0)
        seat.arbiter.flush()


def told(seat: Seat) -> list[str]:
    """Return the history as words, with the counts of refusals; the newest last."""
    lines = [line for line in seat.memory.lines if line.kind in ("refused", "mem-max")]
    again = [json.loads(line.wish).get("again") for line in lines]
    return [f"{line.kind} {n}" if n else line.kind for line, n in zip(lines, again, strict=True)]


def test_a_loop_is_two_lines(seat: Seat) -> None:
    """A thousand refusals a minute are a line and a count, and every one is in the metrics."""
    refused(seat, 30)
    assert told(seat) == ["refused"]
    seat.poll(after_s=29.0)
    assert told(seat) == ["refused"]
    seat.poll(after_s=1.0)
    assert told(seat) == ["refused", "refused 29"]
    assert seat.arbiter.refusals == {"limit-below-target": 30}


def test_a_decision_tells_first(seat: Seat) -> None:
    """The history is in order: what was counted before a decision stands before it."""
    refused(seat, 3)
    seat.grant(1, SetMaxMem(Memory.of_mib(100)))
    refused(seat, 2)
    assert told(seat) == ["refused", "refused 2", "mem-max", "refused"]
    seat.host.destroy(1)
    seat.poll()
    assert told(seat)[-1] == "refused 1"
    assert seat.memory.lines[-1].kind == "instance-ended"


def test_what_was_counted_is_told_at_the_end(seat: Seat) -> None:
    """A daemon that stops leaves nothing out."""
    refused(seat, 3)
    seat.arbiter.stop()
    assert told(seat) == ["refused", "refused 2"]
