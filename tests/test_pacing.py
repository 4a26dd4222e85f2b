"""Waits after failures, and how often something may happen."""

import pytest

from maxmemd.pacing import Backoff, TokenBucket


def test_a_backoff_doubles_up_to_its_most() -> None:
    """The first failure waits `first_s`, each further one twice as long, none longer than most."""
    backoff = Backoff(0.5, 30.0)
    waits = [backoff.wait_s(failures) for failures in range(9)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


@pytest.mark.parametrize("failures", [62, 63, 1024, 10**9])
def test_a_backoff_after_very_many_failures_is_its_most(failures: int) -> None:
    """A service that is away for months overflows no float."""
    assert Backoff(0.2, 5.0).wait_s(failures) == 5.0


def test_a_bucket_gives_its_burst_and_then_one_each_period() -> None:
    """32 at once, then one a second; a refused attempt costs nothing."""
    bucket = TokenBucket(every_s=1.0, burst_s=32.0)
    assert [bucket.wait_s(100.0) for _ in range(33)] == [0.0] * 32 + [1.0]
    assert bucket.wait_s(100.5) == 0.5
    assert bucket.wait_s(101.0) == 0.0
    assert bucket.wait_s(101.0) == 1.0


def test_a_bucket_that_rested_is_full_and_no_fuller() -> None:
    """However long nothing was taken, no more than the burst passes at once."""
    bucket = TokenBucket(every_s=1.0, burst_s=3.0)
    bucket.wait_s(0.0)
    assert [bucket.wait_s(9999.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


def test_a_bucket_gives_several_tokens_at_once() -> None:
    """What costs ten leaves ten less; a full bucket gives even more than it holds, once."""
    bucket = TokenBucket(every_s=1.0, burst_s=30.0)
    assert [bucket.wait_s(0.0, 10) for _ in range(4)] == [0.0, 0.0, 0.0, 10.0]
    assert bucket.wait_s(5.0, 6) == 1.0
    assert bucket.wait_s(5.0, 5) == 0.0
    full = TokenBucket(every_s=1.0, burst_s=5.0)
    assert [full.wait_s(0.0, 20), full.wait_s(0.0, 1), full.wait_s(16.0, 1)] == [0.0, 16.0, 0.0]


def test_a_bucket_may_owe() -> None:
    """What turned out to cost more is waited for before the next."""
    bucket = TokenBucket(every_s=1.0, burst_s=3.0)
    bucket.owe(0.0, 5)
    assert [bucket.wait_s(0.0), bucket.wait_s(2.9) > 0, bucket.wait_s(3.0)] == [3.0, True, 0.0]
