"""The configuration as a frozen value, with its defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maxmemd.config.identities import Identity
from maxmemd.config.parsers import AUTO, device_model_base
from maxmemd.policy.drift import DriftMode, DriftRules
from maxmemd.policy.fights import FightRules
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.retention import Retention
from maxmemd.policy.roles import ADMIN, DEVICE_MODEL, OBSERVER, TOOLSTACK, Roles
from maxmemd.policy.rules import Rules
from maxmemd.units import Memory

DEFAULT_SOCKET = Path("/run/maxmemd/maxmemd.sock")
DEFAULT_PUSHER = Path("/run/maxmemd-pusher/socket")
DEFAULT_DEVICE_MODEL_SOCKET = Path("/run/maxmemd-device-model/maxmemd.sock")
DEFAULT_DATABASE = Path("/var/lib/maxmemd/ledger.sqlite")
CAPS = {DEVICE_MODEL: Memory.of_mib(1024)}
RATES = {TOOLSTACK: 2000.0, DEVICE_MODEL: 10.0, OBSERVER: 50.0}
CONNECTIONS = {TOOLSTACK: 512, DEVICE_MODEL: 16, OBSERVER: 64}


@dataclass(frozen=True, slots=True)
class Config:
    """How this daemon runs. Durations are seconds, as their names say.

    `rates` (requests per second) and `connections` (open at once) limit one client, by role; a role
    without an entry has no limit of its own. `caps` are by owner of components. `listen` is
    "ADDRESS:PORT", or "" to serve nothing over TCP.
    """

    socket: Path = DEFAULT_SOCKET
    socket_group: str = ""
    database: Path = DEFAULT_DATABASE
    hypervisor: str = "auto"
    pusher: Path = DEFAULT_PUSHER
    drift: str = "restore"
    drift_of: Mapping[str, str] = field(default_factory=dict)
    fight_writes: int = 5
    fight_within_s: float = 60.0
    fight_quiet_s: float = 300.0
    poll_s: float = 2.0
    keep_gone_s: float = 30 * 86400.0
    keep_gone_records: int = 2000
    keep_gone_per_client: int = 1000
    history_keep_days: int = 400
    history_keep_entries: int = 5_000_000
    by_name: tuple[str, ...] = ()
    floor: str = "target"
    slack: Memory = field(default_factory=lambda: Memory(kib=1024))
    dom0_floor: Memory = field(default_factory=lambda: Memory.of_mib(128))
    owners: tuple[str, ...] = ()
    caps: Mapping[str, Memory] = field(default_factory=lambda: dict(CAPS))
    admins: tuple[Identity, ...] = ()
    toolstacks: tuple[Identity, ...] = ()
    observers: tuple[Identity, ...] = ()
    default_role: str = OBSERVER
    device_model_base: int | None = field(default_factory=lambda: device_model_base("auto"))
    device_model_socket: Path | str = AUTO
    rates: Mapping[str, float] = field(default_factory=lambda: dict(RATES))
    connections: Mapping[str, int] = field(default_factory=lambda: dict(CONNECTIONS))
    listen: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_clients: Path | None = None
    hosts: tuple[str, ...] = ()

    @property
    def rules(self) -> Rules:
        """The part that decisions depend on."""
        known = Rules().owners | set(self.owners)
        return Rules(self.floor, self.slack, self.dom0_floor, known, caps=self.caps)

    @property
    def drift_rules(self) -> DriftRules:
        """What becomes of drift, by domain."""
        of = {key: DriftMode(mode) for key, mode in self.drift_of.items()}
        return DriftRules(DriftMode(self.drift), of)

    @property
    def gone(self) -> GoneRules:
        """Which records are kept of domains that are not here."""
        return GoneRules(self.keep_gone_s, self.keep_gone_records, self.keep_gone_per_client)

    @property
    def retention(self) -> Retention:
        """How much history is kept."""
        return Retention(self.history_keep_days, self.history_keep_entries)

    @property
    def fights(self) -> FightRules:
        """How much drift is a fight.

        A poll sees one foreign write at most. Where polls are so rare that as many as make a fight
        would not come within fight_within_s, twice the time that they take counts instead.
        """
        within_s = max(self.fight_within_s, 2 * self.fight_writes * self.poll_s)
        quiet_s = max(self.fight_quiet_s, 2 * self.poll_s)
        return FightRules(self.fight_writes, within_s, quiet_s)

    @property
    def roles(self) -> Roles:
        """Which identity has which role."""
        roles = self.roles_by_identity
        return Roles(
            {who.number: role for who, role in roles.items() if who.kind == "uid"},
            {who.number: role for who, role in roles.items() if who.kind == "gid"},
            {who.subject: role for who, role in roles.items() if who.kind == "cert"},
            base=self.device_model_base,
            default=self.default_role,
        )

    @property
    def device_model_socket_path(self) -> Path | None:
        """The socket for device models only; None without one.

        "auto" has one only beside the default socket: a daemon on another socket may be a second
        one on this host, started by any user.
        """
        if self.device_model_socket == AUTO:
            return DEFAULT_DEVICE_MODEL_SOCKET if self.socket == DEFAULT_SOCKET else None
        return self.device_model_socket if isinstance(self.device_model_socket, Path) else None

    @property
    def tokens_path(self) -> Path:
        """The file with the tokens of TCP clients, beside the ledger."""
        return self.database.with_name(f"{self.database.name}-tokens.json")

    @property
    def roles_by_identity(self) -> Mapping[Identity, str]:
        """The role of each identity in the lists; the strongest wins if it is in several."""
        lists = {OBSERVER: self.observers, TOOLSTACK: self.toolstacks, ADMIN: self.admins}
        return {who: role for role, listed in lists.items() for who in listed}
