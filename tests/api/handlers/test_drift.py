"""Drift over the API: who may set a mode, what it is answered with, and where a fight is told."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from maxmemd.api.auth.peers import peer
from maxmemd.arbiter.actor import Arbiter
from maxmemd.config.settings import Config
from maxmemd.units import Memory
from tests.support.inside import Inside, problem

PATH = "/v1/domains/web/drift"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Inside]:
    """Give a daemon that polls when it is told."""
    with Inside(tmp_path, config=Config(poll_s=3600, drift_of={"d*": "alert"})) as inside:
        yield inside


def fight(api: Inside) -> None:
    """Let another program write until there is a fight."""
    for number in range(5):
        api.host.foreign_write(1, Memory.of_mib(2000 + number))
        done = Event()

        def step(arbiter: Arbiter, done: Event = done) -> None:
            arbiter.poll()
            done.set()

        api.mailbox.thread.call_soon(step)
        assert done.wait(30)
        api.get("/v1/host")  # after a turn others may know what the poll found


def test_a_mode_is_set_shown_and_taken_back(api: Inside) -> None:
    """PUT, GET and DELETE have one reply; domain, explanation and history tell of it."""
    found = api.get(PATH)
    assert (found["mode"], found["source"], found["configured_key"]) == ("restore", "host", None)
    told = api.put(PATH, {"mode": "adopt", "for_s": 60, "reason": "trial"})
    assert (told["mode"], told["source"], told["reason"], told["domid"]) == (
        "adopt", "set", "trial", 1,
    )  # fmt: skip
    assert 58 <= told["left_s"] <= 60
    assert told["by"]["uid"] == 0
    assert api.get("/v1/domains/web")["drift"]["until"] is not None
    assert "is taken for max-mem until 20" in api.get("/v1/domains/web/explain")["text"]
    reply = api.ask("DELETE", PATH)
    assert (reply.status_code, reply.json()["source"]) == (200, "host")
    kinds = [each["kind"] for each in api.get("/v1/domains/web/history")["entries"]]
    assert kinds[:2] == ["drift-mode-cleared", "drift-mode-set"]
    assert "drift" not in api.get("/v1/domains/web/explain")["text"]


def test_a_key_of_the_configuration_is_told(api: Inside) -> None:
    """Where it is from, and in the explanation."""
    found = api.get("/v1/domains/db/drift")
    assert (found["mode"], found["source"], found["configured_key"]) == ("alert", "domain", "d*")
    assert 'by drift_of "d*"' in api.get("/v1/domains/db/explain")["text"]


def test_a_mode_outlives_a_restart(api: Inside) -> None:
    """It is in the ledger's file, with who set it."""
    before = api.put(PATH, {"mode": "alert", "for_s": 3600})
    api.restart()
    after = api.get(PATH)
    assert after["left_s"] <= before["left_s"]
    same = ("mode", "source", "by", "set_at", "reason")
    assert [after[name] for name in same] == [before[name] for name in same]


def test_the_same_key_is_the_same_request(api: Inside) -> None:
    """A client that repeats its request makes one entry; a stale If-Match is refused."""
    for _ in range(2):
        api.put(PATH, {"mode": "adopt"}, Idempotency_Key="a")
    kinds = [each["kind"] for each in api.get("/v1/domains/web/history")["entries"]]
    assert kinds.count("drift-mode-set") == 1
    reply = api.ask("PUT", PATH, {"mode": "alert"}, headers={"If-Match": '"99"'})
    problem(reply, "stale-revision", 412)


@pytest.mark.parametrize(
    "body",
    [{}, {"mode": "forbid"}, {"mode": "adopt", "for_s": 0}, {"mode": "adopt", "for_s": 4e8},
     {"mode": "adopt", "for_s": "1h"}, {"mode": "adopt", "until": "x"}],
)  # fmt: skip
def test_what_is_no_request(api: Inside, body: object) -> None:
    """A mode there is, for at least a second, and no more than ten years."""
    problem(api.ask("PUT", PATH, body), "body-invalid", 422)


def test_who_may(api: Inside) -> None:
    """Whoever reads may look, and only who decides may set."""
    observer = peer(9, 1500, 1500, (), Config().roles)
    assert api.ask("GET", PATH, peer=observer).status_code == 200
    problem(api.ask("PUT", PATH, {"mode": "adopt"}, peer=observer), "not-allowed", 403)
    problem(api.ask("DELETE", PATH, peer=observer), "not-allowed", 403)


def test_a_fight_is_told_everywhere(api: Inside) -> None:
    """Health stays ready and has a finding; the domain, its explanation and the metrics tell it."""
    fight(api)
    body = api.get("/v1/health")
    assert body["ready"]
    [finding] = body["findings"]
    assert (finding["kind"], finding["name"], finding["domid"]) == ("fight", "web", 1)
    assert finding["configuration"] == 'drift_of = { "d*" = "alert", "web" = "adopt" }'
    view = api.get("/v1/domains/web")
    assert (view["drift"]["fight"]["writes"], view["push"]["state"]) == (5, "pending")
    assert "again and again" in api.get("/v1/domains/web/explain")["text"]
    metrics = api.ask("GET", "/metrics").text
    assert "maxmemd_fights_total 1.0" in metrics
    assert 'maxmemd_fight{name="web",uuid="' + view["uuid"] + '"} 1.0' in metrics
    assert 'maxmemd_fight{name="db"' in metrics
