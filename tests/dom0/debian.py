"""Debian's packages for the image: from which sources, by whose keys, over which transport.

This machine's apt says where Debian is. It need not know the release that is built.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.dom0.recipe import BUILD_SIDE, BUILD_SIDE_PROGRAMS

KEYRING_PACKAGE = "debian-archive-keyring"
KEYRING = f"usr/share/keyrings/{KEYRING_PACKAGE}.gpg"
UNWANTED = ("doc", "man", "locale")
POCKETS = ("", "updates", "security")


def bootstrap(
    suite: str, packages: Sequence[str], out: Path, *, variant: str, options: Iterable[str] = ()
) -> Path:
    """Put packages of a suite, and what they need, into out/root.tar; return its path."""
    sources, tar = out / "sources.list", out / "root.tar"
    command = ["mmdebstrap", "--mode=root", f"--variant={variant}"]
    command += [f"--include={','.join(packages)}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in UNWANTED]
    command += [f"--aptopt={line}" for line in _transport()]
    with _keyring() as keyring:
        sources.write_text(_sources(suite, keyring))
        run(*command, *options, suite, str(tar), str(sources))
    return tar


def require_build_side() -> None:
    """Install what the build needs on this side, or exit 2 with the command that would."""
    if all(shutil.which(program, path=_path()) for program in BUILD_SIDE_PROGRAMS):
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *BUILD_SIDE]
    if os.geteuid() == 0:
        print("installing the build side's programs", file=sys.stderr, flush=True)
        run("apt-get", "update")
        run(*install)
        return
    print(f"cannot build the image: run\n  sudo {shlex.join(install)}", file=sys.stderr)
    raise SystemExit(2)


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run to the end, silent unless it fails."""
    environment = env or {**os.environ, "PATH": _path(), "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
        raise SystemExit(f"cannot build the image: {shlex.join(command)[:300]} failed")


def _sources(suite: str, keyring: Path) -> str:
    """Return a suite's sources (with updates and security), at this machine's sites of Debian."""
    form = "$(ORIGIN)|$(CODENAME)|$(SITE)|$(COMPONENT)"
    rows = _output("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()
    lines = []
    for origin, codename, site, component in (row.split("|") for row in rows):
        _, dash, pocket = codename.partition("-")
        if origin == "Debian" and pocket in POCKETS:
            lines.append(f"deb [signed-by={keyring}] {site} {suite}{dash}{pocket} {component}")
    if not lines:
        print("cannot build the image: apt knows no source of Debian", file=sys.stderr)
        raise SystemExit(2)
    return "\n".join(dict.fromkeys(lines)) + "\n"


@contextlib.contextmanager
def _keyring() -> Iterator[Path]:
    """Give the archive keys of today: an old Debian's package has those of its successors too.

    They are where apt's own user can read them.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        run("apt-get", "download", KEYRING_PACKAGE, cwd=place)
        run("dpkg", "-x", str(next(place.glob("*.deb"))), str(place))
        yield place / KEYRING


def _transport() -> list[str]:
    """Return this machine's apt settings of proxies, certificates and date checks."""
    dump = _output("apt-config", "dump").splitlines()
    wanted = ("Acquire::http", "Acquire::Check-")
    return [line for line in dump if line.startswith(wanted) and not line.endswith('"";')]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
