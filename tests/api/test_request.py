"""What goes with a write: dry_run, If-Match, Idempotency-Key; and what does not."""

import pytest

from maxmemd.api.auth.peers import peer
from tests.support.inside import Inside, problem

LIMIT = "/v1/domains/web/limit"
ROMS = "/v1/domains/web/components/device-model/roms"
WRITES = [
    ("PUT", LIMIT, {"max_mem_kib": 700 * 1024}),
    ("PUT", "/v1/domains/web/target", {"target_kib": 300 * 1024}),
    ("PUT", "/v1/domains/web/components/device-model/new", {"amount_kib": 256}),
    ("DELETE", ROMS, None),
    ("POST", ROMS + "/increase", {"by_kib": 256}),
    ("POST", "/v1/domains/web/rollback", {"revision": 1}),
    (
        "PUT",
        "/v1/records/51a70000-0000-4000-8000-000000000001",
        {"components": [{"owner": "operator", "name": "max-mem", "amount_kib": 700 * 1024}]},
    ),
]
IDS = [f"{method} {path.rpartition('/')[2][:9]}" for method, path, _ in WRITES]
EVERY_WRITE = pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=IDS)


@EVERY_WRITE
def test_dry_run(api: Inside, method: str, path: str, body: object) -> None:
    """A dry run answers as the write would, and leaves no trace anywhere."""
    api.put(ROMS, {"amount_kib": 64})
    before = (api.get("/v1/domains"), api.get("/v1/domains/web/history"), api.pages(1))
    dry = api.ask(method, path + "?dry_run=true", body)
    assert (dry.status_code, dry.json()["dry_run"], dry.json()["push"]) == (200, True, None)
    assert before == (api.get("/v1/domains"), api.get("/v1/domains/web/history"), api.pages(1))
    real = api.ask(method, path + "?dry_run=false", body).json()
    ours = ("uuid", "domid", "revision", "limit_kib", "max_pages", "unlimited", "target_kib")
    assert [real[name] for name in ours] == [dry.json()[name] for name in ours]
    assert real["dry_run"] is False


def test_a_dry_run_is_refused_as_the_write_would_be(api: Inside) -> None:
    """A dry run of what is refused is refused, and is not in the history."""
    reply = api.ask("PUT", LIMIT + "?dry_run=true", {"max_mem_kib": 4})
    problem(reply, "limit-below-target", 409)
    kinds = [one["kind"] for one in api.get("/v1/domains/web/history")["entries"]]
    assert "refused" not in kinds


@EVERY_WRITE
def test_if_match(api: Inside, method: str, path: str, body: object) -> None:
    """A write that looked at another revision is refused with both numbers; at this one not."""
    api.put(ROMS, {"amount_kib": 64})
    stale = problem(api.ask(method, path, body, headers={"If-Match": '"1"'}), "stale-revision", 412)
    assert (stale["revision"], stale["if_match"]) == (2, 1)
    reply = api.ask(method, path, body, headers={"If-Match": '"2"'})
    assert (reply.status_code, reply.headers["etag"]) == (200, '"3"')
    problem(api.ask(method, path, body, headers={"If-Match": '"99"'}), "stale-revision", 412)


def test_zeros_in_front_of_a_revision(api: Inside) -> None:
    """They count for nothing."""
    api.put(ROMS, {"amount_kib": 64}, If_Match='"001"')
    body = {"amount_kib": 68}
    problem(api.ask("PUT", ROMS, body, headers={"If-Match": '"001"'}), "stale-revision", 412)


@pytest.mark.parametrize(
    "value", ["1", "*", 'W/"1"', '"x"', '"-1"', '""', '"1', '"1", "2"', '"' + "9" * 99 + '"']
)
def test_an_if_match_that_is_no_revision(api: Inside, value: str) -> None:
    """A condition that cannot be read is never passed over."""
    reply = api.ask("PUT", LIMIT, {"max_mem_kib": 700 * 1024}, headers={"If-Match": value})
    assert problem(reply, "header-invalid", 400)["header"] == "If-Match"


@EVERY_WRITE
def test_an_idempotency_key_decides_once(api: Inside, method: str, path: str, body: object) -> None:
    """The same key for the same wish gets the first decision, from the next daemon too."""
    api.put(ROMS, {"amount_kib": 64})
    headers = {"Idempotency-Key": "k-1"}
    first = api.ask(method, path, body, headers=headers).json()
    assert (first["revision"], first["replayed"]) == (3, False)
    again = api.ask(method, path, body, headers=headers).json()
    assert (again["revision"], again["limit_kib"], again["replayed"]) == (
        3, first["limit_kib"], True,
    )  # fmt: skip
    api.restart()
    reply = api.ask(method, path, body, headers=headers)
    assert (reply.status_code, reply.headers["etag"]) == (200, '"3"')
    assert reply.json()["replayed"] is True
    assert api.get("/v1/domains/web")["revision"] == 3


def test_a_key_for_another_wish(api: Inside) -> None:
    """A key that stands for one wish is refused for another: amount, reason, kind or component."""
    headers = {"Idempotency-Key": "k-1"}
    api.put(ROMS, {"amount_kib": 64}, Idempotency_Key="k-1")
    others = [
        ("PUT", ROMS, {"amount_kib": 65}),
        ("PUT", ROMS, {"amount_kib": 64, "reason": "why not"}),
        ("POST", ROMS + "/increase", {"by_kib": 64}),
        ("PUT", ROMS.replace("roms", "vga"), {"amount_kib": 64}),
    ]
    for method, path, body in others:
        reply = api.ask(method, path, body, headers=headers)
        problem(reply, "idempotency-key-reused", 409)
    assert api.get("/v1/domains/web")["revision"] == 2


@pytest.mark.parametrize("ref", ["2", "db", "51a70000-0000-4000-8000-000000000002"])
def test_a_key_for_another_domain(api: Inside, ref: str) -> None:
    """The same wish for another domain is another wish."""
    headers = {"Idempotency-Key": "k-1"}
    api.put(LIMIT, {"max_mem_kib": 800 * 1024}, Idempotency_Key="k-1")
    reply = api.ask("PUT", f"/v1/domains/{ref}/limit", {"max_mem_kib": 800 * 1024}, headers=headers)
    problem(reply, "idempotency-key-reused", 409)
    assert api.get("/v1/domains/db")["revision"] == 1


@pytest.mark.parametrize("ref", ["1", "51A70000-0000-4000-8000-000000000001"])
def test_a_key_under_another_of_its_names(api: Inside, ref: str) -> None:
    """The same domain by another of its references is the same wish."""
    api.put(LIMIT, {"max_mem_kib": 800 * 1024}, Idempotency_Key="k-1")
    path = f"/v1/domains/{ref}/limit"
    assert api.put(path, {"max_mem_kib": 800 * 1024}, Idempotency_Key="k-1")["replayed"] is True


def test_a_key_of_a_domain_that_is_gone(api: Inside) -> None:
    """A retry after the domain went says that its wish was granted then, and where it is now."""
    body = {"max_mem_kib": 800 * 1024}
    path = f"/v1/domains/{api.uuid(1)}/limit"
    api.put(path, body, Idempotency_Key="k-1")
    api.host.destroy(1)
    api.get("/v1/domains")
    again = api.put(path, body, Idempotency_Key="k-1")
    assert (again["replayed"], again["revision"], again["push"]) == (True, 2, None)


def test_a_key_belongs_to_its_user(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user's key of the same text is another key."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    api.put(ROMS, {"amount_kib": 64}, Idempotency_Key="k-1")
    mine = api.ask(
        "PUT", ROMS, {"amount_kib": 65}, headers={"Idempotency-Key": "k-1"}, peer=peer(9, 1000, 9)
    )
    assert (mine.status_code, mine.json()["replayed"]) == (200, False)


def test_a_refusal_does_not_use_a_key_up(api: Inside) -> None:
    """A key whose wish was refused may be tried again when things have changed."""
    headers = {"Idempotency-Key": "k-1"}
    body = {"max_mem_kib": 400 * 1024}
    problem(api.ask("PUT", LIMIT, body, headers=headers), "limit-below-target", 409)
    api.put("/v1/domains/web/target", {"target_kib": 300 * 1024})
    reply = api.ask("PUT", LIMIT, body, headers=headers)
    assert (reply.status_code, reply.json()["replayed"]) == (200, False)


@pytest.mark.parametrize("value", ["", "a b", "k" * 129, "\x7f", "é".encode().decode("latin-1")])
def test_a_key_that_is_none(api: Inside, value: str) -> None:
    """A key is 1 to 128 printable ASCII characters without blanks."""
    raw = [(b"idempotency-key", value.encode("latin-1"))]
    reply = api.wait(api.client.request("PUT", LIMIT, json={"max_mem_kib": 700_000}, headers=raw))
    assert problem(reply, "header-invalid", 400)["header"] == "Idempotency-Key"


def test_two_of_one_header(api: Inside) -> None:
    """A header that is given twice with two values is not half obeyed."""
    for name, one, two in [
        (b"if-match", b'"9"', b'"1"'),
        (b"idempotency-key", b"a", b"b"),
    ]:
        raw = [(name, one), (name, two)]
        request = api.client.request("PUT", LIMIT, json={"max_mem_kib": 700_000}, headers=raw)
        problem(api.wait(request), "header-invalid", 400)


@pytest.mark.parametrize(
    "query",
    ["force=true", "dryrun=true", "dry_run=1", "dry_run", "dry_run=", "dry_run=True",
     "dry_run=true&dry_run=false", "x", "dry_run=true&limit=3", "%64ry_run=yes", "=", "a=%00"],
)  # fmt: skip
def test_a_query_that_is_not_understood(api: Inside, query: str) -> None:
    """An unknown parameter, or a value that is none, is refused, so that a slip never acts."""
    reply = api.ask("PUT", f"{LIMIT}?{query}", {"max_mem_kib": 700 * 1024})
    problem(reply, "query-invalid", 400)
    assert api.get("/v1/domains/web")["revision"] == 1


@pytest.mark.parametrize("path", ["/v1/host", "/v1/domains", "/v1/health", "/metrics",
                                  "/v1/domains/web", "/v1/domains/web/record"])  # fmt: skip
def test_a_read_takes_no_query(api: Inside, path: str) -> None:
    """A parameter that a route does not have is refused by reads, too."""
    problem(api.ask("GET", path + "?verbose=1"), "query-invalid", 400)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=", "limit=1.0", "limit=%C2%B2",
     "before=0", "limit=" + "0" * 19 + "1" + "9" * 5000, "before=" + "9" * 5000],
)  # fmt: skip
def test_a_page_that_cannot_be(api: Inside, query: str) -> None:
    """A page's size is 1 to 500, its start a positive number; anything else is refused."""
    reply = api.ask("GET", f"/v1/domains/web/history?{query}")
    problem(reply, "query-invalid", 400)
