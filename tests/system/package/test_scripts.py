"""What the package's scripts do with the units: dpkg itself installs, upgrades and removes.

What the administrator disabled, masked or stopped stays so, and whatever happens no script fails.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.packages import need
from tests.system.package.debian import LINKS, Debian, skeleton

SOCKETS = {"maxmemd-pusher.socket", "maxmemd.socket", "maxmemd-device-model.socket"}
SERVICES = {"maxmemd-pusher.service", "maxmemd.service", "maxmemd-relay.service"}
ALL = SOCKETS | SERVICES
APART, UNIT = "maxmemd-device-model.socket", "maxmemd.service"
FOLDERS = {
    "run/maxmemd": ("root", 0o755),
    "run/maxmemd-pusher": ("root", 0o755),
    "run/maxmemd-device-model": ("root", 0o700),
    "var/lib/maxmemd": ("maxmemd", 0o700),
}

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dpkg") is None, reason="needs dpkg, and root to install"
)


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a package with our scripts and units."""
    need("systemd")
    return skeleton(tmp_path_factory.mktemp("skeleton"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, deb: Path) -> Debian:
    """Give a dom0 on which the package was installed for the first time; no test changes it."""
    made = Debian(tmp_path_factory.mktemp("installed"))
    made.dpkg("-i", deb)
    return made


@pytest.fixture
def dom0(tmp_path: Path, installed: Debian) -> Debian:
    """Give a dom0 with the package, to be changed."""
    return installed.copied(tmp_path)


def enabled(system: Debian) -> set[str]:
    """Return which units are enabled."""
    return {unit for unit in ALL if system.enabled(unit) == "enabled"}


def links(system: Debian) -> list[str]:
    """Return what is left of our units in /etc."""
    return [str(path) for path in (system.root / LINKS).rglob("maxmemd*")]


def folders(system: Debian) -> dict[str, tuple[str, int]]:
    """Return whose each folder is, and its mode."""
    users = {}
    for line in (system.root / "etc/passwd").read_text().splitlines():
        name, _, uid, *_ = line.split(":")
        users[int(uid)] = name
    found = {path: (system.root / path).stat() for path in FOLDERS}
    return {
        path: (users.get(one.st_uid, "root"), one.st_mode & 0o777) for path, one in found.items()
    }


@pytest.mark.long
def test_a_first_installation(dom0: Debian) -> None:
    """Everything is enabled and runs, the user and the folders are there."""
    assert enabled(dom0) == ALL
    assert dom0.runs == ALL
    assert dom0.restarted() == set()
    assert folders(dom0) == FOLDERS


def test_a_folder_of_a_wrong_mode(dom0: Debian) -> None:
    """It is put right by what runs at boot, and so is its owner."""
    for path in FOLDERS:
        (dom0.root / path).chmod(0o777)
        os.chown(dom0.root / path, 1, 1)
    done = dom0.run("systemd-tmpfiles", f"--root={dom0.root}", "--create", "--boot")
    assert (done.returncode, done.stderr) == (0, "")
    assert folders(dom0) == FOLDERS


def test_in_a_chroot(tmp_path: Path, deb: Path) -> None:
    """Where no systemd runs everything is enabled, for the first boot, and nothing started."""
    chroot = Debian(tmp_path, has_systemd=False)
    chroot.dpkg("-i", deb)
    assert enabled(chroot) == ALL
    assert chroot.runs == set()


def test_without_a_xen(tmp_path: Path, deb: Path) -> None:
    """So it is without a Xen, and there is a message."""
    system = Debian(tmp_path, has_xen=False)
    assert "no /dev/xen/privcmd here" in system.dpkg("-i", deb).stdout
    assert (enabled(system), system.runs) == (ALL, set())


def test_where_policy_forbids_it(tmp_path: Path, deb: Path) -> None:
    """policy-rc.d has a say in what is started, not in what is enabled."""
    system = Debian(tmp_path)
    policy = system.root / "usr/sbin/policy-rc.d"
    policy.parent.mkdir(parents=True)
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    system.dpkg("-i", deb)
    assert (enabled(system), system.runs) == (ALL, set())


def test_an_upgrade(dom0: Debian, deb: Path) -> None:
    """The services are restarted; the sockets stay open."""
    dom0.dpkg("-i", deb)
    assert (enabled(dom0), dom0.runs) == (ALL, ALL)
    assert dom0.restarted() == SERVICES


def test_an_upgrade_renews_the_interposing_library_that_was_installed(
    dom0: Debian, deb: Path
) -> None:
    """Its copy is replaced where there is one, and nothing is installed where there is none."""
    dom0.dpkg("-i", deb)
    assert dom0.interposed() == []
    library = dom0.root / "usr/local/lib/maxmemd/libmaxmem-interpose.so"
    library.parent.mkdir(parents=True)
    library.touch()
    dom0.dpkg("-i", deb)
    assert dom0.interposed() == [f"{dom0.root} install"]
    dom0.break_interpose()
    assert "until you run: maxmemd-interpose install" in dom0.dpkg("-i", deb).stderr


def test_a_masked_unit_before_the_first_installation(tmp_path: Path, deb: Path) -> None:
    """It is neither enabled nor started; the others are."""
    system = Debian(tmp_path)
    system.systemctl("mask", APART)
    system.dpkg("-i", deb)
    assert system.enabled(APART) == "masked"
    assert (enabled(system), system.runs) == (ALL - {APART}, ALL - {APART})


@pytest.mark.parametrize("unit", [APART, UNIT])
def test_an_upgrade_with_a_masked_unit(dom0: Debian, deb: Path, unit: str) -> None:
    """It stays masked, and the others are as they were."""
    dom0.systemctl("stop", unit)
    dom0.systemctl("mask", unit)
    dom0.dpkg("-i", deb)
    assert dom0.enabled(unit) == "masked"
    assert (enabled(dom0), dom0.runs) == (ALL - {unit}, ALL - {unit})
    assert dom0.restarted() == SERVICES - {unit}


@pytest.mark.parametrize("stopped", [True, False])
def test_an_upgrade_with_disabled_units(dom0: Debian, deb: Path, stopped: bool) -> None:
    """They stay disabled; one that was started by hand is restarted, one that was not is not."""
    off = {UNIT, "maxmemd.socket", APART}  # Also=
    dom0.systemctl("disable", UNIT)
    if stopped:
        dom0.systemctl("stop", *off)
    before = dom0.runs
    dom0.dpkg("-i", deb)
    assert enabled(dom0) == ALL - off
    assert dom0.runs == before
    assert dom0.restarted() == SERVICES & before


def test_an_upgrade_with_the_device_models_socket_disabled(dom0: Debian, deb: Path) -> None:
    """It is alone in that, and the service does not bring it any more."""
    dom0.systemctl("disable", APART)
    dom0.dpkg("-i", deb)
    assert enabled(dom0) == ALL - {APART}
    assert [link for link in links(dom0) if APART in link] == []


def test_an_upgrade_of_what_was_stopped(dom0: Debian, deb: Path) -> None:
    """What is enabled and stopped is not started: it comes with the next boot."""
    dom0.systemctl("stop", *ALL)
    dom0.dpkg("-i", deb)
    assert (enabled(dom0), dom0.runs, dom0.restarted()) == (ALL, set(), set())


def test_a_unit_that_is_new(dom0: Debian, deb: Path) -> None:
    """After an upgrade that brings one it is enabled, and its service brings it."""
    state = dom0.root / "var/lib/systemd/deb-systemd-helper-enabled"
    for path in [*links(dom0), *map(str, state.rglob("maxmemd*"))]:
        if APART in path:
            Path(path).unlink()
    dom0.dpkg("-i", deb)
    assert enabled(dom0) == ALL
    assert (dom0.root / LINKS / f"{UNIT}.wants" / APART).is_symlink()
    assert dom0.restarted() == SERVICES


def test_removed_and_installed_again(dom0: Debian, deb: Path) -> None:
    """A removal stops all; what was disabled before it is disabled after it, the rest runs."""
    dom0.systemctl("disable", "maxmemd-relay.service")
    assert "removed; Xen's maxima stay" in dom0.dpkg("-r", "maxmemd").stdout
    assert dom0.runs == set()
    assert {dom0.enabled(unit) for unit in ALL} == {"masked"}
    dom0.dpkg("-i", deb)
    assert enabled(dom0) == dom0.runs == ALL - {"maxmemd-relay.service"}


def test_removed_and_purged(dom0: Debian) -> None:
    """Nothing is left of it, in /etc or of what deb-systemd-helper keeps."""
    dom0.dpkg("-r", "maxmemd")
    assert (dom0.root / "var/lib/maxmemd").is_dir()
    assert "removing the ledger" in dom0.dpkg("-P", "maxmemd").stdout
    assert links(dom0) == []
    left = [path for path in (dom0.root / "var").rglob("*maxmemd*") if "dpkg" not in path.parts]
    assert left == []


def test_what_the_administrator_masked_outlives_a_purge(dom0: Debian) -> None:
    """It is not ours to unmask."""
    dom0.systemctl("mask", UNIT)
    dom0.dpkg("-P", "maxmemd")
    assert dom0.enabled(UNIT) == "masked"


def test_a_removal_that_fails(dom0: Debian) -> None:
    """Everything is put back: enabled as before, and started where it was stopped."""
    dom0.systemctl("disable", "maxmemd-relay.service")
    dom0.systemctl("stop", *ALL)
    dom0.break_interpose()
    assert dom0.dpkg("-r", "maxmemd", check=False).returncode != 0
    assert enabled(dom0) == dom0.runs == ALL - {"maxmemd-relay.service"}
    assert "install ok installed" in (dom0.root / "var/lib/dpkg/status").read_text()


def test_an_upgrade_that_fails(dom0: Debian, deb: Path) -> None:
    """Nothing was stopped for it, and nothing is started."""
    dom0.systemctl("stop", "maxmemd-relay.service")
    for word in ("abort-upgrade", "abort-deconfigure"):
        dom0.script("postinst", word, "2.0")
    assert (enabled(dom0), dom0.runs) == (ALL, ALL - {"maxmemd-relay.service"})
    assert dom0.restarted() == set()
