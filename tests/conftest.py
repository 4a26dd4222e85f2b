"""What every test stands on: Hypothesis draws the same examples every time, but in `make soak`."""

import signal
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import figures
from tests.support.packages import need
from tests.support.soak import SOAK
from tests.support.unmeasured import unmeasured

LONG = ("long", "soak")
"""The marks of tests that take many seconds."""
UNMEASURED = tuple(Path(__file__).parent / name for name in ("system", "support"))
"""Whole programs, and the helpers of tests, are not counted by coverage: what is attacked, killed,
timed and explored runs as it ships, and the tests of a module itself have to reach its lines."""

settings.register_profile(
    "short", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "soak", deadline=None, max_examples=10_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("soak" if SOAK else "short")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell starts what runs in the background so, and the programs under test would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave a test out where a package that it needs is not there; under CI it fails."""
    for mark in item.iter_markers("needs"):
        need(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, bool | None, bool | None]:
    """Leave tests unmeasured that are there, or that say so, with their fixtures."""
    is_there = any(map(item.path.is_relative_to, UNMEASURED))
    with unmeasured() if is_there or item.get_closest_marker("unmeasured") else nullcontext():
        return (yield)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no worker is left with one at the end.

    A file goes to one worker as a whole (`--dist loadfile`): its tests may share a daemon. This
    comes after pytest-randomly's shuffling, which keeps the tests of a file together.
    """
    long = {item.path for item in items if any(map(item.get_closest_marker, LONG))}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send what was measured along with the report."""
    report = yield
    figures.attach(report)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take what was measured, from this process or from a worker."""
    figures.collect(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the long tests measured, as one table."""
    lines = figures.table()
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)
