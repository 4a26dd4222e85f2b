"""The command `maxmemd relay`."""

import argparse
import signal
from pathlib import Path

from maxmemd.relay.relay import Relay
from maxmemd.rest.connection import DEFAULT_SOCKET
from maxmemd.rest.output import Printing
from maxmemd.systemd import notify, start_logging

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TEXT = (
    "Let device models in stub domains ask maxmemd for headroom through xenstore: each stub\n"
    "domain S has the nodes /local/domain/S/maxmem/request and .../reply. Runs in the foreground\n"
    "until SIGTERM, as root in dom0; needs xenstored and the daemon, and waits for both."
)
EXAMPLES = (
    "examples:\n"
    "  maxmemd relay                               like the service maxmemd-relay\n"
    "  maxmemd relay --socket /tmp/m.sock          with a daemon that listens there\n"
    "\n"
    "in a stub domain:\n"
    '  xenstore-write maxmem/request "a1 headroom 64"\n'
    "  xenstore-read maxmem/reply                  a1 granted 263424\n"
    "\n"
    "docs/stub-domains.md specifies the protocol."
)


def main(words: list[str]) -> int:
    """Run the relay until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="maxmemd relay",
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--socket", default=DEFAULT_SOCKET, help=f"default: {DEFAULT_SOCKET}")
    parser.add_argument(
        "--xenstore", type=Path, help="xenstored's socket or device; default: search for it"
    )
    with Printing():
        arguments = parser.parse_args(words)
    start_logging()
    boot = BOOT_ID.read_text(encoding="ascii").strip()
    running = Relay(
        arguments.socket,
        boot,
        xenstored=arguments.xenstore,
        on_ready=lambda: notify("READY=1"),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.stop())
    running.run()
    return 0
