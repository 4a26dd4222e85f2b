"""`python -m tests.system.abuse.writer SOCKET NUMBER WRITES GUESTS`: one of many that write.

At its end it prints, as JSON, what was confirmed to it, as [uuid, revision, limit_kib, added],
`added` being what it added to the component that all clients share; and how many were refused.
"""

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.http import UnixConnection

SHARED = "components/device-model/shared"
MIB = 1024
Write = tuple[str, str, object, int]
"""Method, path below the domain, body, and what it adds to the shared component."""


def writes(number: int, count: int) -> Iterator[Write]:
    """Give wishes of every kind, of which some must be refused; the same for the same number."""
    draw = random.Random(number)
    own = f"components/device-model/own-{number}"
    for _ in range(count):
        kib = draw.randrange(1, 512)
        mib = draw.randrange(1, 256)
        kinds: list[Write] = [
            ("POST", SHARED + "/increase", {"by_kib": kib}, kib),
            ("POST", SHARED + "/increase", {"by_kib": -kib}, -kib),
            ("PUT", own, {"amount_kib": kib}, 0),
            ("DELETE", own, None, 0),
            ("POST", own + "/increase", {"by_kib": kib}, 0),
            ("PUT", "limit", {"max_mem_kib": mib * MIB + kib, "force": kib < 100}, 0),
            ("PUT", "target", {"target_kib": mib * MIB, "enforce": kib < 400}, 0),
            ("PUT", "target", {"by_kib": kib - 256}, 0),
        ]
        yield draw.choices(kinds, weights=[35, 10, 12, 6, 8, 12, 12, 5])[0]


def main() -> None:
    """Write, and print what was confirmed."""
    path, number, count, guests = Path(sys.argv[1]), *map(int, sys.argv[2:])
    draw = random.Random(-number)
    connection = UnixConnection(path)
    refused, confirmed = 0, []
    for index, (method, where, body, added) in enumerate(writes(number, count)):
        ref = f"guest-{draw.randrange(1, guests + 1):04}"
        headers = {"Idempotency_Key": f"{number}-{index}"} if draw.random() < 0.3 else {}
        if draw.random() < 0.05:
            headers["If_Match"] = f'"{draw.randrange(1, 40)}"'
        status, answer = connection.ask(method, f"/v1/domains/{ref}/{where}", body, **headers)
        assert status in (200, 404, 409, 412), answer
        if status != 200:
            refused += 1
            continue
        assert answer["push"]["state"] in ("applied", "over-limit"), answer
        confirmed.append([answer["uuid"], answer["revision"], answer["limit_kib"], added])
        if headers.get("Idempotency_Key") and draw.random() < 0.5:
            again = connection.ask(method, f"/v1/domains/{ref}/{where}", body, **headers)[1]
            assert (again["replayed"], again["revision"]) == (True, answer["revision"]), again
    print(json.dumps({"confirmed": confirmed, "refused": refused}))


if __name__ == "__main__":
    main()
