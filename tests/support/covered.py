"""Run the tests under coverage, or take what the last run measured where it was of the same tree.

    python -m tests.support.covered run ARGUMENTS     # always; what `make test` does under CI=true
    python -m tests.support.covered need ARGUMENTS    # only if need be; what `make coverage` does

The arguments are pytest's. What was measured is in `.coverage`; beside it stands of which tree,
once every test has passed. So CI runs the tests once, and no other sources are ever judged by it.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.support import again

ROOT = Path(__file__).resolve().parents[2]
MEASURED, TREE = ROOT / ".coverage", ROOT / ".coverage-tree"


def main(arguments: list[str]) -> int:
    """Return pytest's exit status; 0 where nothing had to be run."""
    what, *rest = arguments
    if what == "need" and is_measured():
        print("coverage: measured by the last run of the tests, on this same tree", flush=True)
        return 0
    return run(rest)


def is_measured() -> bool:
    """Return whether there are figures, and all of the files are still as they were."""
    now = tree()
    return bool(now) and MEASURED.exists() and TREE.exists() and TREE.read_text() == now


def run(arguments: list[str]) -> int:
    """Run the tests; keep what was measured and of which tree, if they passed."""
    before = tree()
    TREE.unlink(missing_ok=True)
    _coverage("erase")
    status = again.main(["coverage", *arguments])
    if status != 0:
        return status
    _coverage("combine", "-q")
    if before == tree():
        TREE.write_text(before)
    return 0


def tree() -> str:
    """Return a hash over name and bytes of every file that git would take; empty without git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    names = sorted(name for name in listed.stdout.split(b"\0") if name)
    if listed.returncode != 0 or not names:
        return ""
    found = hashlib.sha256()
    for name in names:
        path = ROOT / name.decode()
        content = path.read_bytes() if path.is_file() else b""
        found.update(b"%s\0%s\0" % (name, hashlib.sha256(content).digest()))
    return found.hexdigest()


def _coverage(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "coverage", *words], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
