"""A Debian package, unpacked; and lintian's word on it."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Installed:
    """One file or folder as dpkg would install it."""

    mode: str
    owner: str
    path: str

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.mode.startswith("d")


class Unpacked:
    """What is in a package."""

    def __init__(self, package: Path, folder: Path) -> None:
        self.package, self.folder = package, folder
        subprocess.run(["dpkg-deb", "-R", package, folder], check=True)

    def installed(self) -> list[Installed]:
        """Return all that dpkg would install."""
        command = ["dpkg-deb", "--contents", self.package]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = []
        for line in told.splitlines():
            mode, owner, _size, _day, _time, path = line.split(None, 5)
            found.append(Installed(mode, owner, path.partition(" -> ")[0].removeprefix(".")))
        return found

    def read(self, path: str) -> bytes:
        """Return a file that it would install."""
        return (self.folder / path).read_bytes()


def lintian(package: Path) -> list[str]:
    """Return what lintian has to say, one line each. Raises AssertionError where there is none."""
    if shutil.which("lintian") is None and os.geteuid() == 0:
        _install("lintian")
    assert shutil.which("lintian"), "cannot check the package: apt-get install lintian"
    done = subprocess.run(
        ["lintian", "--allow-root", "--profile", "debian", "--display-info", package],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 2), done.stderr
    return done.stdout.splitlines()


def faults(said: list[str]) -> list[str]:
    """Return what of lintian's lines is a fault: errors, warnings, overrides that nothing needs."""
    found = [line for line in said if line.startswith(("E:", "W:"))]
    return found + [line for line in said if "unused-override" in line or "mismatched-ov" in line]


def _install(name: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", name]
    if subprocess.run(command, check=False, env=environment).returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(command, check=True, env=environment)
