"""What is allowed and large, beside a daemon that has the memory of its unit and no more."""

import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from maxmemd.config.settings import Config
from tests.support.figures import figure
from tests.support.http import Client
from tests.support.memory_cgroup import (
    MemoryCgroup,
    can_bound_memory,
    memory_cgroup,
    memory_of_unit,
)
from tests.support.outside import Outside, as_user
from tests.support.siege import status

pytestmark = pytest.mark.skipif(
    not can_bound_memory() or os.geteuid() != 0, reason="needs root and memory cgroups"
)

OBSERVER = 41_500
COMPONENTS = 63
"""As many as a record may have, beside max-mem."""
ENTRIES = 500
"""A page of the most that can be asked for."""
ASKED = 60
FAR_TOO_MANY = 1200
"""More records than one client may have of domains that are not here."""
PAGE = f"GET /v1/domains/web/history?limit={ENTRIES} HTTP/1.1\r\nHost: maxmemd\r\n\r\n".encode()


class Confined(Outside):
    """The daemon in a cgroup; its socket is open to every user."""

    def __init__(self, directory: Path, cgroup: MemoryCgroup) -> None:
        self.cgroup = cgroup
        super().__init__(directory)
        self.socket.chmod(0o666)

    def command(self) -> Sequence[str]:
        """Return the command that is run."""
        return [*self.cgroup.prefix, *super().command()]


@pytest.fixture
def confined() -> Iterator[Confined]:
    """Give such a daemon; afterwards demand that it lives, and that nothing was killed."""
    with (
        TemporaryDirectory(prefix="maxmemd-memory-", dir="/var/tmp") as folder,
        memory_cgroup(memory_of_unit()) as cgroup,
    ):
        Path(folder).chmod(0o755)
        with Confined(Path(folder), cgroup) as daemon:
            yield daemon
            assert daemon.ask("GET", "/v1/health")[0] == 200
            assert cgroup.kills == 0


def large_record(daemon: Confined) -> dict[str, Any]:
    """Return web's record with as many components as a record may have."""
    _, record = daemon.ask("GET", "/v1/domains/web/record")
    named: list[object] = [
        {"owner": "device-model", "name": f"rom-{n:060}", "amount_kib": 4}
        for n in range(COMPONENTS - len(record["components"]))
    ]
    return {**record, "components": [*record["components"], *named]}


def test_pages_of_large_entries(confined: Confined) -> None:
    """One observer asks for sixty of the largest pages at once, three times, and leaves early."""
    record = large_record(confined)
    with Client(confined.socket) as client:
        for number in range(ENTRIES):
            record["components"][-1]["amount_kib"] = 4 * (1 + number % 2)
            assert client.ask("PUT", f"/v1/records/{record['uuid']}", record).status == 200

    def asked() -> list[int]:
        statuses = []
        for _ in range(3):
            connections = [confined.raw() for _ in range(ASKED)]
            for connection in connections:
                connection.sendall(PAGE)
            statuses += [status(one.recv(65536)) or 0 for one in connections[::2]]
            for connection in connections:
                connection.close()
        return statuses

    found = Counter(as_user(OBSERVER, [OBSERVER], asked))
    figure("memory", f"{ASKED} large pages", f"{dict(found)}, {confined.cgroup.most_mib:.0f} MiB")
    assert found[200] > 0
    assert set(found) <= {200, 429, 503, 0}


def test_records_of_domains_that_are_not_here(confined: Confined) -> None:
    """One client imports large ones: no more than it may are kept, and the daemon starts again."""
    record, found = large_record(confined), Counter[int]()
    with Client(confined.socket) as client:
        for _ in range(FAR_TOO_MANY):
            record["uuid"] = str(uuid.uuid4())
            answer = client.ask("PUT", f"/v1/records/{record['uuid']}", record)
            found[answer.status] += 1
    assert answer["code"] == "too-many-records"
    assert found == {200: Config().keep_gone_per_client, 409: found[409]}
    assert confined.stop() == 0
    confined.start()
    kib = confined.rss_kib()
    figure("memory", "large records away", f"{found[200]}, {kib // 1024} MiB after a start")


def test_the_cgroup_kills_what_uses_more() -> None:
    """These tests would see it."""
    with memory_cgroup(32 * 2**20) as cgroup:
        words = [sys.executable, "-c", "print(len(b'x' * 2**26))"]
        done = subprocess.run([*cgroup.prefix, *words], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL
        assert cgroup.kills == 1
