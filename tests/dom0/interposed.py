"""xl with the interposing library before it, in dom0, watched by the witness."""

import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.dom0.daemon import CHECKOUT
from tests.dom0.guests import DIRECTORY, Guest, configuration
from tests.dom0.machine import RigError
from tests.dom0.rig import Done, Rig
from tests.dom0.witness import Witness
from tests.support import packages
from tests.support.until import until

LIBRARY = "/usr/local/lib/maxmemd/libmaxmem-interpose.so"
BUILD_SIDE = ("gcc", "libc6-dev", "make")
RUNS_WITHIN_S = REBOOTS_WITHIN_S = 240  # a quarter of a minute on an idle machine
MADE_AGAIN_WITHIN_S = 30
SETTLES_IN_S = 15  # a guest that was moved says no more in xenstore that it can be suspended


@dataclass
class Xl:
    """`xl` in dom0, with a library before its own: ours by default, none for ""."""

    rig: Rig
    library: str = LIBRARY
    witness: Witness = field(init=False)

    def __post_init__(self) -> None:
        self.witness = Witness(self.rig)

    def __call__(self, *argv: object, timeout: float = 240) -> Done:
        """Run one xl command to its end, whatever its end."""
        env = {"LD_PRELOAD": self.library}
        return self.rig.run(["xl", *map(str, argv)], timeout=timeout, env=env)

    def create(self, name: str, extra: str = "", *, paused: bool = False) -> Done:
        """Create a guest of the rig."""
        path = f"{DIRECTORY}/{name}.cfg"
        self.rig.put(path, configuration(name, extra))
        return self("create", *(["-p"] if paused else []), path)


def install(rig: Rig) -> None:
    """Build the library on this side, and put it into dom0."""
    packages.install(*BUILD_SIDE)
    with tempfile.TemporaryDirectory() as place:
        make = ["make", "-s", "-C", str(CHECKOUT / "deploy" / "interpose"), f"OUT={place}"]
        subprocess.run(make, check=True)
        rig.put(LIBRARY, (Path(place) / "libmaxmem-interpose.so").read_bytes(), 0o755)
    rig.put("/etc/maxmemd/interpose.conf", "when_away = refuse\n")


def boots(xl: Xl, name: str, extra: str = "") -> Guest:
    """Create a guest that runs: under emulation a PVH one sometimes dies as it boots."""
    guest = Guest(xl.rig, name)
    for _ in range(3):
        xl.create(name, extra).check()
        if runs(guest) or comes_back(guest, None, runs, MADE_AGAIN_WITHIN_S):
            return guest
        xl.rig.say(f"{name} died as it booted")
        guest.destroy()
    raise RigError(f"{name} has died three times as it booted")


def runs(guest: Guest) -> bool:
    """Whether the guest runs: not paused, not shut down; a Linux one can be suspended by now."""
    deadline = time.monotonic() + RUNS_WITHIN_S
    while (info := _info(guest)) is not None and time.monotonic() < deadline:
        node = f"/local/domain/{info['domid']}/control/feature-suspend"
        is_up = guest.kind == "hvm" or guest.rig.xenstore("read", node) == "1"
        if is_up and not (info["paused"] or info["shutdown"] or info["dying"]):
            return True
        time.sleep(0.5)
    return False


def wait_for_bios(guest: Guest) -> None:
    """Wait until the firmware has left the PCI bus as it is to stay.

    QEMU 7.2 cannot load the state of a guest that was saved before hvmloader had moved the video
    RAM to where its BAR says: hw/i386/xen/xen-hvm.c:xen_add_to_physmap, a failed assertion.
    """
    said = f"(d{guest.domid}) Scan for VGA option rom"
    until(
        "SeaBIOS looks for option ROMs",
        lambda: said in guest.rig.run("xl dmesg").check().stdout,
        within_s=RUNS_WITHIN_S,
        every_s=0.5,
    )


def _info(guest: Guest) -> dict[str, Any] | None:
    """Return what Xen says of a guest; None where it is not there."""
    domid = guest.rig.named(guest.name)
    return None if domid is None else guest.rig.domains().get(domid)


def move(xl: Xl, name: str, how: str) -> None:
    """Save and restore a guest, or migrate it live to this very host."""
    if how == "restore":
        xl("save", name, f"/tmp/{name}.save").check()
        xl("restore", f"/tmp/{name}.save").check()
        return
    xl.rig.put("/tmp/localsh", '#!/bin/sh\nshift\nexec "$@"\n', 0o755)
    xl("migrate", "-s", "/tmp/localsh", name, "localhost").check()


def is_made(guest: Guest) -> bool:
    """Whether its toolstack lets the guest run, whatever becomes of it then."""
    deadline = time.monotonic() + RUNS_WITHIN_S
    while (info := _info(guest)) is not None and time.monotonic() < deadline:
        if not info["paused"]:
            return True
        time.sleep(0.2)
    return False


def another_life(xl: Xl, guest: Guest, how: str, is_there: Callable[[Guest], bool] = runs) -> None:
    """Restore a guest, migrate it, or let it reboot itself; return when it is there again."""
    old = guest.domid
    if how == "reboot":
        guest.do("/bin/busybox reboot -f")
        assert comes_back(guest, old, is_there, REBOOTS_WITHIN_S)
        return
    move(xl, guest.name, how)
    assert guest.domid != old
    time.sleep(SETTLES_IN_S)
    assert not guest.info["paused"]


def comes_back(
    guest: Guest, old: int | None, is_there: Callable[[Guest], bool], within_s: float
) -> bool:
    """Whether a guest is there again, as another domain; if it dies as it boots, xl tries again.

    To Xen a triple fault is a reboot.
    """
    deadline = time.monotonic() + within_s
    while guest.rig.named(guest.name) in (None, old) or not is_there(guest):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True
