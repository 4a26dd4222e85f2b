"""The health of each part of the daemon, and its readiness for systemd."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.status import Status
from maxmemd.systemd import notify
from maxmemd.wire.daemon_replies import ServiceCondition

LOG = logging.getLogger("maxmemd")
READY_WITHIN_S = 30.0
"""Services that wait for this one, such as xendomains, wait no longer than this for Xen."""
LOW_BYTES = 16 * 1024 * 1024
"""With less free space for the ledger the disk counts as nearly full."""
LOOK_EVERY_S = 10


@dataclass(frozen=True, slots=True)
class Space:
    """The ledger's size, and the free space of its file system."""

    database_bytes: int
    wal_bytes: int
    free_bytes: int


def space_of(database: Path) -> Space:
    """Return the space now. Raises OSError."""
    found = os.statvfs(database.parent)
    wal = database.with_name(f"{database.name}-wal")
    return Space(
        database.stat().st_size,
        wal.stat().st_size if wal.exists() else 0,
        found.f_bavail * found.f_frsize,
    )


class DiskMonitor:
    """Watches the ledger's disk from a thread, so that a disk that hangs blocks nothing else."""

    def __init__(self, database: Path, look: Callable[[Path], Space] = space_of) -> None:
        self._database, self._look = database, look
        self._looking: asyncio.Task[None] | None = None
        self._seconds = 0
        self.space: Space | None = None
        self.state = "ok"

    def each_second(self) -> None:
        """Check every LOOK_EVERY_S, unless an earlier check still runs."""
        if self._seconds % LOOK_EVERY_S == 0 and self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self.look())
        self._seconds += 1

    async def look(self) -> None:
        """Check once."""
        try:
            self.space = await asyncio.to_thread(self._look, self._database)
        except OSError as error:
            self.state = f"cannot check the disk of the ledger: {error.strerror}"
        else:
            free_mib = self.space.free_bytes // (1024 * 1024)
            low = self.space.free_bytes < LOW_BYTES
            self.state = f"nearly full: {free_mib} MiB are free for the ledger" if low else "ok"
        finally:
            self._looking = None


def health_parts(
    mailbox: Mailbox, loop: str, integrity: str, events: str, disk: str
) -> Mapping[str, str]:
    """Return each part's state: "ok", or what is wrong. Never blocks: parts publish their state."""
    status, age_s = mailbox.status, mailbox.thread.age_s
    return {
        "xen": status.xen,
        "domains": status.domains,
        "ledger": status.ledger,
        "integrity": integrity,
        "arbiter": "ok" if mailbox.is_prompt() else f"waits for Xen or the disk ({age_s:.0f} s)",
        "loop": loop,
        "events": events,
        "disk": disk,
    }


def service_conditions(status: Status) -> list[ServiceCondition]:
    """Return what should be done about the service itself, though it is ready."""
    why = "" if status.figures is None else status.figures.pruning_ended_by
    if not why:
        return []
    detail = (
        f"the history is not pruned any more, and grows: {why} (maxmemd verify says whether the"
        " ledger is damaged, see docs/recovery.md; a restart tries again)"
    )
    return [ServiceCondition(kind="pruning-ended", detail=detail)]


async def notify_systemd(
    mailbox: Mailbox, within_s: float = READY_WITHIN_S, *, host: str = "Xen"
) -> None:
    """Report readiness once limits are in force, or with a critical log after `within_s`.

    `host` is what is compared with the ledger.

    A dom0 whose guests never start is worse than one whose limits come late; every poll retries.
    """
    try:
        async with asyncio.timeout(within_s):
            await mailbox.first_sync.wait()
    except TimeoutError:
        why = mailbox.status.xen
        LOG.critical("started, but limits are NOT in force after %.0f s: %s", within_s, why)
        _tell("READY=1", f"limits are NOT in force: {why}")
        await mailbox.first_sync.wait()
    _tell("READY=1", f"{host} and the ledger were compared")
    LOG.info("ready: %s and the ledger were compared", host)


def _tell(state: str, status: str) -> None:
    """Notify systemd. If that fails, systemd will time the service out: log why."""
    try:
        notify(f"{state}\nSTATUS={' '.join(status.split())}")
    except OSError as error:
        LOG.critical("cannot notify systemd that the service has started: %s", error)


def is_ready(state: str) -> bool:
    """Whether a part in this state counts as ready."""
    return state in ("ok", "being checked")
