"""promtool, out of Debian's package `prometheus`: on the machine, or fetched once as root."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.packages import lack

CACHE = Path.home() / ".cache" / "maxmemd"


@cache
def promtool() -> str:
    """Return the path of promtool; the test is left out where none can be had."""
    kept = CACHE / "promtool"
    found = shutil.which("promtool") or (str(kept) if kept.exists() else None)
    if found is None and os.geteuid() == 0:
        found = _fetched(kept)
    if found is None:
        lack(["prometheus"])
    return found


def _fetched(kept: Path) -> str | None:
    """Take promtool out of the package, without installing the server beside it."""
    with TemporaryDirectory() as directory:
        fetch = subprocess.run(
            ["apt-get", "download", "-q", "prometheus"],
            cwd=directory, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        packages = list(Path(directory).glob("prometheus_*.deb"))
        if fetch.returncode != 0 or not packages:
            return None
        subprocess.run(["dpkg", "-x", str(packages[0]), "."], cwd=directory, check=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        ours = kept.with_name(f"{kept.name}.{os.getpid()}")  # tests may fetch it side by side
        shutil.copy2(Path(directory) / "usr" / "bin" / "promtool", ours)
        ours.replace(kept)
    return str(kept)
