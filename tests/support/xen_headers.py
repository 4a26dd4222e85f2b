"""Xen's public headers, out of the package libxen-dev of several Debian releases.

`python -m tests.support.xen_headers` fetches those that tests need, `... sid` those of another
suite, which are then tested as well. apt checks its archive's signature and each package's hash;
nothing is installed, and the machine's own lists of packages are left alone.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.packages import lack

REQUIRED = {"bookworm": "4.17", "trixie": "4.20"}
"""The releases of Debian that tests need, and their Xen."""
PACKAGE = "libxen-dev"
CACHE = Path.home() / ".cache" / "maxmemd" / PACKAGE
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
ROWS = "$(ORIGIN)|$(SITE)|$(RELEASE)|$(COMPONENT)"


def suites() -> list[str]:
    """Return the suites whose headers are tested: the required ones, and what else was fetched."""
    others = {path.name.split("_")[0] for path in CACHE.glob("*_*")} - set(REQUIRED)
    return [*REQUIRED, *sorted(others)]


def headers_of(suite: str) -> Path:
    """Return the directory to include from; the test is left out where it is not there."""
    found = cached(suite)
    if found is None:
        lack([f"{PACKAGE} ({suite})"])
    return found


def cached(suite: str) -> Path | None:
    """Return the newest headers of a suite that were fetched."""
    kept = sorted(CACHE.glob(f"{suite}_*"), key=lambda path: path.stat().st_mtime)
    return kept[-1] / "usr" / "include" if kept else None


def fetch(suite: str) -> Path:
    """Fetch a suite's headers into the cache, under the package's version and hash."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=CACHE, prefix=".partial-") as work:
        apt = Apt(Path(work), list(sources(suite)))
        package = apt.download(PACKAGE)
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        kept = CACHE / f"{suite}_{package.name.split('_')[1]}_{digest[:16]}"
        if not kept.exists():
            subprocess.run(["dpkg", "-x", package, apt.root / "unpacked"], check=True)
            (apt.root / "unpacked").rename(kept)
    kept.touch()
    return kept / "usr" / "include"


def sources(suite: str) -> Iterator[str]:
    """Return this machine's mirrors of Debian as sources of another suite.

    A suite that is no release has neither updates nor security's.
    """
    here = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    listing = run("apt-get", "indextargets", "--format", ROWS, "Created-By: Packages")
    for origin, site, release, component in (row.split("|") for row in listing.splitlines()):
        wanted = {here, f"{here}-security", f"{here}-updates"} if suite in REQUIRED else {here}
        if origin == "Debian" and component == "main" and release in wanted:
            yield f"deb {signed}{site} {release.replace(here, suite)} {component}"


class Apt:
    """apt with lists of packages of its own."""

    def __init__(self, root: Path, lines: Sequence[str]) -> None:
        if not lines:
            raise SystemExit(f"cannot fetch {PACKAGE}: apt knows no source of Debian's")
        self.root = root
        (root / "sources").write_text("\n".join(dict.fromkeys(lines)) + "\n")
        for directory in ("state/lists/partial", "cache/archives/partial", "package"):
            (root / directory).mkdir(parents=True)
        options = {
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": root / "sources",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": root / "state",
        }
        self._options = [
            word for key, value in options.items() for word in ("-o", f"{key}={value}")
        ]

    def download(self, name: str) -> Path:
        """Return the newest package of this name, checked by apt against its signed archive."""
        run("apt-get", *self._options, "-qq", "update")
        run("apt-get", *self._options, "-qq", "download", name, cwd=self.root / "package")
        [package] = (self.root / "package").glob("*.deb")
        return package


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run to the end and return what it prints. Raises SystemExit where it fails."""
    done = subprocess.run(command, check=False, cwd=cwd, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"cannot fetch {PACKAGE}: {done.stderr[-2000:]}")
    return done.stdout


def main(wanted: Sequence[str]) -> None:
    """Fetch the headers of these suites; without any, of those that are needed and not there."""
    if shutil.which("apt-get") is None:
        raise SystemExit(f"cannot fetch {PACKAGE}: this machine has no apt")
    for suite in wanted or [suite for suite in REQUIRED if cached(suite) is None]:
        print(f"fetching {PACKAGE} of {suite}", file=sys.stderr, flush=True)
        fetch(suite)


if __name__ == "__main__":
    main(sys.argv[1:])
