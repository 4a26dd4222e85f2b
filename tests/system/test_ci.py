"""`.ci/run` says what each step took, and plays what of the real Xen fits in its time."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUIET_S = {"run": 40, "packages": 30, "models": 20, "test": 370, "check": 60, "deb-check": 150}
XEN_S, SMOKE_S = 2400, 400
DATE = "#!/bin/sh\ncat {clock}\n"
MAKE = """#!/bin/sh
echo "$1" >>{made}
echo "1 passed in $1"
eval "took=\\$$(echo "took_$1" | tr - _)"
echo $(($(cat {clock}) + took)) >{clock}
[ "$1" != "$FAILS" ]
"""


class Ci:
    """The script, with a `make` that takes no time and a clock that it sets."""

    def __init__(self, place: Path) -> None:
        self.clock, self._made, self._bin = place / "clock", place / "made", place / "bin"
        self._bin.mkdir()
        for name, text in (("date", DATE), ("make", MAKE)):
            program = self._bin / name
            program.write_text(text.format(clock=self.clock, made=self._made))
            program.chmod(0o755)

    def run(self, pace: float, fails: str = "") -> "subprocess.CompletedProcess[str]":
        """Run it on a machine that takes `pace` times as long as a quiet one."""
        self.clock.write_text("1000000\n")
        quiet = QUIET_S | {"test-xen": XEN_S, "test-xen-smoke": SMOKE_S}
        took = {f"took_{step.replace('-', '_')}": str(int(s * pace)) for step, s in quiet.items()}
        variables = {"PATH": f"{self._bin}:{os.environ['PATH']}", "FAILS": fails, **took}
        return subprocess.run(
            [ROOT / ".ci" / "run"], env=os.environ | variables, text=True,
            capture_output=True, check=False,
        )  # fmt: skip

    @property
    def made(self) -> list[str]:
        """Return what was made."""
        return self._made.read_text().split()

    @property
    def took_s(self) -> int:
        """Return how long all of it took, by the clock."""
        return int(self.clock.read_text()) - 1_000_000


@pytest.fixture
def ci(tmp_path: Path) -> Ci:
    """Give the script."""
    return Ci(tmp_path)


@pytest.mark.parametrize("pace", [0.5, 1, 1.6])
def test_the_whole_suite_where_it_fits(ci: Ci, pace: float) -> None:
    """On a machine up to 1.6 times as slow; it ends in time."""
    done = ci.run(pace)
    assert done.returncode == 0, done.stderr
    assert ci.made == [*QUIET_S, "test-xen"]
    assert ci.took_s < 90 * 60
    last = done.stdout.splitlines()[-1]
    assert last.startswith("ci: all steps passed in ")
    assert last.endswith(" s, with the whole suite on the real Xen")


@pytest.mark.parametrize("pace", [2, 5])
def test_the_smoke_where_it_does_not(ci: Ci, pace: float) -> None:
    """The last line says so, and why; it ends in time all the same."""
    done = ci.run(pace)
    assert done.returncode == 0, done.stderr
    assert ci.made == [*QUIET_S, "test-xen-smoke"]
    assert ci.took_s < 90 * 60
    last = done.stdout.splitlines()[-1]
    assert "with only the SMOKE on the real Xen: at this pace its suite takes about " in last


def test_each_step_prints_its_time(ci: Ci) -> None:
    """And pytest's closing line stands right above it."""
    lines = ci.run(1).stdout.splitlines()
    for step in [*QUIET_S, "test-xen"]:
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"=== make {step}: ")]
        assert lines[at - 1] == f"1 passed in {step}"
    assert "=== make test: 6 min 10 s, 7 min 40 s so far ===" in lines


@pytest.mark.parametrize("fails", ["models", "check", "test-xen"])
def test_a_step_that_fails_ends_it(ci: Ci, fails: str) -> None:
    """With its status; nothing is reported as passed."""
    done = ci.run(1, fails)
    assert done.returncode != 0
    assert ci.made[-1] == fails
    assert "all steps passed" not in done.stdout
