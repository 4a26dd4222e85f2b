"""Build the Debian package: `python deploy/debian/build.py [--debian 12] [DIRECTORY]` (make deb).

It contains the pinned wheels of all libraries that Debian lacks, in /usr/lib/maxmemd, so that
`dpkg -i` needs no network. Nothing comes from the build machine's Python, so it is built for any
release on any; what is compiled is compiled by its compiler.
"""

import argparse
import gzip
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import wheels
from releases import RELEASES, TRIXIE, Release
from sbom import sbom

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ARCHITECTURE = "amd64"
HOME = "usr/lib/maxmemd"
UNITS = "usr/lib/systemd/system"
CHANGES = (HERE / "changelog").read_text(encoding="utf-8")
MADE = parsedate_to_datetime(CHANGES.rpartition(">  ")[2].strip())
"""The date of every file in the package: its changelog's."""
EPOCH = str(int(MADE.timestamp()))
SHARE = "usr/share/maxmemd"
DOCUMENTS = "usr/share/doc/maxmemd"
SBOM = "usr/share/doc/maxmemd/sbom.cdx.json"
LAUNCHER = """#!/usr/bin/python3 -I
import sys

sys.path.insert(0, "/usr/lib/maxmemd/site")
from {module} import main

sys.exit(main())
"""
INSTALLED = (
    ("deploy/maxmemd.toml", "etc/maxmemd/maxmemd.toml", 0o644),
    ("deploy/interpose/interpose.conf", "etc/maxmemd/interpose.conf", 0o644),
    ("deploy/interpose/interpose.conf", f"{HOME}/interpose/interpose.conf", 0o644),
    ("deploy/interpose/libmaxmem-interpose.so", f"{HOME}/interpose/libmaxmem-interpose.so", 0o644),
    ("deploy/interpose/install.sh", f"{HOME}/interpose/install.sh", 0o755),
    ("deploy/systemd/maxmemd.service", f"{UNITS}/maxmemd.service", 0o644),
    ("deploy/systemd/maxmemd-relay.service", f"{UNITS}/maxmemd-relay.service", 0o644),
    ("deploy/systemd/maxmemd.socket", f"{UNITS}/maxmemd.socket", 0o644),
    ("deploy/systemd/maxmemd-pusher.service", f"{UNITS}/maxmemd-pusher.service", 0o644),
    ("deploy/systemd/maxmemd-pusher.socket", f"{UNITS}/maxmemd-pusher.socket", 0o644),
    (
        "deploy/systemd/maxmemd-device-model.socket",
        f"{UNITS}/maxmemd-device-model.socket",
        0o644,
    ),
    ("deploy/systemd/tcp.conf", f"{SHARE}/systemd/tcp.conf", 0o644),
    ("deploy/systemd/sysusers.conf", "usr/lib/sysusers.d/maxmemd.conf", 0o644),
    ("deploy/systemd/tmpfiles.conf", "usr/lib/tmpfiles.d/maxmemd.conf", 0o644),
    ("deploy/prometheus/maxmemd.rules.yml", f"{SHARE}/prometheus/maxmemd.rules.yml", 0o644),
    ("deploy/grafana/maxmemd.json", f"{SHARE}/grafana/maxmemd.json", 0o644),
    ("deploy/debian/lintian-overrides", "usr/share/lintian/overrides/maxmemd", 0o644),
    ("deploy/debian/copyright", "usr/share/doc/maxmemd/copyright", 0o644),
)


def main() -> int:
    """Build the package into a directory (dist/), and print its path."""
    said = argparse.ArgumentParser(description="Build the Debian package.")
    said.add_argument("--debian", type=int, choices=RELEASES, default=TRIXIE.number)
    said.add_argument("directory", nargs="?", type=Path, default=ROOT / "dist")
    asked = said.parse_args()
    asked.directory.mkdir(parents=True, exist_ok=True)
    print(build(RELEASES[asked.debian], asked.directory))
    return 0


def build(release: Release, out: Path) -> Path:
    """Build the package for a release; return its path."""
    version = release.version(_version())
    with tempfile.TemporaryDirectory(prefix="maxmemd-deb-") as directory:
        root = Path(directory) / "root"
        _say(f"take the pinned wheels for Debian {release.number}")
        report = wheels.install(release, root / HOME / "site", Path(directory) / "wheel", EPOCH)
        _say("build the interposing library")
        _run("make", "-s", "-C", str(ROOT / "deploy/interpose"))
        _files(root, release)
        demand_glibc(root, release)
        library = (root / HOME / "interpose/libmaxmem-interpose.so").read_bytes()
        _put(root / SBOM, contents(report, release, library), 0o644)
        _control(root, release)
        package = out / f"maxmemd_{version}_{ARCHITECTURE}.deb"
        compress = ("-Zxz", "--threads-max=1")  # the number of processors is in the bytes otherwise
        _run("dpkg-deb", "--root-owner-group", *compress, "--build", str(root), str(package))
    return package


def demand_glibc(root: Path, release: Release) -> None:
    """Stop where a library needs a newer glibc than the release has."""
    for library in sorted(root.rglob("*.so")):
        command = ["objdump", "-T", str(library)]
        symbols = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for minor, name in re.findall(r"GLIBC_2\.(\d+)\S*\s+(\S+)", symbols):
            if int(minor) > release.glibc:
                raise SystemExit(
                    f"cannot build for Debian {release.number}, which has glibc 2.{release.glibc}:"
                    f" {library.relative_to(root)} needs {name} of 2.{minor}"
                )


def _files(root: Path, release: Release) -> None:
    for source, target, mode in INSTALLED:
        _put(root / target, (ROOT / source).read_bytes(), mode)
    _run("strip", "--strip-unneeded", *map(str, (root / HOME / "interpose").glob("*.so")))
    _put(root / "usr/sbin/maxmemd", LAUNCHER.format(module="maxmemd.__main__").encode(), 0o755)
    pusher = LAUNCHER.format(module="maxmemd.pusher.__main__")
    _put(root / "usr/sbin/maxmemd-pusher", pusher.encode(), 0o755)
    _put(root / "usr/bin/maxmemctl", LAUNCHER.format(module="maxmemd.cli").encode(), 0o755)
    link = root / "usr/sbin/maxmemd-interpose"
    link.symlink_to("../lib/maxmemd/interpose/install.sh")
    upstream = (ROOT / "CHANGELOG.md").read_bytes()
    _put(root / DOCUMENTS / "changelog.gz", gzip.compress(upstream, mtime=0), 0o644)
    changes = CHANGES.format(version=release.version(_version()), codename=release.codename)
    compressed = gzip.compress(changes.encode(), mtime=0)
    _put(root / DOCUMENTS / "changelog.Debian.gz", compressed, 0o644)
    for name in documents():
        _put(root / DOCUMENTS / name, (ROOT / name).read_bytes(), 0o644)
    for path in root.rglob("*"):
        if not path.is_symlink():
            is_program = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if is_program and path.suffix != ".so" else 0o644)


def documents() -> list[str]:
    """Return the documents and what they link to, which is installed where the links lead."""
    texts = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    found = set(texts)
    for text in texts:
        for link in re.findall(r"\]\(([^)#:\s]+)", text.read_text(encoding="utf-8")):
            found.add((text.parent / link).resolve())
    return sorted(str(path.relative_to(ROOT)) for path in found)


def contents(report: dict[str, Any], release: Release, library: bytes) -> bytes:
    """Return the SBOM, from pip's report and the interposing library."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {
        "version": release.version(_version()),
        "architecture": ARCHITECTURE,
        "distribution": f"debian-{release.number}",
        "made": MADE.isoformat(),
    }
    return sbom(report, ours, project["dependencies"], library)


def _control(root: Path, release: Release) -> None:
    """Write the control files and the maintainer scripts."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files) // 1024
    fields = (HERE / "control").read_text(encoding="utf-8")
    version = release.version(_version())
    values = {"version": version, "architecture": ARCHITECTURE, "depends": release.depends}
    fields = fields.format(**values, size=size)
    _put(root / "DEBIAN/control", fields.encode(), 0o644)
    sums = [
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
        f"  {path.relative_to(root)}\n"
        for path in files
    ]
    _put(root / "DEBIAN/md5sums", "".join(sums).encode(), 0o644)
    kept = [f"/{target}\n" for _, target, _ in INSTALLED if target.startswith("etc/")]
    _put(root / "DEBIAN/conffiles", "".join(kept).encode(), 0o644)
    for script in ("postinst", "prerm", "postrm"):
        _put(root / "DEBIAN" / script, (HERE / script).read_bytes(), 0o755)


def _put(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def _version() -> str:
    text = (ROOT / "maxmemd/__init__.py").read_text(encoding="utf-8")
    return text.partition('__version__ = "')[2].partition('"')[0]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH})


def _say(what: str) -> None:
    print(f"deb: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
