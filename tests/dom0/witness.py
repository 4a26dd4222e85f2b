"""Who sets maxima, seen by dom0's kernel: a probe at the one door of its programs' hypercalls.

Whatever a program of dom0 is linked with and however it was started, its hypercalls are an ioctl on
/dev/xen/privcmd. The probe writes a line for each XEN_DOMCTL_max_mem.
"""

import re
from dataclasses import dataclass

from tests.dom0.daemon import Daemon
from tests.dom0.machine import RigError
from tests.dom0.rig import Rig

TRACING = "/sys/kernel/tracing"
EVENT = f"{TRACING}/events/kprobes/maxmem"
PROBE = (
    "p:maxmem privcmd_ioctl request=%si:x32 op=+u0(%dx):u64 command=+u0(+u8(%dx)):u32"
    " domid=+u8(+u8(%dx)):u16 kib=+u16(+u8(%dx)):u64 program=$comm"
)
"""struct privcmd_hypercall: op, then the arguments; struct xen_domctl: command at 0, domain at 8,
the union at 16."""
FILTER = "request == 0x305000 && op == 36 && command == 11"
"""IOCTL_PRIVCMD_HYPERCALL, __HYPERVISOR_domctl, XEN_DOMCTL_max_mem."""
BEGIN = f"""
modprobe xen-privcmd 2>/dev/null
if [ ! -e {EVENT} ]; then
  echo '{PROBE}' > {TRACING}/kprobe_events && echo '{FILTER}' > {EVENT}/filter &&
  echo 1 > {TRACING}/options/record-tgid || exit 1
fi
echo > {TRACING}/trace && echo 1 > {EVENT}/enable
"""
LINE = re.compile(
    r"-(?P<thread>\d+) +\( *(?P<pid>[\d-]+)\) .* maxmem: .*"
    r" domid=(?P<domid>\d+) kib=(?P<kib>\d+) program=\"(?P<program>.*)\"$"
)
KEPT = re.compile(r"# entries-in-buffer/entries-written: (\d+)/(\d+)")
LEADERS = "grep -H . /proc/[0-9]*/comm 2>/dev/null"


@dataclass(frozen=True)
class Write:
    """A maximum that was set: by whom, whose, and to how many KiB."""

    program: str
    pid: int
    domid: int
    kib: int


@dataclass
class Witness:
    """The probe in a rig's dom0."""

    rig: Rig

    def begin(self) -> None:
        """Begin a new testimony."""
        self.rig.run(BEGIN).check()

    def end(self) -> None:
        """Look away: what is timed is not to be watched."""
        self.rig.run(f"[ ! -e {EVENT} ] || echo 0 > {EVENT}/enable").check()

    @property
    def writes(self) -> list[Write]:
        """Return every maximum that was set since `begin`."""
        said = self.rig.run(f"cat {TRACING}/trace; {LEADERS}; true").check().stdout
        kept = KEPT.search(said)
        if kept is None or kept[1] != kept[2]:
            raise RigError(f"cannot trust the witness: {said[:300]}")
        leaders = dict(re.findall(r"^/proc/(\d+)/comm:(.*)$", said, re.MULTILINE))
        found = [LINE.search(line) for line in said.splitlines() if " maxmem: " in line]
        return [_write(line, leaders) for line in found]

    def others(self, daemon: Daemon) -> list[Write]:
        """Return what was set by any process but the one that pushes for the daemon."""
        return [write for write in self.writes if write.pid != daemon.pusher]

    def only(self, daemon: Daemon) -> int:
        """Assert that only the process that pushes set maxima; return how often."""
        writes, pusher = self.writes, daemon.pusher
        strangers = [write for write in writes if write.pid != pusher]
        assert not strangers, f"set by others than process {pusher}: {strangers}"
        assert writes, "no process has set a maximum: did the witness run?"
        return len(writes)


def _write(line: re.Match[str] | None, leaders: dict[str, str]) -> Write:
    """Read a line; a thread has a name of its own, the program's is that of the first."""
    assert line is not None
    pid = line["pid"] if line["pid"].isdigit() else line["thread"]
    return Write(leaders.get(pid, line["program"]), int(pid), int(line["domid"]), int(line["kib"]))
