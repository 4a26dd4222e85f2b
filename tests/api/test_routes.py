"""Every route does what it says, once, when it is asked rightly."""

from maxmemd.units import Memory
from tests.support.inside import Inside, problem

DM = "/v1/domains/db/components/device-model/roms"


def test_limit(api: Inside) -> None:
    """Mem-max sets what the guest may use, adds the slack, pushes it and writes static-max."""
    body = api.put("/v1/domains/web/limit", {"max_mem_kib": 600 * 1024})
    assert (body["revision"], body["limit_kib"]) == (2, 601 * 1024)
    assert body["max_pages"] == body["push"]["seen_pages"] == api.pages(1) == 601 * 256
    assert body["push"]["state"] == "applied"
    assert api.host.nodes.facts(1).static_max == Memory.of_mib(600)


def test_target(api: Inside) -> None:
    """Mem-set moves the balloon's target, and makes it the limit as well unless told not to."""
    body = api.put("/v1/domains/web/target", {"target_kib": 400 * 1024})
    assert (body["target_kib"], body["limit_kib"]) == (400 * 1024, 401 * 1024)
    body = api.put("/v1/domains/web/target", {"by_kib": -1024, "enforce": False})
    assert (body["target_kib"], body["limit_kib"]) == (399 * 1024, 401 * 1024)
    assert api.host.nodes.facts(1).target == Memory.of_mib(399)


def test_component(api: Inside) -> None:
    """A component is set, kept beside the operator's limit, increased, lowered, and dropped."""
    api.put("/v1/domains/db/limit", {"max_mem_kib": 600 * 1024})
    assert api.put(DM, {"amount_kib": 256})["limit_kib"] == 601 * 1024 + 256
    reply = api.ask("POST", DM + "/increase", {"by_kib": 64})
    assert (reply.status_code, reply.json()["limit_kib"]) == (200, 601 * 1024 + 320)
    reply = api.ask("POST", DM + "/increase", {"by_kib": -320})
    assert reply.json()["limit_kib"] == 601 * 1024
    reply = api.ask("DELETE", DM)
    assert (reply.status_code, reply.json()["revision"]) == (200, 6)
    assert api.pages(2) == 601 * 256


def test_an_increase_adds_to_what_is_there(api: Inside) -> None:
    """A component that does not exist counts as 0 and is made by its first increase."""
    before = api.get("/v1/domains/2")["limit_kib"]
    for _ in range(3):
        reply = api.ask("POST", DM + "/increase", {"by_kib": 256})
        assert reply.status_code == 200
    assert api.get("/v1/domains/2")["limit_kib"] == before + 768


def test_rollback(api: Inside) -> None:
    """Rolling back to a revision makes a new one with the old amounts and static-max."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 600 * 1024})
    api.put(DM.replace("db", "web"), {"amount_kib": 512})
    api.put("/v1/domains/web/limit", {"max_mem_kib": 900 * 1024})
    reply = api.ask("POST", "/v1/domains/web/rollback", {"revision": 2})
    assert reply.status_code == 200
    assert (reply.json()["revision"], reply.json()["limit_kib"]) == (5, 601 * 1024)
    assert api.get("/v1/domains/web")["recorded_static_max_kib"] == 600 * 1024
    assert api.host.nodes.facts(1).static_max == Memory.of_mib(600)


def test_rollback_to_what_never_was(api: Inside) -> None:
    """A revision that the history does not have cannot be rolled back to."""
    reply = api.ask("POST", "/v1/domains/web/rollback", {"revision": 77})
    assert problem(reply, "unknown-revision", 404)["revision"] == 77


def test_a_record_travels(api: Inside) -> None:
    """A record that was exported is imported for a domain that is not here, and exported alike."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 600 * 1024})
    api.put(DM.replace("db", "web"), {"amount_kib": 512})
    record = api.get("/v1/domains/web/record")
    told = {name: record[name] for name in ("format", "components", "static_max_kib")}
    elsewhere = "0123abcd-0000-4000-8000-00000000beef"
    body = api.put(f"/v1/records/{elsewhere}", told)
    assert (body["uuid"], body["revision"], body["domid"], body["push"]) == (
        elsewhere, 1, None, None,
    )  # fmt: skip
    again = api.get(f"/v1/domains/{elsewhere}/record")
    assert {name: again[name] for name in told} == told
    assert api.get(f"/v1/domains/{elsewhere}")["domid"] is None
    text = api.get(f"/v1/domains/{elsewhere}/explain")["text"]
    assert text.endswith("The domain is not on this host now.")


def test_a_record_that_was_read_can_be_put_back(api: Inside) -> None:
    """What GET gives PUT takes, unchanged: under the same UUID, and under no other."""
    for ref in (1, 2, 3):
        record = api.get(f"/v1/domains/{ref}/record")
        api.put(f"/v1/records/{record['uuid']}", record)
        again = api.get(f"/v1/domains/{ref}/record")
        assert again == {**record, "revision": record["revision"] + 1}
    reply = api.ask("PUT", f"/v1/records/{api.uuid(1)}", again)
    told = problem(reply, "body-invalid", 422)
    assert told["errors"][0]["field"] == "uuid"
    api.put(f"/v1/records/{api.uuid(3).upper()}", again)


def test_an_imported_record_is_in_force(api: Inside) -> None:
    """A record imported over one of a domain that lives here replaces it and is pushed."""
    parts = [{"owner": "operator", "name": "max-mem", "amount_kib": 640 * 1024}]
    body = api.put(f"/v1/records/{api.uuid(1)}", {"components": parts})
    assert (body["revision"], body["push"]["state"]) == (2, "applied")
    assert api.pages(1) == 641 * 256


def test_an_imported_record_waits_for_its_domain(api: Inside) -> None:
    """A record that came before its domain is the one that its domain then goes on with."""
    uuid = "0123abcd-0000-4000-8000-00000000beef"
    parts = [
        {"owner": "operator", "name": "max-mem", "amount_kib": 300 * 1024},
        {"owner": "device-model", "name": "roms", "amount_kib": 256},
    ]
    api.put(f"/v1/records/{uuid}", {"components": parts})
    domid = api.host.create("late", uuid=uuid, memory=Memory.of_mib(256))
    body = api.get("/v1/domains/late")
    assert (body["domid"], body["uuid"], body["limit_kib"]) == (domid, uuid, 301 * 1024 + 256)
    api.mailbox.thread.poll_soon()
    assert api.ask("POST", f"/v1/domains/{uuid}/components/device-model/roms/increase",
                   {"by_kib": 0}).status_code == 200  # fmt: skip
    assert api.pages(domid) == 301 * 256 + 64


def test_a_record_without_the_operators_limit(api: Inside) -> None:
    """A record that does not say what the guest may use is refused."""
    parts = [{"owner": "device-model", "name": "roms", "amount_kib": 256}]
    reply = api.ask("PUT", f"/v1/records/{api.uuid(1)}", {"components": parts})
    problem(reply, "component-required", 409)


def test_health(api: Inside) -> None:
    """Health names its parts; what is not yet known to be wrong is ready."""
    body = api.get("/v1/health")
    assert (body["live"], body["ready"]) == (True, True)
    assert body["parts"] == {
        "xen": "ok", "domains": "ok", "ledger": "ok", "integrity": "being checked", "arbiter": "ok",
        "loop": "ok", "events": "ok",
        "disk": "ok",
    }  # fmt: skip


def test_health_when_xen_cannot_be_asked(api: Inside) -> None:
    """Readiness is lost with Xen, said with 503 and a reason, and comes back with it."""
    api.host.fail("domains", 1)
    api.mailbox.thread.poll_soon()
    for _ in range(200):
        reply = api.ask("GET", "/v1/health")
        if reply.status_code == 503:
            break
    assert reply.status_code == 503
    assert reply.json()["parts"]["xen"].startswith("xen-not-permitted: cannot")
    problem(api.ask("GET", "/v1/domains"), "xen-not-permitted", 503)


def test_a_failed_push_is_202(api: Inside) -> None:
    """A decision that Xen does not take is durable, and says so with 202 and Xen's errno."""
    api.host.fail("set_max_mem", 22, times=1)
    reply = api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    assert reply.status_code == 202
    push = reply.json()["push"]
    assert (push["state"], push["errno"]) == ("failed", 22)
    assert push["error"].startswith("cannot set max mem on domain 1: EINVAL")
    assert "It is failed: cannot" in api.get("/v1/domains/web/explain")["text"]


def test_a_push_that_does_not_read_back(api: Inside) -> None:
    """Xen that holds another number than was written is 202 and mismatched."""
    api.host.lie(1, 8)
    reply = api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    push = reply.json()["push"]
    assert (reply.status_code, push["state"]) == (202, "mismatched")
    assert push["seen_pages"] == push["max_pages"] + 8
