"""An arbiter in its seat: on a simulated host, with a ledger that survives it and a clock."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.messages import Answer, DecisionRequest, Granted, Refused
from maxmemd.arbiter.settings import Settings
from maxmemd.errors import MaxmemError
from maxmemd.policy.components import Key, Record
from maxmemd.policy.drift import DriftMode, DriftRules
from maxmemd.policy.fights import FightRules
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.reference import Domid
from maxmemd.policy.rules import Rules
from maxmemd.policy.states import PushState
from maxmemd.policy.wishes import Wish
from maxmemd.ports import Hypervisor, Ledger, Xenstore
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import Config, Ideal, SimulatedHost
from tests.support.fakes import FakeClock, MemoryLedger

DM: Key = ("device-model", "rom")
ACTOR = '{"name":"test"}'
MIB = 1024
"""KiB in a MiB."""


WEB_UUID = "51a70000-0000-4000-8000-0000000000aa"


def mib(amount: int) -> Memory:
    """Return that many MiB."""
    return Memory.of_mib(amount)


def web_of(memory: int, maxmem: int) -> Config:
    """Return the configuration of a PV guest 'web' with a UUID of its own; sizes in MiB."""
    return Config(
        name="web", uuid=WEB_UUID, kind="pv", memory=mib(memory), maxmem=mib(maxmem),
        videoram=mib(0), guest=Ideal(), nics=0,
    )  # fmt: skip


def host_of_16_gib() -> SimulatedHost:
    """Return an empty host."""
    return SimulatedHost(total=Memory.of_mib(16384))


@dataclass
class Seat:
    """What a test holds of an arbiter and its world."""

    host: SimulatedHost = field(default_factory=host_of_16_gib)
    memory: MemoryLedger = field(default_factory=MemoryLedger)
    clock: FakeClock = field(default_factory=FakeClock)
    drift: str = "restore"
    drift_of: Mapping[str, DriftMode] = field(default_factory=dict)
    fights: FightRules = field(default_factory=FightRules)
    rules: Rules = field(default_factory=Rules)
    boot: str = "boot-1"
    keep_gone_s: float = 3600.0
    keep_gone: tuple[int, int] = (4000, 1000)
    by_name: tuple[str, ...] = ()
    ledger_of: Callable[[], Ledger] | None = None
    hypervisor: Hypervisor | None = None
    xenstore: Xenstore | None = None
    arbiter: Arbiter = field(init=False)

    def __post_init__(self) -> None:
        self.hypervisor = self.hypervisor or self.host.hypervisor()
        self.xenstore = self.xenstore or self.host.xenstore()
        self.take()

    @property
    def drift_rules(self) -> DriftRules:
        """What the configuration says of drift."""
        return DriftRules(DriftMode(self.drift), self.drift_of)

    def take(self) -> "Seat":
        """Take the seat without looking at Xen yet."""
        assert self.hypervisor is not None
        assert self.xenstore is not None
        self.arbiter = Arbiter(
            self.memory if self.ledger_of is None else self.ledger_of(),
            LocalPusher(self.hypervisor, self.xenstore),
            self.clock,
            Settings(
                self.rules,
                self.drift_rules,
                GoneRules(self.keep_gone_s, *self.keep_gone),
                self.fights,
                self.by_name,
            ),
            boot=self.boot,
        )
        return self

    def restart(self) -> "Seat":
        """Crash, and start again with what the ledger holds."""
        self.take()
        self.arbiter.start()
        return self

    def poll(self, after_s: float = 2.0) -> None:
        """Let time pass, and poll."""
        self.clock.forward(after_s)
        self.arbiter.poll()

    def ask(self, ref: str | int, wish: Wish, **options: object) -> Answer | MaxmemError:
        """Ask one thing in a turn of its own."""
        ask = DecisionRequest(str(ref), wish, ACTOR, **options)  # type: ignore[arg-type]
        return self.arbiter.turn([ask])[0]

    def grant(self, ref: str | int, wish: Wish, **options: object) -> Granted:
        """Ask what must be granted."""
        answer = self.ask(ref, wish, **options)
        assert isinstance(answer, Granted), answer
        return answer

    def refuse(self, ref: str | int, wish: Wish, **options: object) -> str:
        """Ask what must be refused; return the code."""
        answer = self.ask(ref, wish, **options)
        assert isinstance(answer, Refused), answer
        return answer.refusal.code

    def uuid(self, domid: int) -> str:
        """Return a domain's UUID."""
        return self.host.machine.domain(domid).uuid

    def pages(self, domid: int) -> int:
        """Return a domain's max_pages in Xen."""
        return self.host.machine.domain(domid).max_pages

    def record(self, domid: int) -> Record:
        """Return a domain's record."""
        record = self.arbiter.records.get(self.uuid(domid))
        assert record is not None
        return record

    def amounts(self, domid: int) -> dict[str, int]:
        """Return a domain's components in KiB, by owner/name."""
        return kib_of(self.record(domid))

    def state(self, domid: int) -> PushState:
        """Return the push state of a live instance."""
        return self.instance(domid).push_state

    def instance(self, domid: int) -> Instance:
        """Return a live instance."""
        [instance] = self.arbiter.instances.find(Domid(domid))
        return instance

    def kinds(self, domid: int) -> list[str]:
        """Return the kinds of a domain's entries, oldest first."""
        return self.memory.kinds(self.uuid(domid))


def kib_of(record: Record) -> dict[str, int]:
    """Return a record's components in KiB, by owner/name."""
    return {f"{owner}/{name}": part.amount.kib for (owner, name), part in record.components.items()}
