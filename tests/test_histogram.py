"""A histogram: each value is in the first bucket that holds it, and in all wider ones."""

from hypothesis import given
from hypothesis import strategies as st

from maxmemd.histogram import SECONDS, SIZES, Histogram


def test_a_value_at_a_bound_is_within_it() -> None:
    """A bucket's bound is inclusive, as Prometheus' `le` says."""
    tally = Histogram(SIZES)
    for value in (1, 2, 2, 3, 256, 257):
        tally.observe(value)
    found = dict(tally.snapshot().buckets())
    assert [found[bound] for bound in ("1.0", "2.0", "4.0", "128.0", "256.0", "+Inf")] == [
        1, 3, 4, 4, 5, 6,
    ]  # fmt: skip
    assert tally.snapshot().total == 521


@given(values=st.lists(st.floats(0, 100), max_size=50))
def test_buckets_count_what_is_at_most_their_bound(values: list[float]) -> None:
    """Whatever is noted, each bucket says how much was at most its bound."""
    tally = Histogram(SECONDS)
    for value in values:
        tally.observe(value)
    for bound, count in tally.snapshot().buckets():
        assert count == sum(value <= float(bound) for value in values)
