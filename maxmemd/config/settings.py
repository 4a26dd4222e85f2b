"""The configuration as a frozen value, with its defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from maxmemd.config.parsers import AUTO, Who, device_models
from maxmemd.policy.clauses import Rules
from maxmemd.policy.roles import ADMIN, DEVICE_MODEL, OBSERVER, TOOLSTACK, Roles
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

    `rates` are requests a second, `connections` how many may be open, both of one client and by
    role; a role that is not named has no bound of its own. `caps` are by owner.
    `listen` is an address and a port, "" where nothing is served over TCP.
    """

    socket: Path = DEFAULT_SOCKET
    socket_group: str = ""
    database: Path = DEFAULT_DATABASE
    hypervisor: str = "auto"
    pusher: Path = DEFAULT_PUSHER
    drift: str = "restore"
    poll_s: float = 2.0
    keep_gone_s: float = 30 * 86400.0
    floor: str = "target"
    slack: Memory = field(default_factory=lambda: Memory(kib=1024))
    dom0_floor: Memory = field(default_factory=lambda: Memory.of_mib(128))
    owners: tuple[str, ...] = ()
    caps: Mapping[str, Memory] = field(default_factory=lambda: dict(CAPS))
    admins: tuple[Who, ...] = ()
    toolstacks: tuple[Who, ...] = ()
    observers: tuple[Who, ...] = ()
    others: str = OBSERVER
    device_model_base: int | None = field(default_factory=lambda: device_models("auto"))
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
        """What of it decisions look at."""
        known = Rules().owners | set(self.owners)
        return Rules(self.floor, self.slack, self.dom0_floor, known, caps=self.caps)

    @property
    def roles(self) -> Roles:
        """Who may be what."""
        named = self.named
        return Roles(
            {who.number: role for who, role in named.items() if who.kind == "uid"},
            {who.number: role for who, role in named.items() if who.kind == "gid"},
            {who.subject: role for who, role in named.items() if who.kind == "cert"},
            base=self.device_model_base,
            others=self.others,
        )

    @property
    def apart(self) -> Path | None:
        """Where device models alone are served; None where they are not.

        By default only beside the default socket: a daemon with one of its own may be anybody's.
        """
        if self.device_model_socket == AUTO:
            return DEFAULT_DEVICE_MODEL_SOCKET if self.socket == DEFAULT_SOCKET else None
        return self.device_model_socket if isinstance(self.device_model_socket, Path) else None

    @property
    def tokens(self) -> Path:
        """Where the tokens of clients over TCP are kept: beside the ledger."""
        return self.database.with_name(f"{self.database.name}-tokens.json")

    @property
    def named(self) -> Mapping[Who, str]:
        """Whom the lists name, and as what; a name in two lists is in the last one."""
        lists = {OBSERVER: self.observers, TOOLSTACK: self.toolstacks, ADMIN: self.admins}
        return {who: role for role, listed in lists.items() for who in listed}
