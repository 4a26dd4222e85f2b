"""maxmemd-pusher on a simulated host in another process: `--host SOCKET` and its own options."""

import sys
from pathlib import Path

from maxmemd.pusher import __main__ as program
from maxmemd.pusher.local import LocalPusher
from tests.support.simhost import RemoteHypervisor, RemoteXenstore


def main() -> int:
    """Run the program; the last two arguments are the host's."""
    *arguments, name, host = sys.argv[1:]
    assert name == "--host"
    path = Path(host)
    return program.main(
        arguments, lambda: LocalPusher(RemoteHypervisor(path), RemoteXenstore(path))
    )
