"""The models once more, verified by spin: `python -m tests.system.models.promela` installs it."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from models.races.check import CRASH, NO, YES
from models.races.models import MODELS
from tests.support import packages
from tests.system.models.expected import EXPECTED

SOURCE = Path(__file__).with_name("maximum.pml")
BUILD_SIDE = ("spin", "gcc", "libc6-dev")
DEEP = "-m200000"

DEFINES = {
    "arbiter": ("ARBITER", 0, 1024),
    "recompute": ("RECOMPUTE", 0, 1024),
    "recompute-lock": ("RECOMPUTE", 1, 1024),
    "recompute-two": ("RECOMPUTE", 0, 2048),
    "recompute-two-lock": ("RECOMPUTE", 1, 2048),
    "modify": ("MODIFY", 0, 1024),
    "modify-lock": ("MODIFY", 1, 1024),
    "add": ("ADD", 1, 1024),
    "parts": ("PARTS", 1, 1024),
}
"""What makes each model of maximum.pml: its way, whether libxl locks, and libxl B's constant."""

CLAIMS = ("lost", "twice", "order", "migration", "explained", "admission")
"""The claims of maximum.pml, in the order of the table's columns."""


def verified(name: str, source: str | None = None) -> str:
    """Return what spin says of a model, as one line of yes, no and crash in the table's order."""
    way, locks, constant = DEFINES[name]
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "m.pml").write_text(source or SOURCE.read_text(encoding="utf-8"))
        defines = [f"-DWAY={way}", f"-DLOCKS={locks}", f"-DCB={constant}"]
        _run(place, "spin", *defines, "-a", "m.pml")
        _run(place, "gcc", "-O0", "-w", "-o", "pan", "pan.c")
        return " ".join(_verdict(place, claim) for claim in CLAIMS)


def _verdict(place: Path, claim: str) -> str:
    if _holds(place, claim):
        return YES
    return CRASH if _holds(place, f"calm_{claim}") else NO


def _holds(place: Path, claim: str) -> bool:
    """Whether a claim holds in every state; anything but a clear answer is an error."""
    said = _run(place, "./pan", DEEP, "-N", claim)
    errors = re.search(r"errors: (\d+)", said)
    assert errors is not None, said
    assert "max search depth too small" not in said, said
    assert "out of memory" not in said, said
    if errors[1] == "0":
        assert "State-vector" in said, said
        return True
    assert "assertion violated" in said or "acceptance cycle" in said, said
    return False


def _run(place: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def main() -> int:
    """Verify every model, and say each verdict; 1 where the explorer has another one."""
    packages.install(*BUILD_SIDE)
    width = max(len(model.title) for model in MODELS)
    print(f"{'spin':{width}}  {' '.join(CLAIMS)}")
    others = 0
    for model in MODELS:
        found, wanted = verified(model.name), EXPECTED[model.name]
        other = "" if found == wanted else f"  (the explorer says {wanted})"
        others += found != wanted
        print(f"{model.title:{width}}  {found}{other}", flush=True)
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
