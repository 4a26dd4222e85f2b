"""rollback and component-*: what is asked of the daemon, and what is printed."""

# ruff: noqa: ISC004 - rows of a table, not lists of lines
import json
from typing import Any

import pytest

from tests.support.bodies import BELOW, decision, problem, push
from tests.support.stub import Stub

from .conftest import Ctl

WEB = "/v1/domains/web"
ROMS = f"{WEB}/components/device-model/roms"
DONE = "web (domain 3): the limit is 513 MiB (131328 pages), revision 8\n"
DRY = "web (domain 3): the limit would be 513 MiB (131328 pages), revision 8; nothing was changed\n"
GRANTED = (200, decision())
STALE = problem(412, "stale-revision", "cannot do it: the domain is at revision 9, not 8")

CASES: dict[str, tuple[str, dict[str, Any], list[str], str, str, int]] = {
    "rollback": (
        "rollback web 7 --reason over", {f"POST {WEB}/rollback": GRANTED},
        [f'POST {WEB}/rollback {{"revision": 7, "reason": "over"}}'], DONE, "", 0,
    ),
    "forced": (
        "rollback --force web 7", {f"POST {WEB}/rollback": GRANTED},
        [f'POST {WEB}/rollback {{"revision": 7, "force": true}}'], DONE, "", 0,
    ),
    "set": (
        "component-set web device-model/roms 256k", {f"PUT {ROMS}": GRANTED},
        [f'PUT {ROMS} {{"amount_kib": 256}}'], DONE, "", 0,
    ),
    "the end of options": (
        "component-set -- web device-model/roms 1", {f"PUT {ROMS}": GRANTED},
        [f'PUT {ROMS} {{"amount_kib": 1024}}'], DONE, "", 0,
    ),
    "increase": (
        "component-increase web device-model/roms +1", {f"POST {ROMS}/increase": GRANTED},
        [f'POST {ROMS}/increase {{"by_kib": 1024}}'], DONE, "", 0,
    ),
    "decrease, dry": (
        "component-increase web device-model/roms -256k --dry-run",
        {f"POST {ROMS}/increase?dry_run=true": (200, decision(dry_run=True))},
        [f'POST {ROMS}/increase?dry_run=true {{"by_kib": -256}}'], DRY, "", 0,
    ),
    "remove": (
        "component-remove web device-model/roms", {f"DELETE {ROMS}": GRANTED},
        [f"DELETE {ROMS}"], DONE, "", 0,
    ),
    "refused": (
        "rollback web 7", {f"POST {WEB}/rollback": BELOW},
        [f'POST {WEB}/rollback {{"revision": 7}}'], "",
        "maxmemctl: cannot roll web back to revision 7: the balloon target is 102400 KiB, 92160"
        " KiB more (lower the target first, or force)\nmaxmemctl: lower the target first with"
        " maxmemctl mem-set web, or use --force\n", 1,
    ),
    "stale": (
        "component-increase web device-model/roms -1 --if-match 8",
        {f"POST {ROMS}/increase": STALE}, [f'POST {ROMS}/increase {{"by_kib": -1024}}'], "",
        "maxmemctl: cannot take 1 MiB from device-model/roms of web: the domain is at revision 9,"
        " not 8\nmaxmemctl: see what changed with maxmemctl history web\n", 1,
    ),
    "not in force": (
        "component-remove web device-model/roms",
        {f"DELETE {ROMS}": (202, decision(push=push("pending")))}, [f"DELETE {ROMS}"], DONE,
        "maxmemctl: the limit of web is recorded as revision 8, 513 MiB, but not in force: it is"
        " pending\nmaxmemctl: maxmemd keeps trying: maxmemctl show web\n", 1,
    ),
    "no component": (
        "component-remove web roms", {}, [], "",
        "maxmemctl: cannot read 'roms' as a component: write OWNER/NAME, as in"
        " device-model/roms\n", 2,
    ),
    "no size": (
        "component-set web a/b c", {}, [], "",
        "maxmemctl: cannot read 'c' as a size: 512 and 512m are MiB, 524288k is KiB, 2g is GiB\n",
        2,
    ),
    "no revision": (
        "rollback web last", {}, [], "",
        "maxmemctl: cannot read 'last' as a revision: a number is needed\n", 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_change(case: str, ctl: Ctl, stub: Stub) -> None:
    """Each call asks, prints and exits as the table says."""
    words, stub.replies, seen, out, err, status = CASES[case]
    assert ctl(*words.split()) == (status, out, err)
    assert stub.seen == seen


def test_errors_of_a_body_are_all_told(ctl: Ctl, stub: Stub) -> None:
    """Each field with what is wrong with it, once."""
    errors = [{"field": "a", "message": "too long"}, {"field": "b", "message": "too short"}]
    detail = "cannot use the body: a: too long"
    stub.replies = {f"PUT {ROMS}": problem(422, "body-invalid", detail, errors=errors)}
    err = ctl("component-set", "web", "device-model/roms", "1", "--reason", "x" * 300)[2]
    assert err.endswith(": a: too long; b: too short\n")


def test_json_of_a_change(ctl: Ctl, stub: Stub) -> None:
    """--json prints the API's reply."""
    stub.replies = {f"DELETE {ROMS}": GRANTED}
    assert json.loads(ctl("component-rem", "web", "device-model/roms", "--json")[1]) == decision()


def test_no_domain_without_a_name(ctl: Ctl, stub: Stub) -> None:
    """The empty string names no domain."""
    assert ctl("show", "") == (2, "", "maxmemctl: cannot find a domain without a name\n")
    assert stub.seen == []
