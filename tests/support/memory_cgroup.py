"""A memory cgroup of some size, of version 1 or 2, where this user can make one."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.until import until

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/systemd/maxmemd.service"


class Files(NamedTuple):
    """What one version of cgroups calls the limit, that of swap, the most used, and the kills."""

    limit: str
    swap: str
    most: str
    kills: str


VERSION_1 = Files(
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "memory.max_usage_in_bytes",
    "memory.oom_control",
)
VERSION_2 = Files("memory.max", "memory.swap.max", "memory.peak", "memory.events")


class MemoryCgroup:
    """A cgroup that was made."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path, self._files = path, files

    @property
    def prefix(self) -> list[str]:
        """What to put before a command, which is in the cgroup from its first byte on."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', f"{self._path}/cgroup.procs"]

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        found = re.search(
            r"^oom_kill (\d+)$", (self._path / self._files.kills).read_text(), re.MULTILINE
        )
        assert found is not None, "this kernel does not count what it kills"
        return int(found[1])

    @property
    def most_mib(self) -> float:
        """The most that was in use at a time, the cache of files included."""
        return int((self._path / self._files.most).read_text()) / 2**20


def memory_of_unit() -> int:
    """Return how many bytes the daemon's unit allows (MemoryMax=)."""
    found = re.search(r"^MemoryMax=(\d+)M$", UNIT.read_text(), re.MULTILINE)
    assert found is not None, f"{UNIT} bounds no memory"
    return int(found[1]) * 2**20


@contextmanager
def memory_cgroup(most_bytes: int) -> Iterator[MemoryCgroup]:
    """Make a cgroup of so many bytes, without swap; it goes once what ran in it has ended."""
    found = _hierarchy()
    assert found is not None, "no memory cgroup can be made here"
    root, files = found
    path = root / f"maxmemd-test-{os.getpid()}"
    path.mkdir()
    try:
        (path / files.limit).write_text(str(most_bytes))
        with suppress(FileNotFoundError):  # a kernel that does not account for swap
            (path / files.swap).write_text(str(most_bytes if files is VERSION_1 else 0))
        yield MemoryCgroup(path, files)
    finally:
        until("the cgroup is empty", lambda: not (path / "cgroup.procs").read_text())
        path.rmdir()


def can_bound_memory() -> bool:
    """Whether this user can make memory cgroups."""
    return _hierarchy() is not None


def _hierarchy() -> tuple[Path, Files] | None:
    """Return where memory cgroups can be made, and what their files are called."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split()[:4]
        root = Path(where)
        if not os.access(root, os.W_OK):
            continue
        if kind == "cgroup" and "memory" in options.split(","):
            return root, VERSION_1
        if kind == "cgroup2" and "memory" in (root / "cgroup.subtree_control").read_text().split():
            return root, VERSION_2
    return None
