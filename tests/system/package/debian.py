"""A Debian system in a folder, with the real dpkg and deb-systemd-helper and a fake systemd."""

import os
import shutil
import subprocess
from copy import copy
from pathlib import Path

from tests.system.package.bill import RELEASES, Release, building
from tests.system.package.unpacked import ROOT

WANTED = ("etc/", "usr/lib/systemd/", "usr/lib/sysusers.d/", "usr/lib/tmpfiles.d/")
LINKS = Path("etc/systemd/system")
SYSTEMCTL = """#!/bin/sh
# Links are looked at and made by the real one. What runs is a file in {runs}.
case " $* " in *" --root="*) exec {real} "$@" ;; esac
while :; do case "$1" in -*) shift ;; *) break ;; esac; done
verb=$1; shift
[ "$1" != -- ] || shift
case $verb in
    is-enabled) exec {real} --root="$DPKG_ROOT" is-enabled "$@" ;;
    is-active) [ -e "{runs}/$1" ] ;;
    start) cd {runs} && touch "$@" ;;
    stop) cd {runs} && rm -f "$@" ;;
    try-restart) cd {runs} && for unit; do [ ! -e "$unit" ] || echo "$unit" >>{restarted}; done ;;
    daemon-reload) ;;
    *) echo "systemctl $verb is not played" >&2; exit 1 ;;
esac
"""


def skeleton(folder: Path, release: Release = RELEASES[13]) -> Path:
    """Build a package that has our scripts, units and configuration, and nothing else."""
    build, root = building(), folder / "root"
    for source, target, mode in build.INSTALLED:
        if target.startswith(WANTED):
            build._put(root / target, (ROOT / source).read_bytes(), mode)
    build._control(root, release)
    package = folder / "maxmemd.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", root, package]
    subprocess.run(command, check=True, capture_output=True)
    return package


class Debian:
    """The system. `has_systemd` says that it is booted with it, `has_xen` that it is a dom0."""

    def __init__(self, place: Path, *, has_systemd: bool = True, has_xen: bool = True) -> None:
        self._settle(place)
        for made in ("etc", "usr/bin", "var/lib/dpkg/updates"):
            (self.root / made).mkdir(parents=True)
        self._programs.mkdir()
        self._runs.mkdir()
        (self.root / "var/lib/dpkg/status").touch()
        (self.root / "usr/bin/systemctl").symlink_to("/usr/bin/systemctl")
        if has_systemd:
            (self.root / "run/systemd/system").mkdir(parents=True)
        if has_xen:
            (self.root / "dev/xen").mkdir(parents=True)
            (self.root / "dev/xen/privcmd").touch()
        self._write_programs()

    def copied(self, place: Path) -> "Debian":
        """Return a second system, like this one, in a folder that is there."""
        subprocess.run(["cp", "-a", f"{self._place}/.", place], check=True)
        other = copy(self)
        other._settle(place)
        other._write_programs()
        return other

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a program as one of the package's scripts would be."""
        path = f"{self._programs}:/usr/sbin:/sbin:/usr/bin:/bin"
        variables = {"DPKG_ROOT": str(self.root), "DPKG_MAINTSCRIPT_PACKAGE": "maxmemd"}
        env = {**os.environ, **variables, "PATH": path}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def dpkg(self, *words: object, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run dpkg on it."""
        force = "--force-script-chrootless,depends,unsafe-io"
        done = self.run("dpkg", f"--root={self.root}", force, *map(str, words))
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done

    def script(self, name: str, *words: str) -> None:
        """Call one of the package's scripts, as dpkg does."""
        done = self.run(str(self.root / f"var/lib/dpkg/info/maxmemd.{name}"), *words)
        assert done.returncode == 0, done.stdout + done.stderr

    def systemctl(self, *words: str) -> None:
        """Do what the administrator does."""
        root = [] if words[0] == "stop" else [f"--root={self.root}"]
        done = self.run("systemctl", *root, *words)
        assert done.returncode == 0, done.stderr

    def enabled(self, unit: str) -> str:
        """Return what systemd says of a unit."""
        return self.run("systemctl", "is-enabled", unit).stdout.strip()

    @property
    def runs(self) -> set[str]:
        """Which units run, or listen."""
        return {path.name for path in self._runs.iterdir()}

    def restarted(self) -> set[str]:
        """Return which were restarted since the last time."""
        text = self._restarted.read_text() if self._restarted.exists() else ""
        self._restarted.unlink(missing_ok=True)
        return set(text.split())

    def interposed(self) -> list[str]:
        """Return how the interposing library was installed or removed: DESTDIR and verb of each."""
        return self._interposed.read_text().splitlines() if self._interposed.exists() else []

    def break_interpose(self) -> None:
        """Let the installation and removal of the interposing library fail."""
        self._program("maxmemd-interpose", "#!/bin/sh\nexit 1\n")

    def _settle(self, place: Path) -> None:
        self._place, self._restarted = place, place / "restarted"
        self._interposed = place / "interposed"
        self.root, self._programs, self._runs = place / "debian", place / "bin", place / "runs"

    def _write_programs(self) -> None:
        real = shutil.which("systemctl")
        text = SYSTEMCTL.format(real=real, runs=self._runs, restarted=self._restarted)
        self._program("systemctl", text)
        self._program("maxmemd-interpose", f'#!/bin/sh\necho "$DESTDIR $1" >>{self._interposed}\n')

    def _program(self, name: str, text: str) -> None:
        (self._programs / name).write_text(text)
        (self._programs / name).chmod(0o755)
