"""The guests of the rig: pv1, pv2, pvh1, pvh2 (busybox that balloons) and hvm1, hvm2 (SeaBIOS)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.dom0.machine import RigError
from tests.dom0.rig import Done, Rig

MEMORY_MIB = 128
MAXMEM_MIB = 256
BOOTS, BOOTS_WITHIN_S = 3, 60
SLACK_KIB = 1024  # LIBXL_MAXMEM_CONSTANT
WHOLE = "memory = 192\nmaxmem = 192\n"  # no populate-on-demand: short of its pool a guest dies
SIX_NICS = (
    "maxmem = 128\non_reboot = 'restart'\n"
    "device_model_args_hvm = [" + ", ".join(['"-device", "e1000"'] * 6) + "]\n"
)
"""maxmem is memory: xl cannot restore a guest that populates on demand, with us or without."""
DIRECTORY = "/etc/xen/rig"
LINUX = """kernel = "/opt/guest/vmlinuz"
ramdisk = "/opt/guest/initrd"
cmdline = "console=hvc0 quiet"
"""
KINDS = {
    "pv": 'type = "pv"\n' + LINUX,
    "pvh": 'type = "pvh"\n' + LINUX,
    "hvm": 'type = "hvm"\nboot = "c"\nvnc = 0\nserial = "null"\non_reboot = "preserve"\n',
}
"""SeaBIOS finds nothing to boot, and reboots after a minute: the xl that made the guest would then
start it over, for ever and by itself, beside whatever is tested."""


def configuration(name: str, extra: str = "") -> str:
    """Return xl's configuration of the guest `name`; the letters of its name say its kind."""
    kind = name.rstrip("0123456789")
    head = f'name = "{name}"\nmemory = {MEMORY_MIB}\nmaxmem = {MAXMEM_MIB}\nvcpus = 1\n'
    return f"{head}{KINDS[kind]}on_poweroff = 'destroy'\non_crash = 'destroy'\n{extra}\n"


@dataclass
class Guest:
    """One running guest; amounts in KiB, asked from Xen and xenstore each time."""

    rig: Rig
    name: str

    @property
    def domid(self) -> int:
        """Return the domid of now (it changes with reboot, restore and migration)."""
        domid = self.rig.named(self.name)
        if domid is None:
            raise RigError(f"{self.name} is not there")
        return domid

    @property
    def info(self) -> dict[str, Any]:
        """Return what Xen says of it: uuid, maxmem_kb, mem_kb, paused, ..."""
        return self.rig.domains()[self.domid]

    @property
    def uuid(self) -> str:
        """Return its UUID, which survives reboot, restore and migration."""
        return str(self.info["uuid"])

    @property
    def max_kib(self) -> int:
        """Return Xen's max_pages, in KiB."""
        return int(self.info["maxmem_kb"])

    @property
    def used_kib(self) -> int:
        """Return Xen's tot_pages, in KiB."""
        return int(self.info["mem_kb"])

    @property
    def target_kib(self) -> int | None:
        """Return xenstore's memory/target."""
        return self._node("memory/target")

    @property
    def static_max_kib(self) -> int | None:
        """Return xenstore's memory/static-max."""
        return self._node("memory/static-max")

    def xl(self, verb: str, *args: object, timeout: float = 120) -> Done:
        """Run `xl VERB NAME ARGS...` to its end, whatever its end."""
        return self.rig.run(["xl", verb, self.name, *map(str, args)], timeout=timeout)

    @property
    def birth(self) -> tuple[int, int, int]:
        """Return the maximum, target and static-max, in KiB, that xl gives it when it is made."""
        target, static_max = MEMORY_MIB * 1024, MAXMEM_MIB * 1024
        video = 9 * 1024 if self.kind == "hvm" else 0  # 8 MiB cirrus, 1 MiB fudge of libxl
        return target + SLACK_KIB, target - video, static_max

    @property
    def kind(self) -> str:
        """Return pv, pvh or hvm."""
        return self.name.rstrip("0123456789")

    def do(self, words: str) -> None:
        """Type a command on its console: the guest does it, from inside."""
        tty = self.rig.xenstore("read", f"/local/domain/{self.domid}/console/tty")
        self.rig.run(f"echo '{words}' | tee {tty}").check()

    def rest(self) -> None:
        """Give it the numbers of its birth again, as a foreign tool would: Xen, then xenstore."""
        maximum, target, static_max = self.birth
        domid = self.domid
        home = f"/local/domain/{domid}/memory"
        self.rig.setmaxmem(domid, maximum)
        self.rig.xenstore("write", f"{home}/static-max", str(static_max))
        self.rig.xenstore("write", f"{home}/target", str(target))

    def destroy(self) -> None:
        """Destroy it, if it is still there."""
        self.xl("destroy")

    def _node(self, path: str) -> int | None:
        text = self.rig.xenstore("read", f"/local/domain/{self.domid}/{path}")
        return None if text is None else int(text)


def create(rig: Rig, name: str, extra: str = "", *, paused: bool = False) -> Guest:
    """Create the guest `name`; `extra` is more of xl's configuration and wins."""
    path = f"{DIRECTORY}/{name}.cfg"
    rig.put(path, configuration(name, extra))
    done = rig.run(["xl", "create", *(["-p"] if paused else []), path], timeout=180)
    if done.rc != 0:
        raise RigError(f"xl create {name}: exit {done.rc}\n{done.stdout}{done.stderr}")
    return Guest(rig, name)


def up(rig: Rig, name: str, extra: str = "") -> Guest:
    """Create the guest `name`; a PVH one until it has booted.

    Below static-max it boots from a populate-on-demand pool, and a few times in a hundred it needs
    a page more than the pool has before its balloon driver is there: Xen then ends it.
    """
    for _ in range(BOOTS):
        guest = create(rig, name, extra)
        deadline = time.monotonic() + BOOTS_WITHIN_S
        while guest.kind == "pvh" and time.monotonic() < deadline:
            if (domid := rig.named(name)) is None:
                rig.say(f"{name} died as it booted")
                break
            if rig.xenstore("read", f"/local/domain/{domid}/control/feature-suspend") == "1":
                return guest
            time.sleep(0.5)
        else:
            return guest
    raise RigError(f"{name} has died {BOOTS} times as it booted")


def at_rest(rig: Rig, name: str) -> Guest:
    """Return the guest `name` with the numbers of its birth, made if it is not there.

    Where maxmemd would put other numbers back, a guest that has some is made afresh: the new one
    has another UUID, and so no record.
    """
    guest = Guest(rig, name)
    if rig.named(name) is None:
        return up(rig, name)
    is_down = guest.info["shutdown"]
    if not is_down and (guest.max_kib, guest.target_kib, guest.static_max_kib) == guest.birth:
        return guest
    if rig.arbitrated or is_down:
        guest.destroy()
        return up(rig, name)
    guest.rest()
    return guest


@contextmanager
def created(rig: Rig, name: str, extra: str = "", *, paused: bool = False) -> Iterator[Guest]:
    """Create the guest for the length of a `with`, and destroy what has become of it."""
    guest = create(rig, name, extra, paused=paused)
    try:
        yield guest
    finally:
        guest.destroy()
