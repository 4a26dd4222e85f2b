"""Which domain is meant: domids are used again, names are shared, and some have no UUID."""

from urllib.parse import quote

import pytest

from maxmemd.policy.facts import DOM0_UUID
from maxmemd.units import Memory
from tests.support.inside import Inside, problem

MIB_64 = Memory.of_mib(64)


@pytest.mark.parametrize(
    "name", ["a b%2F/c", "ünïcode", "100%", "?dry_run=true", "#1", "a+b", "..", "-1", "1.5", "%00"]
)
def test_a_name_of_any_letters(api: Inside, name: str) -> None:
    """A name is found as it is, with blanks, per cent, slashes, dots and questions."""
    if name != "a b%2F/c":
        api.host.create(name, memory=MIB_64)
    ref = quote(name, safe="")
    path = f"/v1/domains/{'%2E%2E' if name == '..' else ref}"
    if name == "..":
        return  # no client sends it: it is resolved away before
    assert api.get(path)["name"] == name
    body = api.put(f"{path}/limit", {"max_mem_kib": 700 * 1024})
    assert (body["name"], body["push"]["state"]) == (name, "applied")
    assert api.get(f"{path}/history")["entries"][0]["kind"] == "mem-max"


def test_names_that_only_look_alike(api: Inside) -> None:
    """Two spellings of one letter are two names, and none is changed to the other."""
    names = ["caf\u00e9", "cafe\u0301"]
    domids = [api.host.create(name, memory=MIB_64) for name in names]
    for name, domid in zip(names, domids, strict=True):
        found = api.get(f"/v1/domains/{quote(name, safe='')}")
        assert (found["name"], found["domid"]) == (name, domid)


@pytest.mark.parametrize("ref", ["%00", "a%0Ab", "%7F", "x" * 4097, ""])
def test_what_is_no_reference(api: Inside, ref: str) -> None:
    """A reference that is empty, too long or not printable is refused before anybody is asked."""
    told = problem(api.ask("GET", f"/v1/domains/{ref}"), "path-invalid", 422)
    assert told["detail"] == (
        "cannot use the path: ref: write a domid, a UUID or a name: 1 to 4096 characters,"
        " no control characters"
    )


@pytest.mark.parametrize("name", ["x" * 256, "x" * 4000, "\N{SNOWMAN}" * 1300, "a b/" * 900, "-x"])
def test_a_long_or_odd_name_is_found_whole(api: Inside, name: str) -> None:
    """As long as xenstore has them, percent-encoded; one letter less is another name."""
    domid = api.host.create(name, memory=MIB_64)
    path = f"/v1/domains/{quote(name, safe='')}"
    assert (api.get(path)["domid"], api.get(path)["name"]) == (domid, name)
    assert api.put(f"{path}/limit", {"max_mem_kib": 700 * 1024})["domid"] == domid
    less = api.ask("GET", f"/v1/domains/{quote(name[:-1], safe='')}")
    problem(less, "unknown-domain", 404)


@pytest.mark.parametrize(
    "ref", ["7", "99999999999999999999", "-1", "nobody", "%C2%B2", "01a", "WEB",
            "51a70000-0000-4000-8000-0000000000ff", "%FF"],
)  # fmt: skip
def test_no_such_domain(api: Inside, ref: str) -> None:
    """A reference to nothing is unknown-domain for reads and for writes."""
    problem(api.ask("GET", f"/v1/domains/{ref}"), "unknown-domain", 404)
    reply = api.ask("PUT", f"/v1/domains/{ref}/limit", {"max_mem_kib": 4})
    problem(reply, "unknown-domain", 404)


def test_an_ambiguous_name(api: Inside) -> None:
    """A name that two domains carry is refused with both domids; the domid still says which."""
    domid = api.host.create("web", memory=MIB_64)
    for method, path, body in [
        ("GET", "/v1/domains/web", None),
        ("PUT", "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024}),
        ("GET", "/v1/domains/web/history", None),
    ]:
        api.get("/v1/domains")
        told = problem(api.ask(method, path, body), "ambiguous-domain", 409)
        assert told["domids"] == f"1, {domid}"
    assert api.put(f"/v1/domains/{domid}/limit", {"max_mem_kib": 700 * 1024})["domid"] == domid


def test_a_dead_domid(api: Inside) -> None:
    """Its domid is unknown; its record is found by UUID and by name, and decided on."""
    uuid = api.uuid(1)
    api.put("/v1/domains/1/limit", {"max_mem_kib": 700 * 1024})
    api.host.destroy(1)
    problem(api.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 4}), "unknown-domain", 404)
    problem(api.ask("GET", "/v1/domains/1"), "unknown-domain", 404)
    gone = api.get(f"/v1/domains/{uuid}")
    assert (gone["domid"], gone["revision"], gone["push"]) == (None, 2, None)
    for ref in (uuid, "web"):
        reply = api.put(f"/v1/domains/{ref}/limit", {"max_mem_kib": 4, "reason": ref})
        assert (reply["domid"], reply["name"], reply["push"]) == (None, "web", None)
        assert reply["for_next_start"]
        assert api.get(f"/v1/domains/{ref}/history")["entries"][0]["kind"] == "mem-max"
        assert api.get(f"/v1/domains/{ref}/explain")["text"].endswith(
            "It is for the next start. The domain is not on this host now."
        )
        problem(api.ask("PUT", f"/v1/domains/{ref}/target", {"target_kib": 4}), "domain-gone", 410)


def test_a_dying_domain(api: Inside) -> None:
    """Nothing is decided for a domain that is dying, nor pushed to it."""
    dying = api.host.destroying(1)
    while next(dying).name != "dead":
        pass
    for method, path, body in [
        ("PUT", "limit", {"max_mem_kib": 700 * 1024}),
        ("PUT", "target", {"target_kib": 700 * 1024}),
        ("POST", "headroom", {"pages": 1}),
        ("GET", "", None),
        ("GET", "explain", None),
        ("GET", "history", None),
        ("GET", "pushes", None),
        ("GET", "record", None),
    ]:
        reply = api.ask(method, f"/v1/domains/1/{path}".rstrip("/"), body)
        assert "domain 1 is dying" in problem(reply, "domain-gone", 410)["detail"]
    assert api.pages(1) == 131328
    assert api.get("/v1/domains/web")["xen"]["dying"]
    assert api.get("/v1/domains/web/explain")["text"].endswith("Domain 1 is dying.")
    reply = api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    assert problem(reply, "domain-gone", 410)["domid"] == 1
    assert api.pages(1) == 131328


def test_a_reused_domid(api: Inside) -> None:
    """A reference by a domid that was used again means the newcomer: its UUID and its record."""
    old = api.uuid(1)
    api.put("/v1/domains/1/limit", {"max_mem_kib": 700 * 1024})
    api.host.destroy(1)
    api.host.create("new", memory=MIB_64, domid=1)
    body = api.put("/v1/domains/1/limit", {"max_mem_kib": 100 * 1024})
    assert (body["name"], body["revision"], body["limit_kib"]) == ("new", 2, 101 * 1024)
    assert body["uuid"] == api.uuid(1) != old
    assert api.get(f"/v1/domains/{old}")["limit_kib"] == 701 * 1024
    kinds = [one["kind"] for one in api.get("/v1/domains/1/history")["entries"]]
    assert kinds == ["mem-max", "adopted", "instance-began"]


def test_a_reused_domid_is_no_match(api: Inside) -> None:
    """A condition on the dead domain's revision does not hold for the newcomer's by chance."""
    api.put("/v1/domains/1/limit", {"max_mem_kib": 700 * 1024})
    api.put("/v1/domains/1/limit", {"max_mem_kib": 701 * 1024})
    api.host.destroy(1)
    api.host.create("new", memory=MIB_64, domid=1)
    reply = api.ask(
        "PUT", "/v1/domains/1/limit", {"max_mem_kib": 100 * 1024}, headers={"If-Match": '"3"'}
    )
    assert problem(reply, "stale-revision", 412)["revision"] == 1


def test_a_domid_beyond_a_local_migration(api: Inside) -> None:
    """Both halves of a local migration have one record; either reference changes both."""
    moving = api.host.migrating(1)
    while True:
        step = next(moving)
        if step.name == "suspended":
            break
    domids = {
        one["domid"] for one in api.get("/v1/domains")["domains"] if one["uuid"] == api.uuid(1)
    }
    assert len(domids) == 2
    before = api.get("/v1/domains/1")["revision"]
    api.put("/v1/domains/1/limit", {"max_mem_kib": 900 * 1024})
    for domid in domids:
        assert api.get(f"/v1/domains/{domid}")["revision"] == before + 1


def test_an_unmanaged_domain(api: Inside) -> None:
    """A domain without a UUID is listed and told, but nothing is decided or recorded for it."""
    domid = api.host.create("bare", memory=MIB_64, uuid=DOM0_UUID)
    before = api.pages(domid)
    listed = {one["domid"]: one for one in api.get("/v1/domains")["domains"]}
    assert listed[domid]["managed"] is False
    assert listed[domid]["limit_kib"] is None
    assert listed[0]["managed"] is True
    told = api.get(f"/v1/domains/{domid}")
    assert (told["domid"], told["managed"], told["uuid"]) == (domid, False, DOM0_UUID)
    assert told["xen"]["max_pages"] == before
    for path in ("explain", "history", "pushes", "record"):
        problem(api.ask("GET", f"/v1/domains/{domid}/{path}"), "unknown-domain", 404)
    reply = api.ask("PUT", f"/v1/domains/{domid}/limit", {"max_mem_kib": 700 * 1024})
    assert "no UUID" in problem(reply, "unknown-domain", 404)["detail"]
    assert api.pages(domid) == before


def test_the_nil_uuid_is_dom0(api: Inside) -> None:
    """The nil UUID means dom0, whatever else carries it."""
    api.host.create("bare", memory=MIB_64, uuid=DOM0_UUID)
    assert api.get(f"/v1/domains/{DOM0_UUID}")["domid"] == 0


def test_dom0_has_a_floor(api: Inside) -> None:
    """dom0's limit and target are refused below its floor, with the numbers, even by force."""
    body = {"max_mem_kib": 64 * 1024, "force": True}
    told = problem(api.ask("PUT", "/v1/domains/0/limit", body), "limit-below-dom0-floor", 409)
    assert (told["max_mem_kib"], told["floor_kib"]) == (64 * 1024, 128 * 1024)
    reply = api.ask("PUT", "/v1/domains/0/target", {"target_kib": 64 * 1024})
    problem(reply, "target-below-dom0-floor", 409)


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "status"),
    [
        ("PUT", "components/nobody/x", {"amount_kib": 4}, "unknown-owner", 404),
        ("POST", "components/nobody/x/increase", {"by_kib": 4}, "unknown-owner", 404),
        ("DELETE", "components/device-model/x", None, "unknown-component", 404),
        ("DELETE", "components/nobody/x", None, "unknown-component", 404),
        ("DELETE", "components/operator/max-mem", None, "component-required", 409),
        ("DELETE", "components/toolstack/slack", None, "component-fixed", 409),
        ("PUT", "components/toolstack/slack", {"amount_kib": 4}, "component-fixed", 409),
        ("POST", "components/toolstack/slack/increase", {"by_kib": 4}, "component-fixed", 409),
        ("PUT", "components/operator/max-mem", {"amount_kib": 4}, "limit-below-target", 409),
        ("PUT", "limit", {"max_mem_kib": 400 * 1024}, "limit-below-target", 409),
        ("PUT", "target", {"target_kib": 2048 * 1024}, "target-above-static-max", 409),
        ("PUT", "components/Device-Model/x", {"amount_kib": 4}, "path-invalid", 422),
        ("PUT", "components/device-model/_x", {"amount_kib": 4}, "path-invalid", 422),
        ("PUT", "components/device-model/x%0A", {"amount_kib": 4}, "path-invalid", 422),
        ("PUT", f"components/device-model/{'x' * 65}", {"amount_kib": 4}, "path-invalid", 422),
        ("PUT", "components/device-model/%2E%2E%2Flimit", {"amount_kib": 4}, "path-invalid", 422),
    ],
)
def test_refused_by_the_owners_rules(  # noqa: PLR0917 - a row of the table
    api: Inside, method: str, path: str, body: object, code: str, status: int
) -> None:
    """What an owner, a component or an amount may not be is refused, and nothing changes."""
    problem(api.ask(method, f"/v1/domains/web/{path}", body), code, status)
    assert api.get("/v1/domains/web")["revision"] == 1


def test_a_target_below_video_ram(api: Inside) -> None:
    """A target that video RAM alone is larger than is refused with both."""
    reply = api.ask("PUT", "/v1/domains/db/target", {"target_kib": 4096})
    assert problem(reply, "target-below-videoram", 409)["videoram_kib"] == 8192


def test_a_target_without_nodes(api: Inside) -> None:
    """A domain whose xenstore nodes were never written has no target to move, nor a ceiling."""
    building = api.host.creating("raw", memory=MIB_64)
    while next(building).name != "limited":
        pass
    reply = api.ask("PUT", "/v1/domains/raw/target", {"by_kib": 4})
    problem(reply, "target-unknown", 409)
    reply = api.ask("PUT", "/v1/domains/raw/target", {"target_kib": 4})
    problem(reply, "static-max-unknown", 409)


def test_xenstore_is_away(api: Inside) -> None:
    """A decision that needs xenstore is refused while it is away; one that does not goes on."""
    api.get("/v1/domains")
    api.host.set_xenstore_away(away=True)
    reply = api.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 700 * 1024})
    assert problem(reply, "xenstore-failed", 503)["errno"] == 111
    reply = api.ask("PUT", "/v1/domains/1/components/device-model/roms", {"amount_kib": 256})
    assert reply.status_code == 200
    assert api.get("/v1/domains/1")["name"] == "web"
    api.host.set_xenstore_away(away=False)
    api.put("/v1/domains/1/limit", {"max_mem_kib": 700 * 1024})


def test_a_renamed_domain(api: Inside) -> None:
    """A domain is found by its new name at once, although xl rename causes no event."""
    assert api.get("/v1/domains/web")["domid"] == 1
    api.host.rename(1, "shop")
    assert api.get("/v1/domains/shop")["domid"] == 1
    problem(api.ask("GET", "/v1/domains/web"), "unknown-domain", 404)


def test_a_name_that_went_to_another(api: Inside) -> None:
    """A name that one domain gave up and another took means the other, at once."""
    assert api.get("/v1/domains/web")["domid"] == 1
    api.host.rename(1, "shop")
    domid = api.host.create("web", memory=MIB_64)
    body = api.put("/v1/domains/web/limit", {"max_mem_kib": 100 * 1024})
    assert (body["domid"], body["name"]) == (domid, "web")
    assert api.pages(1) == 131328


def test_a_name_that_was_swapped(api: Inside) -> None:
    """Two domains that changed their names are not taken for each other."""
    api.get("/v1/domains")
    api.host.rename(1, "tmp")
    api.host.rename(2, "web")
    api.host.rename(1, "db")
    assert api.get("/v1/domains/web")["domid"] == 2
    assert api.put("/v1/domains/db/limit", {"max_mem_kib": 700 * 1024})["domid"] == 1
