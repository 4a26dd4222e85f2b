"""What is logged of domains: a line with fields, for what no client requested."""

import logging
from errno import EPERM
from typing import Any

import pytest

from maxmemd.policy.wishes import SetMaxMem
from tests.support.seat import Seat, mib


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Give all that is logged."""
    caplog.set_level(logging.INFO, "maxmemd.domains")
    return caplog


def fields(said: pytest.LogCaptureFixture) -> list[tuple[int, dict[str, Any]]]:
    """Return the level and the fields of each line, and clear them."""
    found = [(one.levelno, vars(one)["fields"]) for one in said.records]
    said.clear()
    return found


@pytest.mark.parametrize("drift", ["restore", "adopt", "alert"])
def test_the_life_of_a_domain(drift: str, said: pytest.LogCaptureFixture) -> None:
    """Taken over, drifted, gone: each is one line, whatever is done about it; a wish is none."""
    seat = Seat(drift=drift)
    seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    uuid = seat.uuid(1)
    kinds = [(level, told["kind"], told["uuid"]) for level, told in fields(said)]
    assert (logging.INFO, "instance-began", uuid) in kinds
    assert (logging.INFO, "adopted", uuid) in kinds
    seat.grant(1, SetMaxMem(mib(96)))
    assert fields(said) == []
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    seat.poll()
    told, *after = fields(said)
    expected = {"seen_pages": 80 * 256, "wanted_pages": 97 * 256, "mode": drift}
    assert told == (logging.WARNING, {"uuid": uuid, "kind": "drift", **expected})
    assert [one["kind"] for _, one in after] == ["recovered"] * (drift == "restore")
    seat.host.destroy(1)
    seat.poll()
    assert [told["kind"] for _, told in fields(said)] == ["instance-ended"]


def test_a_push_that_fails(said: pytest.LogCaptureFixture) -> None:
    """It is logged once, with Xen's answer, however often it is retried; and its end."""
    seat = Seat()
    seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    fields(said)
    seat.host.fail("set_max_mem", EPERM)
    seat.grant(1, SetMaxMem(mib(96)))
    for _ in range(5):
        seat.poll(after_s=70.0)
    assert said.messages[0].startswith(f"{seat.uuid(1)}: push-failed: domid 1, errno 1, error ")
    ((level, told),) = fields(said)
    assert (level, told["kind"], told["domid"], told["errno"]) == (
        logging.ERROR, "push-failed", 1, EPERM,
    )  # fmt: skip
    seat.host.heal()
    seat.poll(after_s=70.0)
    assert [told["kind"] for _, told in fields(said)] == ["recovered"]
