"""What `maxmemd` starts: the relay by itself, so that it stays small; all else in daemon.py."""

import gc
import sys


def main() -> int:
    """Run the program; return its exit status."""
    if sys.argv[1:2] == ["relay"]:
        from maxmemd.relay import main as relay

        return relay.main(sys.argv[1:])
    if sys.argv[1:2] == ["serve"]:
        gc.disable()  # starting leaves no garbage worth a tenth of its time; daemon.py enables it
    from maxmemd import daemon

    return daemon.main()


if __name__ == "__main__":
    sys.exit(main())
