"""The routes that only read: the host, domains, explain, history, pushes."""

from typing import Any

import pytest

from tests.support.inside import Inside


def test_host(api: Inside) -> None:
    """The host tells its memory, that it is simulated, and how limits are kept."""
    host = api.get("/v1/host")
    assert (host["total_kib"], host["domains"]) == (16384 * 1024, 4)
    assert (host["simulated"], host["drift"], host["floor"]) == (True, "restore", "target")


def test_domains_are_listed_by_rising_domid(api: Inside) -> None:
    """All domains are listed, dom0 too, and what lived here before comes last."""
    api.host.destroy(2)
    domains = api.get("/v1/domains")["domains"]
    assert [one["domid"] for one in domains] == [0, 1, 3, None]
    assert domains[0]["name"] == "Domain-0"
    assert domains[3]["uuid"].endswith("002")
    assert domains[3]["push"] is domains[3]["xen"] is None


@pytest.mark.parametrize("ref", ["1", "web", "51a70000-0000-4000-8000-000000000001"])
def test_a_domain_is_found_by_domid_uuid_or_name(api: Inside, ref: str) -> None:
    """One domain has the same reply under every reference, with its revision as ETag."""
    reply = api.ask("GET", f"/v1/domains/{ref}")
    body = reply.json()
    assert (body["domid"], body["name"], body["managed"]) == (1, "web", True)
    assert reply.headers["etag"] == f'"{body["revision"]}"' == '"1"'
    assert body["xen"]["max_pages"] == body["max_pages"] == api.pages(1)


def test_a_uuid_is_read_in_either_case(api: Inside) -> None:
    """A UUID in capitals means the same domain."""
    assert api.get(f"/v1/domains/{api.uuid(2).upper()}")["domid"] == 2


def test_explain(api: Inside) -> None:
    """Explain names every term of the sum, who set it, when and why, and says it in words."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024, "reason": "more traffic"})
    body = api.get("/v1/domains/web/explain")
    limit, slack = body["components"]
    assert (limit["owner"], limit["name"], limit["amount_kib"]) == ("operator", "max-mem", 716800)
    assert (limit["kind"], limit["reason"]) == ("mem-max", "more traffic")
    assert limit["by"] == {"name": "root", "uid": 0, "gid": 0, "pid": 4711}
    assert (slack["kind"], slack["by"]["name"], slack["revision"]) == ("adopted", "maxmemd", 1)
    terms = "operator/max-mem 716800 + toolstack/slack 1024 = 717824 KiB, 179456 pages"
    assert body["text"] == f"The limit of web is {terms}. Xen holds it."


def test_explain_shows_the_recorded_static_max(api: Inside) -> None:
    """A static-max that mem-max recorded is not forgotten when mem-set lowers the limit."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    api.put("/v1/domains/web/target", {"target_kib": 300 * 1024})
    body = api.get("/v1/domains/web/explain")
    assert body["recorded_static_max_kib"] == body["static_max_kib"] == 700 * 1024
    assert body["limit_kib"] == 301 * 1024


def test_explain_of_a_guest_that_must_shrink(api: Inside) -> None:
    """A limit below what the guest holds is in force, and the words say what that means."""
    body = api.put("/v1/domains/web/limit", {"max_mem_kib": 4096, "force": True})
    assert body["push"]["state"] == "over-limit"
    text = api.get("/v1/domains/web/explain")["text"]
    assert "Xen holds it, which is below what the guest holds." in text


def test_history(api: Inside) -> None:
    """The history has every revision, refusals too, newest first, with who and what."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4})
    api.put("/v1/domains/web/limit", {"max_mem_kib": 800 * 1024, "reason": "again"})
    entries = api.get("/v1/domains/web/history")["entries"]
    kinds = [one["kind"] for one in entries]
    assert kinds == ["mem-max", "refused", "mem-max", "adopted", "instance-began"]
    assert entries[0]["wish"] == {"max_mem_kib": 800 * 1024, "reason": "again"}
    assert entries[0]["by"]["uid"] == 0
    assert entries[1]["wish"]["code"] == "limit-below-target"
    assert entries[1]["components"] is None
    assert [one["revision"] for one in entries] == [3, 2, 2, 1, 0]
    assert len({one["hash"] for one in entries}) == 5


def test_history_in_pages(api: Inside) -> None:
    """A page names the next one; the last one names none, and no entry comes twice."""
    for kib in range(700_000, 700_007):
        api.put("/v1/domains/web/limit", {"max_mem_kib": kib})
    seqs: list[int] = []
    page = api.get("/v1/domains/web/history?limit=4")
    while True:
        assert 1 <= len(page["entries"]) <= 4
        seqs += [one["seq"] for one in page["entries"]]
        if page["next_before"] is None:
            break
        page = api.get(f"/v1/domains/web/history?limit=4&before={page['next_before']}")
    assert len(seqs) == 9
    assert seqs == sorted(set(seqs), reverse=True)


def test_pages_of_large_entries_are_bounded_in_bytes(api: Inside) -> None:
    """However many are asked for: what has no room is on the next page, and none is lost."""
    own = [{"owner": "operator", "name": f"share-{n:02}", "amount_kib": n} for n in range(60)]
    limit = [{"owner": "operator", "name": "max-mem", "amount_kib": 600 * 1024}]
    uuid, wishes = api.uuid(1), 80
    for n in range(wishes):
        own[0]["amount_kib"] = n + 1
        api.put(f"/v1/records/{uuid}", {"components": limit + own})
    entries: list[dict[str, Any]] = []
    before, pages = "", 0
    while True:
        reply = api.ask("GET", f"/v1/domains/web/history?limit=500{before}")
        assert len(reply.content) < 512 * 1024 + 16 * 1024
        body = reply.json()
        entries += body["entries"]
        pages += 1
        if body["next_before"] is None:
            break
        assert len(reply.content) > 512 * 1024
        before = f"&before={body['next_before']}"
    assert pages > 1
    assert [one["kind"] for one in entries].count("import") == wishes
    seqs = [one["seq"] for one in entries]
    assert seqs == sorted(set(seqs), reverse=True)


def test_pushes(api: Inside) -> None:
    """Every push is listed with its read-back, newest first, up to the limit."""
    for mib in (700, 800):
        api.put("/v1/domains/web/limit", {"max_mem_kib": mib * 1024})
    api.mailbox.thread.poll_soon()
    api.put("/v1/domains/web/limit", {"max_mem_kib": 900 * 1024})
    pushes = api.get("/v1/domains/web/pushes")["pushes"]
    assert {801 * 256, 701 * 256} <= {one["max_pages"] for one in pushes}
    assert all(one["seen_pages"] == one["max_pages"] for one in pushes)
    first = api.get("/v1/domains/web/pushes?limit=1")
    rest = api.get(f"/v1/domains/web/pushes?before={first['next_before']}")
    assert rest["next_before"] is None
    whole = first["pushes"] + rest["pushes"]  # some may have been written meanwhile
    assert whole[-len(pushes) :] == pushes
