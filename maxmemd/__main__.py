"""What `maxmemd` starts: the relay by itself, so that it stays small; all else in daemon.py."""

import gc
import sys
from collections.abc import Callable


def main() -> int:
    """Run the program; return its exit status."""
    if sys.argv[1:2] == ["relay"]:
        from maxmemd.relay import main as relay

        return relay.main(sys.argv[1:])
    on_started = rest_collector() if sys.argv[1:2] == ["serve"] else None
    from maxmemd import daemon

    return daemon.main(on_started=on_started)


def rest_collector() -> Callable[[], None]:
    """Switch the cyclic collector off; return what switches it on, to be called after the start.

    Imports and start-up make many objects and next to no garbage: collecting meanwhile was a tenth
    of a start. What exists when the daemon has started stays until it ends, so it is taken out of
    the collector's sight, and the thresholds are high: walking it was most of the p99.
    """
    gc.disable()

    def on_started() -> None:
        gc.freeze()
        gc.enable()
        gc.set_threshold(50_000, 20, 1000)

    return on_started


if __name__ == "__main__":
    sys.exit(main())
