"""Fill a ledger with many domains and revisions, through the arbiter."""

from pathlib import Path

from benchmarks.ours import BOOT
from benchmarks.report import CannotMeasure
from maxmemd.api.reload import settings_of
from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.messages import DecisionRequest, Granted
from maxmemd.backend import SystemClock
from maxmemd.config.settings import Config
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.wishes import SetMaxMem
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost

ACTOR = '{"name":"benchmark","uid":0,"gid":0,"pid":1}'
BATCH = 250


def arbiter_on(database: Path, host: SimulatedHost) -> Arbiter:
    """Return a started arbiter with the default configuration."""
    migrate(database)
    config = Config()
    arbiter = Arbiter(
        SqliteLedger(database),
        LocalPusher(host.hypervisor(), host.xenstore()),
        SystemClock(),
        settings_of(config),
        boot=BOOT,
    )
    arbiter.start()
    arbiter.poll()
    return arbiter


def fill(database: Path, *, domains: int, revisions: int) -> None:
    """Fill a ledger so that it agrees with a new simulated host of `domains` guests.

    Raises CannotMeasure when a wish is not granted.
    """
    host = SimulatedHost.with_guests(domains)
    arbiter = arbiter_on(database, host)
    limits = [Memory.of_mib(96), Memory.of_mib(128)]  # the guests are made with 128
    for turn in range(revisions // BATCH):
        first = turn * BATCH
        asks = [
            DecisionRequest(
                str(1 + number % domains), SetMaxMem(limits[number // domains % 2]), ACTOR
            )
            for number in range(first, first + BATCH)
        ]
        if not all(isinstance(answer, Granted) for answer in arbiter.turn(asks)):
            raise CannotMeasure("cannot fill the ledger: a wish was not granted")
    arbiter.poll()
