"""Everything that a program may do around its calls, at once, while the sanitizers watch."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.figures import figure
from tests.support.outside import Outside
from tests.support.soak import SOAK
from tests.system.interpose.conftest import Built
from tests.system.interpose.serve import BUILDING, RUNNING

pytestmark = [pytest.mark.soak, pytest.mark.needs("gcc", "libc6-dev", "make")]

SECONDS = 300 if SOAK else 4
ENDS_WITHIN_S = 180
BUILDS = range(BUILDING[0], BUILDING[0] + 8)
"""domids of what stress.c creates: six in one context, one in others, one asynchronously."""


@contextmanager
def full_pipe() -> Iterator[int]:
    """Give a pipe that takes nothing more, and that nothing reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    room = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    assert os.write(writing, b"x" * room) == room
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def stress(built: Built, own: Outside, reports: Path, options: str) -> None:
    """Run all of it; demand that nothing failed, and that each build was announced as its own."""
    built.socket, built.conf = own.socket, ""
    words = ["loader", "plugin.so", "stress", SECONDS, "passing.so", RUNNING[0], BUILDING[0]]
    argv = [f"{built.directory}/{word}" if word in (*words[:2], "passing.so") else str(word)
            for word in words]  # fmt: skip
    watched = f"{options}log_path={reports}/report"
    variables = built.variables(
        STUB_INFO=RUNNING[-1], ASAN_OPTIONS=watched, TSAN_OPTIONS=watched, UBSAN_OPTIONS=watched
    )
    with full_pipe() as stderr:
        done = subprocess.run(
            argv, env=variables, text=True, stdout=subprocess.PIPE, stderr=stderr,
            timeout=SECONDS + ENDS_WITHIN_S, check=False,
        )  # fmt: skip
    found = "".join(path.read_text() for path in reports.iterdir())
    assert not found, f"a sanitizer reports:\n{found}"
    assert (done.returncode, done.stdout) == (0, "rc=0 errno=0\n")
    assert [line for line in built.xen if line.startswith(("setmaxmem", "libxl_"))] == []
    announced = sum(_announced(own, domid) for domid in BUILDS)
    figure("interposing library", f"builds announced beside {SECONDS} s of stress", announced)


def _announced(own: Outside, domid: int) -> int:
    """Return how often a domain's build was announced, always with its own target."""
    _, body = own.ask("GET", f"/v1/domains/{domid}/history?limit=500")
    asked = [line for line in body["entries"] if line["kind"] in ("build-announced", "mem-max")]
    assert {line["wish"].get("target_kib") for line in asked} == {128 * 1024 + 4 * domid}
    return len(asked)


def test_threads(thread_sanitized: Built, own: Outside, tmp_path: Path) -> None:
    """ThreadSanitizer has nothing to say, and nothing hangs."""
    reports = tmp_path / "reports"
    reports.mkdir()
    stress(thread_sanitized, own, reports, "")


def test_memory(sanitized: Built, own: Outside, tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer have nothing to say, and nothing hangs."""
    reports = tmp_path / "reports"
    reports.mkdir()
    # A cancelled thread unwinds past what AddressSanitizer knows of its stack; so no second one.
    stress(sanitized, own, reports, "use_sigaltstack=0:")
