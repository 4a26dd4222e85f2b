"""A service's side of systemd: readiness, the watchdog, passed sockets, journald.

Written by hand, since it is a few datagrams: sd_notify(3), sd_listen_fds(3), journald's native
protocol. Without systemd all of it does nothing.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable
from time import monotonic

from maxmemd.errors import ConfigError
from maxmemd.rest.text import plain

LOG = logging.getLogger("maxmemd")
FIRST_SOCKET = 3
"""The descriptor of the first socket that systemd passes (SD_LISTEN_FDS_START)."""

DEVICE_MODELS = "device-model"
"""FileDescriptorName= in the unit of the device models' own socket."""

JOURNAL = "/run/systemd/journal/socket"
JOURNAL_WITHIN_S = 0.1
"""How long a line waits for journald. After one has timed out, the next do not wait at all."""

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def notify(state: str) -> None:
    """Send a state to systemd if it listens (sd_notify(3)); "@" begins an abstract address."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            name = "\0" + address[1:] if address.startswith("@") else address
            sock.sendto(state.encode(), name)


def ask_for_time(seconds: float) -> None:
    """Have systemd wait this much longer, from now on, before it kills a service that stops.

    The watchdog is fed as well: the thread that feeds it may be the one that waits.
    """
    try:
        notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}\nWATCHDOG=1")
    except OSError as error:
        LOG.error("cannot ask systemd for more time to stop: %s", error)  # noqa: TRY400


class Watchdog:
    """Sends systemd's keep-alives for one thread, ten in the time that WatchdogSec= allows.

    The thread calls `feed` after every step: when it hangs in a hypercall or on the disk, the
    keep-alives end and systemd restarts the service. So they do while `is_well` is false.
    """

    def __init__(self, is_well: Callable[[], bool] = lambda: True) -> None:
        self._is_well = is_well
        limit = os.environ.get("WATCHDOG_USEC", "")
        here = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(limit) / 1e7 if limit.isdigit() and here else None
        self._last_s = 0.0
        self._last_was_sent = True

    def feed(self) -> None:
        """Send a keep-alive if one is due; log the first of several that fail."""
        if not self._is_well() or self._every_s is None:
            return
        if monotonic() - self._last_s < self._every_s:
            return
        self._last_s = monotonic()
        try:
            notify("WATCHDOG=1")
        except OSError as error:
            if self._last_was_sent:
                LOG.error("cannot send a keep-alive to systemd: %s", error)  # noqa: TRY400
            self._last_was_sent = False
        else:
            self._last_was_sent = True


def passed_sockets() -> tuple[socket.socket, socket.socket | None] | None:
    """Return the listening Unix sockets that systemd holds for this service; None without any.

    The first is the API's, the second the device models' own if its unit is installed; they are
    known by their names, since systemd does not promise an order. Requests wait in them while the
    service restarts. Raises ConfigError for any other sockets.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count, names = os.environ.get("LISTEN_FDS", ""), os.environ.get("LISTEN_FDNAMES", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    own = [index for index, name in enumerate(names.split(":")) if name == DEVICE_MODELS]
    if (count, len(own)) not in (("1", 0), ("2", 1)):
        raise ConfigError(
            f"cannot take {count} sockets from systemd ({names or 'without names'}): give one"
            f" ListenStream=, and at most one more with FileDescriptorName={DEVICE_MODELS}"
        )
    if not own:
        return _take_listener(FIRST_SOCKET), None
    return _take_listener(FIRST_SOCKET + 1 - own[0]), _take_listener(FIRST_SOCKET + own[0])


def _take_listener(descriptor: int) -> socket.socket:
    """Return a passed socket, not inheritable by children. Raises ConfigError."""
    passed = socket.socket(fileno=descriptor)
    passed.set_inheritable(False)
    listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if passed.family != socket.AF_UNIX or not listens:
        passed.close()
        raise ConfigError("cannot use systemd's socket: ListenStream= must be a path")
    passed.setblocking(False)
    return passed


def start_logging() -> None:
    """Log to journald if stderr leads there, else to stderr."""
    handler: logging.Handler
    if is_journal():
        handler, form = JournalHandler(), "%(message)s"
    else:
        handler, form = logging.StreamHandler(sys.stderr), "%(levelname)s %(name)s: %(message)s"
    handler.setFormatter(OneLineFormatter(form))
    logging.basicConfig(handlers=[handler], level=logging.INFO)


class OneLineFormatter(logging.Formatter):
    """Formats a message as one line without control characters: it may have a guest's words in it.

    A traceback still follows on lines of its own.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return plain(super().formatMessage(record))


def is_journal(stream: int = 2) -> bool:
    """Whether a descriptor leads to journald (systemd.exec(5), JOURNAL_STREAM)."""
    wanted = os.environ.get("JOURNAL_STREAM", "")
    found = os.fstat(stream)
    return wanted == f"{found.st_dev}:{found.st_ino}"


class JournalHandler(logging.Handler):
    """Logs to journald, with a field MAXMEM_NAME for each name in a log record's `fields`.

    So journalctl -u maxmemd MAXMEM_UID=1000 finds the lines about that client.
    """

    def __init__(self, path: str = JOURNAL) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._path = path
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; without journald it goes to stderr, as logging's errors do.

        A journald that hangs must not stop the arbiter: lines are dropped, and the next one that is
        sent has their number in MAXMEM_LOST.
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
    """Return a field in the form with a length, whose value may have several lines."""
    data = value.encode(errors="backslashreplace")
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
