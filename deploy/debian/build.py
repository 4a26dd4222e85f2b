"""Build the Debian package: `python deploy/debian/build.py [DIRECTORY]`, or `make deb`.

It contains the pinned wheels of all libraries that Debian 12 lacks, in /usr/lib/maxmemd, so that
`dpkg -i` needs no network. Nothing comes from the build machine's Python.
"""

import compileall
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from email.utils import parsedate_to_datetime
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

from sbom import sbom

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
ARCHITECTURE, PYTHON = "amd64", "3.11"
NEWEST_GLIBC = 36  # Debian 12 has glibc 2.36
HOME = "usr/lib/maxmemd"
CHANGES = (HERE / "changelog").read_text(encoding="utf-8")
MADE = parsedate_to_datetime(CHANGES.rpartition(">  ")[2].strip())
"""The date of every file in the package: its changelog's."""
EPOCH = str(int(MADE.timestamp()))
SHARE = "usr/share/maxmemd"
DOCUMENTS = "usr/share/doc/maxmemd"
SBOM = "usr/share/doc/maxmemd/sbom.cdx.json"
PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check")
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
    ("deploy/systemd/maxmemd.service", "lib/systemd/system/maxmemd.service", 0o644),
    ("deploy/systemd/maxmemd-relay.service", "lib/systemd/system/maxmemd-relay.service", 0o644),
    ("deploy/systemd/maxmemd.socket", "lib/systemd/system/maxmemd.socket", 0o644),
    ("deploy/systemd/maxmemd-pusher.service", "lib/systemd/system/maxmemd-pusher.service", 0o644),
    ("deploy/systemd/maxmemd-pusher.socket", "lib/systemd/system/maxmemd-pusher.socket", 0o644),
    (
        "deploy/systemd/maxmemd-device-model.socket",
        "lib/systemd/system/maxmemd-device-model.socket",
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
    if f"{sys.version_info.major}.{sys.version_info.minor}" != PYTHON:
        print(
            f"cannot build the package: Python {PYTHON} is needed, as in Debian 12", file=sys.stderr
        )
        return 2
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    out.mkdir(parents=True, exist_ok=True)
    version = _version()
    with tempfile.TemporaryDirectory(prefix="maxmemd-deb-") as directory:
        root = Path(directory) / "root"
        _say("take the pinned wheels")
        report = libraries(root / HOME / "site", Path(directory) / "wheel")
        _say("build the interposing library")
        _run("make", "-s", "-C", str(ROOT / "deploy/interpose"))
        _files(root, version)
        library = (root / HOME / "interpose/libmaxmem-interpose.so").read_bytes()
        _put(root / SBOM, contents(report, version, library), 0o644)
        _control(root, version)
        package = out / f"maxmemd_{version}_{ARCHITECTURE}.deb"
        _run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(root), str(package))
    print(package)
    return 0


def libraries(site: Path, wheels: Path) -> dict[str, Any]:
    """Install the locked wheels for Debian's Python, and this checkout's; return pip's report.

    The report is about the locked wheels only.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    report = wheels / "report.json"
    locked(site, report)
    _run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT))
    own = [
        "--no-index",
        "--find-links",
        str(wheels),
        "maxmemd",
    ]  # by name, so that no path gets into the package
    _run(*PIP, "install", *_target(site), *own)
    shutil.rmtree(site / "bin", ignore_errors=True)
    for cache in [*site.rglob("__pycache__"), *site.rglob("tests"), *site.rglob("test")]:
        shutil.rmtree(cache, ignore_errors=True)
    _run("strip", "--strip-unneeded", *map(str, site.rglob("*.so")))
    by_hash = PycInvalidationMode.UNCHECKED_HASH  # all 3.11 have one format
    compileall.compile_dir(
        site, quiet=1, stripdir=site, prependdir=f"/{HOME}/site", invalidation_mode=by_hash
    )
    return dict(json.loads(report.read_text(encoding="utf-8")))


def locked(site: Path, report: Path, *also: str) -> None:
    """Install the locked wheels and no others; write pip's report on them."""
    lock = ["--require-hashes", "-r", str(ROOT / "requirements.lock"), "--report", str(report)]
    _run(*PIP, "install", *_target(site), *lock, *also)


def _target(site: Path) -> list[str]:
    target = ["--target", str(site), "--no-deps", "--no-compile", "--only-binary", ":all:"]
    target += ["--python-version", PYTHON, "--implementation", "cp", "--abi", "cp311"]
    for minor in range(NEWEST_GLIBC, 4, -1):
        target += ["--platform", f"manylinux_2_{minor}_x86_64"]
    return [*target, "--platform", "manylinux2014_x86_64", "--platform", "any"]


def _files(root: Path, version: str) -> None:
    for source, target, mode in INSTALLED:
        _put(root / target, (ROOT / source).read_bytes(), mode)
    _run("strip", "--strip-unneeded", *map(str, (root / HOME / "interpose").glob("*.so")))
    _put(root / "usr/sbin/maxmemd", LAUNCHER.format(module="maxmemd.__main__").encode(), 0o755)
    pusher = LAUNCHER.format(module="maxmemd.pusher.__main__")
    _put(root / "usr/sbin/maxmemd-pusher", pusher.encode(), 0o755)
    _put(root / "usr/bin/maxmemctl", LAUNCHER.format(module="maxmemd.cli").encode(), 0o755)
    link = root / "usr/sbin/maxmemd-interpose"
    link.symlink_to("../lib/maxmemd/interpose/install.sh")
    changes = (ROOT / "CHANGELOG.md").read_bytes()
    _put(root / "usr/share/doc/maxmemd/NEWS.gz", gzip.compress(changes, mtime=0), 0o644)
    changes = CHANGES.format(version=version).encode()
    _put(root / "usr/share/doc/maxmemd/changelog.gz", gzip.compress(changes, mtime=0), 0o644)
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


def contents(report: dict[str, Any], version: str, library: bytes) -> bytes:
    """Return the SBOM, from pip's report and the interposing library."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {"version": version, "architecture": ARCHITECTURE, "made": MADE.isoformat()}
    return sbom(report, ours, project["dependencies"], library)


def _control(root: Path, version: str) -> None:
    """Write the control files and the maintainer scripts."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in files) // 1024
    fields = (HERE / "control").read_text(encoding="utf-8")
    fields = fields.format(version=version, architecture=ARCHITECTURE, size=size)
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
