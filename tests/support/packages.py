"""Debian's packages that tests need: `python -m tests.support.packages` installs what is not there.

Without one a test is left out, and says so; under CI=true that is a failure.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

PACKAGES: Mapping[str, str] = {
    "binutils": "readelf",
    "faketime": "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "fiu-utils": "/usr/lib/fiu/fiu_posix_preload.so",
    "gcc": "gcc",
    "libc6-dev": "/usr/include/stdio.h",
    "libcurl4-openssl-dev": "/usr/include/*/curl/curl.h",
    "make": "make",
    "openssl": "openssl",
    "spin": "spin",
    "systemd": "systemd-analyze",
    "valgrind": "valgrind",
}
"""What each package brings: a program, or a file (a pattern) where it begins with a slash."""


def missing(*names: str) -> list[str]:
    """Return which of these packages are not there."""
    return [name for name in names if found(name) is None]


def found(name: str) -> Path | None:
    """Return what a package brings; None where it is not there."""
    brings = PACKAGES[name]
    if brings.startswith("/"):
        return next(Path("/").glob(brings[1:]), None)
    program = shutil.which(brings, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    return None if program is None else Path(program)


def need(*names: str) -> None:
    """Leave the test out where a package is not there; under CI it fails."""
    lacking = missing(*names)
    if lacking:
        lack(lacking)


def lack(names: Iterable[str]) -> NoReturn:
    """Leave the test out for want of these packages; under CI it fails."""
    said = f"needs Debian's {' '.join(names)}: make packages"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{said} (CI=true: nothing is left out)", pytrace=False)
    pytest.skip(said)


def install(*names: str) -> None:
    """Install those of these packages that are not there, where we may; else say how, and end."""
    lacking = missing(*names)
    if not lacking:
        return
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *lacking]
    if os.geteuid() != 0:
        raise SystemExit(f"cannot install what tests need: sudo {' '.join(command)}")
    print(f"installing {' '.join(lacking)}", file=sys.stderr, flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL}
    if subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **quiet).returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True, **quiet)
        subprocess.run(command, check=True, **quiet)
    if still := missing(*names):
        raise SystemExit(f"cannot find what {' '.join(still)} should have brought")


if __name__ == "__main__":
    install(*PACKAGES)
