"""`python -m tests.support.good_client SOCKET` writes at a steady pace until its input ends.

It then prints the seconds that each answer took, as JSON.
"""

import json
import select
import sys
import time
from pathlib import Path

from tests.support.http import UnixConnection

PACE_S = 0.004
AT_LEAST = 10
"""Answers, however slow the machine: a figure is of some."""
ROMS = "/v1/domains/web/components/device-model/roms"


def main() -> None:
    """Ask until standard input ends."""
    connection = UnixConnection(Path(sys.argv[1]))
    took: list[float] = []
    while not select.select([sys.stdin], [], [], PACE_S)[0] or len(took) < AT_LEAST:
        began_s = time.perf_counter()
        status, body = connection.ask("PUT", ROMS, {"amount_kib": len(took) % 512})
        took.append(time.perf_counter() - began_s)
        assert status == 200, body
    print(json.dumps(took))


if __name__ == "__main__":
    main()
