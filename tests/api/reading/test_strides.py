"""A dear read works a millisecond at a time, and the less the more others do the same."""

import pytest

from maxmemd.api.reading.strides import MOST_REST_S, REST, STRIDE_S, Reading, Strides, joined
from maxmemd.errors import ReadTooLong
from maxmemd.pacing import Deadline


class Thread:
    """A thread's clock: what it works and what it sleeps."""

    def __init__(self) -> None:
        self.now_s = self.slept_s = 0.0

    def clock_s(self) -> float:
        """Return the time."""
        return self.now_s

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        self.now_s += seconds
        self.slept_s += seconds


@pytest.mark.parametrize("others", [0, 1, 5])
def test_a_read_leaves_most_of_the_time_to_others(others: int) -> None:
    """All reads that run, however many, work for no more than a part of the time."""
    thread = Thread()
    strides = Strides(thread.clock_s, thread.sleep)
    strides.running = others + 1
    reading = Reading(Deadline(1e9, thread.clock_s), strides)

    def make(number: int) -> bytes:
        thread.now_s += STRIDE_S / 3
        return b"%d" % number

    assert reading.each(range(300), make) == [b"%d" % number for number in range(300)]
    worked_s = 300 * STRIDE_S / 3
    assert thread.slept_s == pytest.approx(worked_s * REST * (others + 1), rel=0.02)


def test_a_read_that_stood_still_does_not_rest_for_it() -> None:
    """A process that was stopped for an hour has not worked for an hour."""
    thread = Thread()
    reading = Reading(Deadline(1e9, thread.clock_s), Strides(thread.clock_s, thread.sleep))
    thread.now_s += 3600
    reading.rest()
    assert thread.slept_s == MOST_REST_S


def test_those_that_run_are_counted() -> None:
    """As long as they run, also if they fail."""
    strides = Strides()
    with strides, strides:
        assert strides.running == 2
    with pytest.raises(ZeroDivisionError), strides:
        raise ZeroDivisionError
    assert strides.running == 0


def test_a_read_that_is_not_wanted_ends_at_its_next_rest() -> None:
    """Whether it is late, or was ended because its client has gone."""
    thread = Thread()
    deadline = Deadline(10.0, thread.clock_s)
    reading = Reading(deadline, Strides(thread.clock_s, thread.sleep))
    reading.check()
    made = 0

    def make(number: int) -> bytes:
        nonlocal made
        made, thread.now_s = number + 1, thread.now_s + STRIDE_S
        if number == 5:
            deadline.end()
        return b""

    with pytest.raises(ReadTooLong):
        reading.each(range(100), make)
    assert made == 6
    late = Reading(Deadline(0.0, thread.clock_s), Strides(thread.clock_s, thread.sleep))
    with pytest.raises(ReadTooLong, match="cannot finish this read in time"):
        late.check()


def test_a_list_is_joined() -> None:
    """Head, pieces with commas, tail; an empty one too."""
    assert joined(b"[", [b"1", b"2"], b"]") == b"[1,2]"
    assert joined(b"[", [], b"]") == b"[]"
