"""The rig by hand: `python -m tests.dom0 build | shell | run 'xl list'`."""

import argparse
import sys

from tests.dom0.guests import configuration
from tests.dom0.image import build
from tests.dom0.rig import Rig

NAMES = ("pv1", "pv2", "pvh1", "pvh2", "hvm1", "hvm2")


def main() -> int:
    """Do one of the three."""
    parser = argparse.ArgumentParser(prog="python -m tests.dom0", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("build", help="build the image, if it is not there")
    verbs.add_parser("shell", help="boot, and run what is typed (the guests are in /etc/xen/rig)")
    verbs.add_parser("run", help="boot, run shell text, power off").add_argument("text")
    options = parser.parse_args()

    image = build()
    if options.verb == "build":
        print(image.disk)
        return 0
    with Rig(image) as rig:
        for name in NAMES:
            rig.put(f"/etc/xen/rig/{name}.cfg", configuration(name))
        if options.verb == "run":
            return _run(rig, options.text)
        return _shell(rig)


def _run(rig: Rig, text: str) -> int:
    done = rig.run(text, timeout=600)
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return 124 if done.rc is None else done.rc


def _shell(rig: Rig) -> int:
    while True:
        try:
            text = input("dom0# ")
        except (EOFError, KeyboardInterrupt):
            return 0
        if text.strip() and (rc := _run(rig, text)):
            print(f"exit {rc}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
