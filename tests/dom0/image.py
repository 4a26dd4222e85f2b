"""Build the dom0 disk that the real-Xen tests boot, from Debian packages and the Python lock file.

Three layers, all cached outside the checkout and keyed by everything that they are made of: the
`guest` (the kernel of guests), the `base` (Debian and the hypervisor, minutes) and the `disk`
(both, and the daemon's pinned dependencies, half a minute). What changes often - the agent, the
guests' configuration, the daemon's own wheel - is in none: the rig puts it in at boot.
"""

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.dom0.debian import bootstrap, require_build_side, run
from tests.dom0.recipe import (
    AGENT_UNIT,
    BASE_SCRIPT,
    DOM0_SCRIPT,
    EARLY_SCRIPT,
    GUEST_PACKAGE,
    GUEST_SCRIPT,
    GUEST_SUITE,
    Release,
    chosen,
)

KEPT_OF_EACH_LAYER = 2  # of each release
KERNEL, INITRD = "./boot/vmlinuz-*", "./boot/initrd.img-*"
DISK_SIZE = "3G"
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


@dataclass(frozen=True)
class Image:
    """The files QEMU needs: dom0's disk (boot it with snapshot=on), hypervisor, kernel, initrd."""

    release: Release
    disk: Path
    hypervisor: Path
    kernel: Path
    initrd: Path


def build(release: Release | None = None) -> Image:
    """Return the cached image, building whatever layer is missing; exit 2 where that cannot be."""
    release = release or chosen()
    require_build_side()
    with _locked(_cache()):
        guest = _layer("guest", _guest_key(), _build_guest)
        base = _layer(
            f"base-{release.xen}", _base_key(release), lambda out: _build_base(release, out)
        )
        disk = _layer(
            f"disk-{release.xen}",
            _disk_key(release),
            lambda out: _build_disk(release, base, guest, out),
        )
        _prune("guest", f"base-{release.xen}", f"disk-{release.xen}")
    return Image(release, disk / "disk.img", base / "xen", base / "vmlinuz", base / "initrd")


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = root / "maxmemd" / "xen-image"
    path.mkdir(parents=True, exist_ok=True)
    return path


def _guest_key() -> str:
    return _digest(GUEST_SUITE, GUEST_PACKAGE)


def _base_key(release: Release) -> str:
    return _digest(release.suite, *release.packages, EARLY_SCRIPT, BASE_SCRIPT)


def _disk_key(release: Release) -> str:
    lock = LOCK.read_text() if LOCK.exists() else ""
    made_of = (_base_key(release), _guest_key(), GUEST_SCRIPT, DOM0_SCRIPT, AGENT_UNIT, DISK_SIZE)
    return _digest(*made_of, release.python, lock)


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


def _build_guest(out: Path) -> None:
    with _step(f"take the guests' kernel out of {GUEST_SUITE}'s {GUEST_PACKAGE}"):
        tar = bootstrap(GUEST_SUITE, [GUEST_PACKAGE], out, variant="extract")
        _take_out(tar, KERNEL, out / "vmlinuz")
        tar.unlink()


def _build_base(release: Release, out: Path) -> None:
    packages = release.packages
    with _step(f"install {len(packages)} packages of {release.suite} and what they need"):
        hooks = [
            f"--essential-hook={_script(out / 'early.sh', EARLY_SCRIPT)}",
            f"--customize-hook={_script(out / 'base.sh', BASE_SCRIPT)}",
        ]
        tar = bootstrap(release.suite, packages, out, variant="minbase", options=hooks)
    with _step("take hypervisor, kernel and initrd out"):
        _take_out(tar, KERNEL, out / "vmlinuz")
        _take_out(tar, INITRD, out / "initrd")
        _take_out(tar, f"./boot/xen-{release.xen}-amd64.gz", out / "xen.gz")
        (out / "xen").write_bytes(gzip.decompress((out / "xen.gz").read_bytes()))


def _script(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh -e\n" + text)
    path.chmod(0o755)
    return path


def _take_out(tar: Path, member: str, path: Path) -> None:
    """Write the one file of the tar's /boot whose name is like `member`."""
    run("tar", "-xf", str(tar), "--wildcards", member, cwd=tar.parent)
    found = next((tar.parent / "boot").glob(Path(member).name))
    found.rename(path)


def _build_disk(release: Release, base: Path, guest: Path, out: Path) -> None:
    root = out / "root"
    root.mkdir()
    with _step("unpack the base"):
        run("tar", "-xf", str(base / "root.tar"), "-C", str(root))
    with _step("install the daemon's pinned dependencies"):
        _install_lock(release, root)
    with _step("make the guest and the services"):
        for path in ("opt/guest", "opt/rig", "var/log"):
            (root / path).mkdir(parents=True, exist_ok=True)
        shutil.copy(guest / "vmlinuz", root / "opt/guest/vmlinuz")
        (root / "etc/systemd/system/rig-agent.service").write_text(AGENT_UNIT)
        (root / "etc/hostname").write_text("dom0\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost dom0\n")
        (root / "etc/fstab").write_text("")
        for script in (GUEST_SCRIPT, DOM0_SCRIPT):
            _chroot(root, "/bin/sh", "-c", script)
    with _step("pack the disk"):
        options = ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(root)]
        run("mke2fs", *options, str(out / "disk.img"), DISK_SIZE)
        shutil.rmtree(root)


def _install_lock(release: Release, root: Path) -> None:
    venv = "/opt/maxmemd/venv"
    _chroot(root, "python3", "-m", "venv", venv)
    if not LOCK.exists():
        return
    wheels = root / "wheels"
    hashed = ["--only-binary", ":all:", "--no-deps", "--require-hashes", "-r", str(LOCK)]
    theirs = ["--implementation", "cp", "--python-version", release.python, "-d", str(wheels)]
    run(sys.executable, "-m", "pip", "-q", "download", *hashed, *theirs)
    shutil.copy(LOCK, wheels / "lock")
    offline = ["--no-index", "--no-deps", "--find-links", "/wheels", "--require-hashes"]
    _chroot(root, f"{venv}/bin/pip", "-q", "install", *offline, "-r", "/wheels/lock")
    shutil.rmtree(wheels)


def _prune(*kinds: str) -> None:
    """Remove all but the newest layers of these kinds, and whatever a killed build left behind."""
    for partial in _cache().glob(".partial-*"):
        shutil.rmtree(partial, ignore_errors=True)
    for kind in kinds:
        layers = sorted(_cache().glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime)
        for old in layers[:-KEPT_OF_EACH_LAYER]:
            shutil.rmtree(old, ignore_errors=True)


def _chroot(root: Path, *command: str) -> None:
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    run("chroot", str(root), *command, env=env)


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
