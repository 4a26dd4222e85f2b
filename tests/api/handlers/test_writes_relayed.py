"""Headroom that a stub domain asks for: passed on by root, pinned to one instance, and named so."""

from typing import Any

import pytest

from maxmemd.api.auth.peers import peer
from maxmemd.config.settings import Config
from maxmemd.units import Memory
from tests.support.inside import Inside, problem

STUB, PAGES = 7, 1024


def path(ref: object) -> str:
    """Return the route about a domain."""
    return f"/v1/domains/{ref}/relayed-headroom"


def body(api: Inside, domid: int = 1, pages: int = PAGES) -> dict[str, object]:
    """Return what the relay sends for the stub domain of a domain."""
    return {"pages": pages, "uuid": api.uuid(domid), "stub_domid": STUB, "reason": "request a1"}


def newest(api: Inside, ref: object = 1) -> dict[str, Any]:
    """Return the newest line of a history."""
    line: dict[str, Any] = api.get(f"/v1/domains/{ref}/history")["entries"][0]
    return line


def test_the_history_names_the_stub_domain(api: Inside) -> None:
    """The device model's component grows, and the history names the stub domain."""
    held = api.host.machine.domain(1).tot_pages
    reply = api.ask("POST", path(1), body(api))
    assert reply.status_code == 200, reply.text
    assert api.pages(1) == held + PAGES + 16
    line = newest(api)
    assert line["kind"] == "headroom"
    assert line["by"] == {"name": "stub domain 7", "uid": None, "gid": None, "pid": 4711}
    assert line["wish"] == {"pages": PAGES, "reason": "request a1"}
    lines = api.get("/v1/domains/1/explain")["components"]
    share = next(line for line in lines if line["owner"] == "device-model")
    assert (share["kind"], share["by"]["name"]) == ("headroom", "stub domain 7")


def test_one_key_counts_once(api: Inside) -> None:
    """However often it is asked with one key; and what is meant by a key stays the same."""
    headers = {"Idempotency-Key": "boot:uuid:7:a1"}
    first = api.ask("POST", path(1), body(api), headers=headers).json()
    api.host.machine.populate(1, 32)
    again = api.ask("POST", path(1), body(api), headers=headers).json()
    assert (first["replayed"], again["replayed"]) == (False, True)
    assert first["revision"] == again["revision"] == newest(api)["revision"]
    other = api.ask("POST", path(1), body(api, pages=PAGES + 1), headers=headers)
    problem(other, "idempotency-key-reused", 409)


def test_a_domid_that_is_another_domain_by_now(api: Inside) -> None:
    """Nothing of the next domain of that domid is touched, not even its history."""
    asked = body(api)
    api.host.destroy(1)
    api.host.create("another", memory=Memory.of_mib(64), domid=1)
    before = api.pages(1)
    told = problem(api.ask("POST", path(1), asked), "not-your-domain", 403)
    assert told["own_domid"] == 1
    assert api.pages(1) == before
    assert {line["kind"] for line in api.get("/v1/domains/1/history")["entries"]} == {
        "instance-began",
        "adopted",
    }


def test_either_instance_of_a_local_migration(api: Inside) -> None:
    """Each has a stub domain of its own: the domid tells which, and both are the domain."""
    api.get("/v1/domains")
    uuid = api.uuid(1)
    for step in api.host.migrating(1):
        if step.name == "suspended":
            break
    newcomer = max(fact.domid for fact in api.host.machine.domains() if fact.uuid == uuid)
    assert newcomer != 1
    for domid in (newcomer, 1):
        reply = api.ask("POST", path(domid), body(api, domid, 4096))
        assert (reply.status_code, reply.json()["uuid"]) == (200, uuid), reply.text
    facts = api.host.machine
    for domid in (newcomer, 1):
        room = facts.domain(domid).max_pages - facts.domain(domid).tot_pages
        assert room >= 4096


@pytest.mark.parametrize("ref", ["web", "51a70000-0000-4000-8000-000000000001", "1234567890"])
def test_a_domid_is_needed(api: Inside, ref: str) -> None:
    """A name may be anybody's, and a UUID means the elder of two instances."""
    told = problem(api.ask("POST", path(ref), body(api)), "path-invalid", 422)
    assert told["parameter"] == "ref"


@pytest.mark.parametrize(
    "wrong",
    [
        {"uuid": "51A70000-0000-4000-8000-000000000001"},
        {"uuid": ""},
        {"stub_domid": 0},
        {"stub_domid": 0x7FF0},
        {"stub_domid": True},
        {"pages": 0},
        {"pages": 2**32},
        {"actor": "root"},
    ],
)
def test_the_body_is_checked(api: Inside, wrong: dict[str, object]) -> None:
    """Every field is there, and of its form."""
    problem(api.ask("POST", path(1), {**body(api), **wrong}), "body-invalid", 422)


def test_the_owners_cap_holds(api: Inside) -> None:
    """A stub domain's share has the cap that every device model's has."""
    told = problem(api.ask("POST", path(1), body(api, pages=2**20)), "above-owner-cap", 409)
    assert told["owner"] == "device-model"
    api.put(
        "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024}
    )  # with which the refusal is written
    lines = api.get("/v1/domains/web/history")["entries"]
    refused = next(line for line in lines if line["kind"] == "refused")
    assert refused["by"]["name"] == "stub domain 7"


def test_no_other_role_speaks_for_a_stub_domain(api: Inside) -> None:
    """Neither a toolstack nor a device model in dom0 can put another's name into the history."""
    roles = Config(toolstacks=(), device_model_base=300_000).roles
    for caller in (peer(9, 1000, 1000), peer(9, 300_001, 999, (), roles)):
        problem(api.ask("POST", path(1), body(api), peer=caller), "not-allowed", 403)
