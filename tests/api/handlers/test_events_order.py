"""Events are in the order of doing: a cause before its effect, in the stream, history and log."""

import json
import logging
from collections.abc import Callable
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest

from maxmemd.api.event_format import event_of
from maxmemd.config.settings import Config
from maxmemd.ledger.follow import START, LedgerFollower
from maxmemd.units import Memory
from tests.support.inside import Inside
from tests.support.until import until

WITHIN_S = 20.0
DOMAIN = "/v1/domains/1"


def told(api: Inside) -> list[dict[str, Any]]:
    """Return all events as the stream has them, from the beginning."""
    happened = LedgerFollower(api.config.database).after(START, 10_000)
    blocks = [event_of(each).block.decode() for each in happened]
    return [json.loads(block.partition("data: ")[2]) for block in blocks]


def wait_for(api: Inside, kind: str, times: int = 1) -> None:
    """Wait until a kind of event has come so often."""
    seen = lambda: sum(event["kind"] == kind for event in told(api)) >= times  # noqa: E731
    until(f"{kind} has come", seen, within_s=WITHIN_S)


def foreign_write(api: Inside) -> None:
    """Write a maximum as another program does, twice; it is put back."""
    for times in (1, 2):
        api.host.foreign_write(1, Memory.of_mib(64))
        wait_for(api, "recovered", times)


def decisions(api: Inside) -> None:
    """Decide a limit, a component and a rollback, one after the other."""
    for mib in (600, 700, 800):
        api.put(f"{DOMAIN}/limit", {"max_mem_kib": mib * 1024})
    api.put(f"{DOMAIN}/components/device-model/roms", {"amount_kib": 256})
    api.ask("POST", f"{DOMAIN}/rollback", {"revision": 2})
    wait_for(api, "push-applied", 5)


def build(api: Inside) -> None:
    """Create a guest, and destroy it."""
    api.host.create("new", memory=Memory.of_mib(64), maxmem=Memory.of_mib(128))
    wait_for(api, "instance-began", 5)
    api.host.destroy(4)
    wait_for(api, "instance-ended")


def failing_push(api: Inside) -> None:
    """Have Xen refuse some pushes, then no more."""
    api.host.fail("set_max_mem", EPERM, times=2)
    api.ask("PUT", f"{DOMAIN}/limit", {"max_mem_kib": 600 * 1024})
    wait_for(api, "recovered")


FLOWS: dict[str, Callable[[Inside], None]] = {
    "a foreign write": foreign_write, "decisions": decisions, "a build": build,
    "a push that fails": failing_push,
}  # fmt: skip


@pytest.mark.parametrize("flow", FLOWS)
def test_a_cause_comes_before_its_effect(
    flow: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The law holds for what each flow tells: in the stream, in each history, and in the log."""
    caplog.set_level(logging.INFO, logger="maxmemd.domains")
    with Inside(tmp_path, config=Config(poll_s=0.1)) as api:
        FLOWS[flow](api)
        demand_order(told(api))
    logged = [getattr(line, "fields") for line in caplog.records if hasattr(line, "fields")]  # noqa: B009
    demand_order_of_log([line for line in logged if "kind" in line])


def demand_order(events: list[dict[str, Any]]) -> None:
    """Demand of each domain: began, decided, pushed; drift, pushed, recovered; in time's order."""
    for uuid in {event["uuid"] for event in events}:
        own = [event for event in events if event["uuid"] == uuid]
        assert [each["at"] for each in own] == sorted(each["at"] for each in own)
        decided, trouble = 0, ""
        for at, event in enumerate(own):
            kind = event["kind"]
            if event["limit_kib"] is not None:
                assert event["revision"] == decided + 1
                decided = event["revision"]
            if kind == "drift":
                trouble = "drift"
            elif kind in ("push-failed", "push-mismatched"):
                trouble = kind.removeprefix("push-")
            elif kind == "recovered":
                assert own[at - 1]["kind"] == "push-applied", [each["kind"] for each in own]
                assert event["wish"]["from"] == trouble
            if kind.startswith("push-"):
                assert event["revision"] == decided
                assert own[0]["kind"] == "instance-began"


def demand_order_of_log(lines: list[dict[str, Any]]) -> None:
    """Demand that no line says that a trouble is over before one says that there is one."""
    for at, line in enumerate(lines):
        if line["kind"] == "recovered":
            before = [one["kind"] for one in lines[:at] if one["uuid"] == line["uuid"]]
            assert "drift" in before or "push-failed" in before
