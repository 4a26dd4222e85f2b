"""What systemd and a service say to each other: readiness, the watchdog, a socket, the journal.

Spoken by hand, for it is a few datagrams: sd_notify(3), sd_listen_fds(3), systemd's native
journal protocol. Where no systemd asked for it nothing happens.
"""

import logging
import os
import socket
import sys
from time import monotonic

from maxmemd.errors import ConfigError

LOG = logging.getLogger("maxmemd")
FIRST_SOCKET = 3
"""The descriptor of the first socket that systemd passes (SD_LISTEN_FDS_START)."""

DEVICE_MODELS = "device-model"
"""What the unit of the device models' own socket calls it (FileDescriptorName=)."""

JOURNAL = "/run/systemd/journal/socket"
JOURNAL_WITHIN_S = 0.1
"""A line may wait so long for journald; those behind it do not wait, until it takes one again."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def notify(state: str) -> None:
    """Tell systemd, where it asked to be told (sd_notify(3)); an abstract name starts with @."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            name = "\0" + address[1:] if address.startswith("@") else address
            sock.sendto(state.encode(), name)


class Watchdog:
    """Tells systemd that a thread gets on, ten times in the time that it allows.

    `fed` is called by that thread after every step: when it hangs in a hypercall or on the disk
    nothing is told any more, and systemd starts the service anew (WatchdogSec=).
    """

    def __init__(self) -> None:
        limit = os.environ.get("WATCHDOG_USEC", "")
        here = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(limit) / 1e7 if limit.isdigit() and here else None
        self._last_s = 0.0
        self._is_heard = True

    def fed(self) -> None:
        """Note that the thread got on. Where systemd cannot be told, that is said once."""
        if self._every_s is None or monotonic() - self._last_s < self._every_s:
            return
        self._last_s = monotonic()
        try:
            notify("WATCHDOG=1")
        except OSError as error:
            if self._is_heard:
                LOG.error("cannot tell systemd that the service lives: %s", error)  # noqa: TRY400
            self._is_heard = False
        else:
            self._is_heard = True


def passed_sockets() -> tuple[socket.socket, socket.socket | None] | None:
    """Return the listening Unix sockets that systemd holds for this service; None without any.

    The first is the API's, the second the device models' own, where its unit is there: the name
    that a unit gives its socket tells them apart. Requests wait in them while the service is
    restarted. Raises ConfigError for any others.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count, names = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_FDNAMES", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    apart = [place for place, name in enumerate(names.split(":")) if name == DEVICE_MODELS]
    if (count, len(apart)) not in (("1", 0), ("2", 1)):
        detail = f"cannot take {count} sockets from systemd ({names or 'without names'}): one"
        detail += " ListenStream= is needed, and another may be there whose FileDescriptorName= is"
        raise ConfigError(f"{detail} {DEVICE_MODELS}")
    if not apart:
        return _listening(FIRST_SOCKET), None
    return _listening(FIRST_SOCKET + 1 - apart[0]), _listening(FIRST_SOCKET + apart[0])


def _listening(descriptor: int) -> socket.socket:
    """Return a passed socket, which no child is to inherit. Raises ConfigError."""
    passed = socket.socket(fileno=descriptor)
    passed.set_inheritable(False)
    listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if passed.family != socket.AF_UNIX or not listens:
        passed.close()
        raise ConfigError("cannot use systemd's socket: ListenStream= must be a path")
    passed.setblocking(False)
    return passed


def start_logging() -> None:
    """Log to the journal where stderr leads there, to stderr otherwise."""
    if is_journal():
        logging.basicConfig(handlers=[JournalHandler()], level=logging.INFO, format="%(message)s")
    else:
        form = "%(levelname)s %(name)s: %(message)s"
        logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=form)


def is_journal(stream: int = 2) -> bool:
    """Whether a descriptor leads to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    wanted = os.environ.get("JOURNAL_STREAM", "")
    found = os.fstat(stream)
    return wanted == f"{found.st_dev}:{found.st_ino}"


class JournalHandler(logging.Handler):
    """Logs to the journal with fields: MAXMEM_ before each name of a record's `fields`.

    journalctl -u maxmemd MAXMEM_UID=1000 finds what a log line says of that client.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._path = path
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; where the journal is gone it goes to stderr, as logging does it.

        A journald that hangs does not hold up the arbiter: lines are lost, and MAXMEM_LOST of the
        next one says how many.
        """
        try:
            fields: dict[str, object] = {
                "MESSAGE": self.format(record),
                "PRIORITY": next((p for level, p in _PRIORITIES if record.levelno >= level), 7),
                "SYSLOG_IDENTIFIER": "maxmemd",
                "LOGGER": record.name,
            }
            for name, value in getattr(record, "fields", {}).items():
                fields[f"MAXMEM_{name.upper()}"] = value
            if self._lost:
                fields["MAXMEM_LOST"] = self._lost
            data = b"".join(_field(name, str(value)) for name, value in fields.items())
            self._socket.settimeout(0.0 if self._lost else JOURNAL_WITHIN_S)
            self._socket.sendto(data, self._path)
            self._lost = 0
        except (TimeoutError, BlockingIOError):
            self._lost += 1
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    """Return a field as the journal takes it: with its length, so that it may have lines."""
    data = value.encode(errors="backslashreplace")
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
