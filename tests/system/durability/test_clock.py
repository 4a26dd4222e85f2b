"""The host's clock jumps ten years under a daemon: nothing is lost, late or out of order."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from errno import EPERM
from pathlib import Path

import pytest

from maxmemd.units import Memory
from tests.support.figures import figure
from tests.support.http import Client
from tests.support.packages import found
from tests.support.stand import Stand
from tests.support.until import until

pytestmark = pytest.mark.needs("faketime")

DAYS = 3650
PART = "components/device-model/rom"


@contextmanager
def faked() -> Iterator[tuple[Stand, Path]]:
    """Give a daemon whose wall clock is shifted by what a file says; its other clocks are true."""
    with Stand(3, options=["--poll", "0.2"]) as stand:
        shift = stand.directory / "shift"
        shift.write_text("+0d\n")
        environment = {
            "LD_PRELOAD": found("faketime"),
            "FAKETIME_TIMESTAMP_FILE": shift,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            "NO_FAKE_STAT": 1,
        }
        stand.before = ["env", *(f"{name}={value}" for name, value in environment.items())]
        yield stand, shift


@pytest.mark.parametrize("sign", ["+", "-"])
def test_ten_years_under_the_daemon(sign: str) -> None:
    """Wishes, retries, polls and replays go on, and so does a daemon that is started then."""
    with faked() as (stand, shift):
        stand.start()
        path = f"/v1/domains/{stand.uuids[0]}"
        with stand.client() as client:
            assert client.ask("PUT", f"{path}/{PART}", {"amount_kib": 4096}, key="a").status == 200
            stand.host.call("fail", "set_max_mem", EPERM, domid=1)
            told = client.ask("PUT", f"{path}/{PART}", {"amount_kib": 8192}, key="b")
            assert (told.status, told["push"]["state"]) == (202, "failed")

            shift.write_text(f"{sign}{DAYS}d\n")
            stand.host.call("heal")
            retried_s = until("it is in force", stand.agrees)
            stand.host.call("foreign_write", 2, Memory.of_mib(1))
            healed_s = until("drift is undone", stand.agrees)
            assert client.ask("PUT", f"{path}/{PART}", {"amount_kib": 4096}, key="c").status == 200
            again = client.ask("PUT", f"{path}/{PART}", {"amount_kib": 4096}, key="a")
            assert again["replayed"]
            assert client.ask("GET", "/v1/health").status == 200
            _jumped(client, path, sign)
        assert stand.stop() == 0
        stand.start()
        assert stand.agrees()
        kept = stand.kept()
        assert [kept.keys[key].revision for key in "abc"] == [2, 3, 4]
    what = f"{sign}{DAYS} days under the daemon"
    figure("clock", f"{what}: retried, drift undone after", f"{retried_s:.1f} s, {healed_s:.1f} s")


def _jumped(client: Client, path: str, sign: str) -> None:
    """Demand that the history shows the jump, and keeps its order all the same."""
    lines = client.ask("GET", f"{path}/history")["entries"]
    revisions = [line["revision"] for line in lines if line["kind"] == "component-set"]
    assert revisions == sorted(revisions, reverse=True)
    first, last = (datetime.fromisoformat(lines[place]["at"]) for place in (-1, 0))
    days = (last - first).days
    assert abs(days) >= DAYS - 2
    assert (days > 0) == (sign == "+")
