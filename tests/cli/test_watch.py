"""maxmemctl watch: lines for eyes, JSON for programs, and no end but the user's."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maxmemd.rest import connection, events
from tests.support.bodies import UUID
from tests.support.outside import Outside
from tests.support.process import ROOT as TREE
from tests.support.soak import SOAK
from tests.support.stub import Stub
from tests.support.until import until

from .conftest import Ctl
from .events import DECIDED, block, event

ROUNDS = 60 if SOAK else 3
END = (409, {"code": "event-id-foreign", "detail": "cannot resume after 1: it is of another"})


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again at once."""
    monkeypatch.setattr(events, "RECONNECT_S", 0.0)


def test_it_goes_on_where_the_stream_ended(stub: Stub, ctl: Ctl) -> None:
    """Connected again, it asks for what came after the last id, and prints each event once."""
    more = event("push-applied", id="12-8-89abcdef", max_pages=256, seen_pages=256)
    stub.replies["GET /v1/domains"] = (200, {"domains": [{"uuid": UUID, "name": "web"}]})
    stub.replies["GET /v1/events?kind=decision%2Cpush-applied"] = [
        (200, b"retry: 1000\nid: 11-7-00000000\n\n" + block(DECIDED)),
        (503, {"code": "ledger-busy", "detail": "cannot read the events: busy"}),
        (200, b": still here\n\n" + block(more)),
        END,
    ]
    status, out, err = ctl("watch", "--kind", "decision,push-applied", "--since", "11-6-00000000")
    assert status == 1
    assert [line[22:41].strip() for line in out.splitlines()] == ["mem-max", "push-applied"]
    assert "web" in out
    asked = [each.get("last-event-id") for each in stub.headers if "event" in each["accept"]]
    assert asked == ["11-6-00000000", "12-7-89abcdef", "12-7-89abcdef", "12-8-89abcdef"]
    assert err.count("is away") == 3
    assert "cannot watch: it is of another" in err
    assert "--since 0 is everything" in err


def test_json_is_one_object_a_line(stub: Stub, ctl: Ctl) -> None:
    """For programs each event is as the API has it."""
    stub.replies["GET /v1/events"] = [(200, block(DECIDED) * 2), END]
    _, out, _ = ctl("watch", "--json")
    printed, _, problem = out.partition("\n{\n")
    assert [json.loads(line) for line in printed.splitlines()] == [DECIDED, DECIDED]
    assert '"event-id-foreign"' in problem


def test_one_domain_is_meant_by_its_uuid(stub: Stub, ctl: Ctl) -> None:
    """A name is looked up once: by the next connection it may be another domain's."""
    stub.replies["GET /v1/domains/web"] = (200, {"uuid": UUID})
    stub.replies[f"GET /v1/events?domain={UUID}"] = END
    assert ctl("watch", "web")[0] == 1
    assert f"GET /v1/events?domain={UUID}" in stub.seen
    status, _, err = ctl("watch", "nobody")
    assert (status, "cannot watch nobody: no such domain" in err) == (1, True)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((200, b""), "it ended the stream"),
        ((503, {"code": "ledger-busy", "detail": "cannot read the events: busy"}), "busy"),
        ((400, b"<html>"), "cannot read the reply"),
        ((400, b"[]"), "cannot read the reply"),
    ],
)
def test_no_stream_at_first(stub: Stub, ctl: Ctl, reply: Any, said: str) -> None:
    """Where there is no stream to begin with it ends, and says why."""
    stub.replies["GET /v1/events"] = [reply, END]
    status, _, err = ctl("watch")
    assert status == 1
    assert said in err


def test_without_a_listener_it_ends_at_once(ctl: Ctl) -> None:
    """A socket or an address without a listener ends it at once."""
    for words in (["--socket", "/nowhere"], ["--url", "http://127.0.0.1:1"], ["--url", "ftp://x"]):
        status, _, err = ctl(*words, "watch")
        assert status == 1
        assert "cannot" in err


def test_names_are_not_worth_an_end(stub: Stub, ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the daemon cannot be asked for names, a domain is called by its UUID."""

    def away(*_: object) -> None:
        raise connection.Unreachable("away")

    stub.replies["GET /v1/events"] = [(200, block(DECIDED)), END]
    monkeypatch.setattr(connection.DaemonConnection, "ask", away)
    _, out, _ = ctl("watch")
    assert UUID in out


@pytest.mark.parametrize(("no_colour", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals(
    stub: Stub, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, no_colour: str, coloured: bool
) -> None:
    """Colour is only on a terminal, and not where NO_COLOR is set."""
    monkeypatch.setenv("NO_COLOR", no_colour)
    words = [event("drift"), event("instance-began")]
    stub.replies["GET /v1/events"] = [(200, b"".join(map(block, words))), END]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, _ = ctl("watch")
    assert (f"\x1b[31m{'drift':<19}\x1b[0m" in out) is coloured
    assert "\x1b" not in out.splitlines()[1]
    stub.replies["GET /v1/events"] = [(200, block(words[0])), END]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert "\x1b" not in ctl("watch")[1]


@pytest.mark.soak
def test_a_watch_outlives_the_daemon(tmp_path: Path) -> None:
    """The daemon is killed and started again meanwhile: every event is printed, each once."""
    with Outside(tmp_path) as daemon:
        out, err = (tmp_path / "out").open("wb+"), (tmp_path / "err").open("wb+")
        command = [sys.executable, "-m", "maxmemd.cli", "--socket", str(daemon.socket)]
        watching = subprocess.Popen(
            [*command, "watch", "--json", "--since", "0"],
            cwd=TREE, stdout=out, stderr=err, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        try:
            printed = tmp_path / "out"
            until("it listens", lambda: printed.stat().st_size > 0)
            for round_ in range(ROUNDS):
                max_mem_kib = 614400 + 4096 * round_
                body = {"max_mem_kib": max_mem_kib}
                daemon.ask("PUT", "/v1/domains/web/limit", body)
                if round_ == 1:
                    until("it is printed", lambda: '"limit_kib":619520' in printed.read_text())
                daemon.kill()
                daemon.start()
            daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 1052672})
            until("the last is printed", lambda: '"max_pages":263424,"seen' in printed.read_text())
        finally:
            watching.send_signal(signal.SIGINT)
            status = watching.wait(20)
            out.close()
            err.close()
        assert status == 130
        events = [json.loads(line) for line in printed.read_text().splitlines()]
    places = [sum(map(int, event["id"].split("-")[:2])) for event in events]
    assert places == list(range(1, len(places) + 1))
    limits = [event["limit_kib"] for event in events if event["kind"] == "mem-max"]
    assert limits == [615424 + 4096 * round_ for round_ in range(ROUNDS)] + [1053696]
    assert "is away" in (tmp_path / "err").read_text()
