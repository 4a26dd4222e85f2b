"""Build the dom0 disk that the real-Xen tests boot, from Debian packages and the Python lock file.

Two layers, both cached outside the checkout and keyed by everything that they are made of: the
`base` (Debian and the hypervisor, minutes) and the `disk` (base, guest kernel, the daemon's pinned
dependencies, half a minute). What changes often - the agent, the guests' configuration, the
daemon's own wheel - is in neither: the rig puts it in at boot.
"""

import contextlib
import fcntl
import gzip
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.dom0.recipe import (
    AGENT_UNIT,
    BASE_SCRIPT,
    BUILD_SIDE,
    BUILD_SIDE_PROGRAMS,
    DOM0_SCRIPT,
    GUEST_SCRIPT,
    PACKAGES,
    SUITE,
    XEN,
)

KEPT_OF_EACH_LAYER = 2
DISK_SIZE = "3G"
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


@dataclass(frozen=True)
class Image:
    """The files QEMU needs: dom0's disk (boot it with snapshot=on), hypervisor, kernel, initrd."""

    disk: Path
    hypervisor: Path
    kernel: Path
    initrd: Path


def build() -> Image:
    """Return the cached image, building whatever layer is missing; exit 2 where that cannot be."""
    _require_build_side()
    with _locked(_cache()):
        base = _layer("base", _base_key(), _build_base)
        disk = _layer("disk", _disk_key(), lambda out: _build_disk(base, out))
        _prune()
    return Image(disk / "disk.img", base / "xen", base / "vmlinuz", base / "initrd")


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "maxmemd" / "xen-image"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _base_key() -> str:
    return _digest(SUITE, XEN, *PACKAGES, BASE_SCRIPT)


def _disk_key() -> str:
    lock = LOCK.read_text() if LOCK.exists() else ""
    return _digest(_base_key(), GUEST_SCRIPT, DOM0_SCRIPT, AGENT_UNIT, DISK_SIZE, lock)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _layer(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the finished directory `kind-key`, made aside and renamed so that it is never half."""
    path = _cache() / f"{kind}-{key}"
    if path.exists():
        path.touch()
        return path
    if os.geteuid() != 0:
        print("cannot build the image: root is needed once; run", file=sys.stderr)
        print(f"  sudo -E {sys.executable} -m tests.dom0 build", file=sys.stderr)
        raise SystemExit(2)

    started = time.monotonic()
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=_cache()))
    try:
        make(partial)
        partial.chmod(0o755)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    _say(f"{kind} layer is built", started)
    return path


def _build_base(out: Path) -> None:
    with _step(f"install {len(PACKAGES)} packages and what they need (mmdebstrap)"):
        script = out / "base.sh"
        script.write_text("#!/bin/sh -e\n" + BASE_SCRIPT)
        script.chmod(0o755)
        sources = out / "sources.list"
        sources.write_text(_apt_sources())
        command = [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
        ]
        command += [f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("doc", "man", "locale")]
        command += [f"--aptopt={line}" for line in _apt_transport()]
        _run(*command, f"--customize-hook={script}", SUITE, str(out / "root.tar"), str(sources))

    with _step("fetch the hypervisor"):
        _run("apt-get", "download", f"xen-hypervisor-{XEN}-amd64", cwd=out)
        _run("dpkg", "-x", str(next(out.glob("*.deb"))), str(out / "deb"))
        (out / "xen").write_bytes(
            gzip.decompress((out / f"deb/boot/xen-{XEN}-amd64.gz").read_bytes())
        )
        shutil.rmtree(out / "deb")

    with _step("take kernel and initrd out"):
        _run(
            "tar",
            "-xf",
            "root.tar",
            "--wildcards",
            "./boot/vmlinuz-*",
            "./boot/initrd.img-*",
            cwd=out,
        )
        for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
            next((out / "boot").glob(pattern)).rename(out / name)


def _build_disk(base: Path, out: Path) -> None:
    root = out / "root"
    root.mkdir()
    with _step("unpack the base"):
        _run("tar", "-xf", str(base / "root.tar"), "-C", str(root))
    with _step("install the daemon's pinned dependencies"):
        _install_lock(root)
    with _step("make the guest and the services"):
        for path in ("opt/guest", "opt/rig", "var/log"):
            (root / path).mkdir(parents=True, exist_ok=True)
        (root / "etc/systemd/system/rig-agent.service").write_text(AGENT_UNIT)
        (root / "etc/hostname").write_text("dom0\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost dom0\n")
        (root / "etc/fstab").write_text("")
        for script in (GUEST_SCRIPT, DOM0_SCRIPT):
            _chroot(root, "/bin/sh", "-c", script)
    with _step("pack the disk"):
        options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(root)]
        _run("mke2fs", *options, str(out / "disk.img"), DISK_SIZE)
        shutil.rmtree(root)


def _install_lock(root: Path) -> None:
    venv = "/opt/maxmemd/venv"
    _chroot(root, "python3", "-m", "venv", venv)
    if not LOCK.exists():
        return
    wheels = root / "wheels"
    hashed = ["--only-binary", ":all:", "--require-hashes", "-r"]
    _run(sys.executable, "-m", "pip", "-q", "download", *hashed, str(LOCK), "-d", str(wheels))
    shutil.copy(LOCK, wheels / "lock")
    offline = ["--no-index", "--no-deps", "--find-links", "/wheels", "--require-hashes"]
    _chroot(root, f"{venv}/bin/pip", "-q", "install", *offline, "-r", "/wheels/lock")
    shutil.rmtree(wheels)


def _apt_sources() -> str:
    """Return this machine's Debian sources for SUITE (with updates and security), one a line."""
    form = "$(ORIGIN)|$(CODENAME)|$(SITE)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)"
    rows = _output("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()
    lines = []
    for origin, codename, site, release, component, key in (row.split("|") for row in rows):
        if origin == "Debian" and codename.startswith(SUITE) and "backports" not in codename:
            signed = f"[signed-by={key}] " if key.startswith("/") else ""
            lines.append(f"deb {signed}{site} {release} {component}")
    if not lines:
        print(f"cannot build the image: apt knows no Debian {SUITE} source", file=sys.stderr)
        raise SystemExit(2)
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _apt_transport() -> list[str]:
    """Return this machine's apt settings of proxies, certificates and date checks."""
    dump = _output("apt-config", "dump").splitlines()
    wanted = ("Acquire::http", "Acquire::Check-")
    return [line for line in dump if line.startswith(wanted) and not line.endswith('"";')]


def _require_build_side() -> None:
    if all(shutil.which(program, path=_path()) for program in BUILD_SIDE_PROGRAMS):
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *BUILD_SIDE]
    if os.geteuid() == 0:
        with _step("install the build side's programs"):
            _run("apt-get", "update")
            _run(*install)
        return
    print(f"cannot build the image: run\n  sudo {shlex.join(install)}", file=sys.stderr)
    raise SystemExit(2)


def _prune() -> None:
    """Remove all but the newest layers of each kind, and whatever a killed build left behind."""
    for partial in _cache().glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    for kind in ("base", "disk"):
        layers = sorted(_cache().glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
        for old in layers[:-KEPT_OF_EACH_LAYER]:
            shutil.rmtree(old, ignore_errors=True)


def _chroot(root: Path, *command: str) -> None:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    _run("chroot", str(root), *command, env=env)


def _run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
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


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"[      ] {what} ...", file=sys.stderr, flush=True)
    yield
    _say(what, started)


def _say(what: str, started: float) -> None:
    print(f"[{time.monotonic() - started:4.0f} s] {what}", file=sys.stderr, flush=True)
