"""Find xenstored's socket or device, open it, and wait for it."""

import os
import select
import socket
from pathlib import Path

SOCKETS = (Path("/run/xenstored/socket"), Path("/var/run/xenstored/socket"))
DEVICE = Path("/dev/xen/xenbus")
"""Used where xenstored is a domain of its own: the same protocol, through the kernel."""


def find_xenstored() -> Path:
    """Return the first socket that exists, else the device."""
    return next((path for path in SOCKETS if path.exists()), DEVICE)


def open_xenstored(path: Path, patience_s: float) -> int:
    """Return a descriptor connected to xenstored, blocking. Raises OSError."""
    if path.is_char_device():
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience_s)
        connection.connect(str(path))
        connection.setblocking(True)
        return connection.detach()


def wait_readable(*descriptors: int, within_s: float | None = None) -> list[int]:
    """Wait for some descriptors and return which; select(2) would not take those above 1023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if within_s is None else within_s * 1e3)]
