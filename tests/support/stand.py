"""A test stand: a simulated host that survives, the daemon in its own process, and clients."""

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from maxmemd.policy.facts import XenFacts
from maxmemd.units import Memory
from tests.support.audit import Kept, audit, limits_of
from tests.support.http import Client
from tests.support.ledgers import new_ledger
from tests.support.process import DaemonProcess
from tests.support.simhost import SimHost


class Stand(DaemonProcess):
    """A host with guests, and the daemon that is started, killed and started again on it."""

    def __init__(self, guests: int = 4, *, options: Sequence[str] = ()) -> None:
        self._directory = TemporaryDirectory(prefix="stand-")
        self.directory = Path(self._directory.name)
        super().__init__(self.directory / "s", self.directory / "log")
        self.database = new_ledger(self.directory / "ledger.sqlite")
        self.options = list(options)
        self.before: list[str] = []
        self.serving = ["tests.support.serve"]
        self.host = SimHost()
        small, large = Memory.of_mib(64), Memory.of_mib(256)
        for number in range(guests):
            self.host.call("create", f"guest-{number}", memory=small, maxmem=large)
        self.uuids = [fact.uuid for fact in self.facts() if fact.domid]

    def command(self) -> Sequence[str]:
        """Return the command that is run."""
        words = [self.host.path, self.socket, self.database, *self.options]
        return [*self.before, sys.executable, "-m", *self.serving, *map(str, words)]

    def close(self) -> None:
        """Kill the daemon, and end the host."""
        self.kill()
        self.host.close()
        self._directory.cleanup()

    def client(self) -> Client:
        """Open a connection."""
        return Client(self.socket)

    def facts(self) -> Sequence[XenFacts]:
        """Return what Xen says of every domain."""
        facts: Sequence[XenFacts] = self.host.call("xen.domains")
        return facts

    def kept(self) -> Kept:
        """Return what the ledger's file holds, audited."""
        return audit(self.database)

    def agrees(self) -> bool:
        """Whether Xen holds what the ledger says, for every domain."""
        limits = limits_of(self.database)
        return all(fact.max_pages == limits.get(fact.uuid) for fact in self.facts())
