"""maxmemctl watch: lines for eyes, JSON for programs, and no end but the user's."""

# ruff: noqa: ISC004, E501 - rows of a table, as they are printed

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maxmemd.cli.watch import line_of
from maxmemd.policy.kinds import EntryKind, PushKind
from maxmemd.rest import connection, events
from maxmemd.wire import replies
from tests.support.bodies import UUID
from tests.support.outside import Outside
from tests.support.process import ROOT as TREE
from tests.support.soak import SOAK
from tests.support.stub import Stub
from tests.support.until import until

from .conftest import Ctl

ROOT = {"name": "root", "uid": 0, "gid": 0, "pid": 42}
DAEMON = {"name": "maxmemd", "uid": None, "gid": None, "pid": None}
AT = "2026-11-22T21:06:47.123+00:00"
ROUNDS = 60 if SOAK else 3
END = (409, {"code": "event-id-foreign", "detail": "cannot resume after 1: it is of another"})


def event(kind: Any, **more: Any) -> dict[str, Any]:
    """Return an event as the daemon makes it."""
    given = {
        "id": "12-7-89abcdef", "kind": kind, "at": AT, "uuid": UUID, "domid": 3, "revision": 8,
        "by": None, "wish": {}, "code": None, "max_mem_kib": None, "limit_kib": None,
        "max_pages": None, "seen_pages": None, "errno": None, **more,
    }  # fmt: skip
    return replies.Event.model_validate(given).model_dump(mode="json")


def block(words: dict[str, Any]) -> bytes:
    """Return an event as it travels."""
    head = f"id: {words['id']}\nevent: {words['kind']}\n"
    return f"{head}data: {json.dumps(words)}\n\n".encode()


DECIDED = event(
    "mem-max", by=ROOT, wish={"max_mem_kib": 524288, "reason": "load test"},
    max_mem_kib=524288, limit_kib=525312, max_pages=131328,
)  # fmt: skip
OTHERS = (
    "mem-set", "component-set", "component-removed", "component-increased", "rollback", "import",
    "build-announced", "headroom", "build-followed", "record-replaced",
    "limits-taken",
)  # fmt: skip
LINES = [
    (DECIDED, "mem-max              web               by root (uid 0): max-mem 512 MiB, reason"
              " 'load test'; the limit is 513 MiB, revision 8"),
    *((event(kind, by=ROOT, wish={"target_kib": 2048}, limit_kib=4096, max_pages=1024),
       f"{kind:<19}  web               by root (uid 0): target 2 MiB; the limit is 4 MiB, revision 8")
      for kind in OTHERS),
    (event("adopted", by=DAEMON, limit_kib=17179869180, max_pages=0xFFFFFFFF),
     "adopted              web               the limit is unlimited, revision 8"),
    (event("refused", by=ROOT, code="target-above-static-max",
           wish={"wish": "mem-set", "target_kib": 4096, "code": "target-above-static-max"}),
     "refused              web               mem-set by root (uid 0): target 4 MiB:"
     " target-above-static-max"),
    (event("refused", by=ROOT, code="limit-below-target",
           wish={"wish": "mem-max", "max_mem_kib": 4096, "code": "limit-below-target",
                 "numbers": {"target_kib": 8192}}),
     "refused              web               mem-max by root (uid 0): max-mem 4 MiB:"
     " limit-below-target (target 8 MiB)"),
    (event("push-applied", max_pages=131328, seen_pages=131328),
     "push-applied         web               Xen holds 513 MiB, revision 8"),
    (event("push-failed", max_pages=0xFFFFFFFF, errno=1),
     "push-failed          web               wrote unlimited, revision 8: Xen said EPERM"),
    (event("push-failed", max_pages=256, errno=9999),
     "push-failed          web               wrote 1 MiB, revision 8: Xen said 9999"),
    (event("push-failed", max_pages=256),
     "push-failed          web               wrote 1 MiB, revision 8: nothing was read back"),
    (event("push-mismatched", max_pages=256, seen_pages=512),
     "push-mismatched      web               wrote 1 MiB, revision 8: Xen holds 2 MiB"),
    (event("over-limit", max_pages=256, wish={"tot_pages": 512}),
     "over-limit           web               the guest holds 2 MiB, the limit is 1 MiB"),
    (event("over-limit", max_pages=256),
     "over-limit           web               the guest holds nothing known, the limit is 1 MiB"),
    (event("recovered", wish={"from": "failed"}),
     "recovered            web               in force again, after failed"),
    (event("confirmed-again", wish={"max_pages": 512, "built_pages": 256, "target_kib": 1024}),
     "confirmed-again      web               limit 2 MiB, built with 1 MiB; target 1 MiB, built with -"),
    (event("confirmed-again", wish={"max_pages": 512, "built_pages": 256,
                                    "static_max_kib": 2048, "built_static_max_kib": 1024}),
     "confirmed-again      web               limit 2 MiB, built with 1 MiB;"
     " static-max 2 MiB, built with 1 MiB"),
    (event("instance-ended", wish={"shutdown_reason": 3}),
     "instance-ended       web               domain 3, crashed"),
    (event("instance-ended", wish={"never_ran": True, "before": {"shutdown_reason": 2}}),
     "instance-ended       web               domain 3, never ran"),
    (event("target-above-limit",
           wish={"target_kib": 4096, "videoram_kib": 0, "max_mem_kib": 2048}),
     "target-above-limit   web               the target is 4 MiB, max-mem is 2 MiB"),
    (event("target-above-limit",
           wish={"target_kib": 4096, "videoram_kib": 8192, "max_mem_kib": 2048}),
     "target-above-limit   web               the target is 4 MiB with 8 MiB of video RAM,"
     " max-mem is 2 MiB"),
    (event("effect-dropped", wish={"effect": "static-max", "amount_kib": 1024,
                                   "error": "cannot write it: xenstore has no /local/domain/3"}),
     "effect-dropped       web               static-max 1 MiB could not be written:"
     " xenstore has no /local/domain/3"),
    (event("node-unreadable", wish={"node": "memory/target", "value": "abc"}),
     "node-unreadable      web               memory/target is 'abc', which is no amount"),
    (event("drift", seen_pages=512, wish={"wanted_pages": 256, "mode": "restore"}),
     "drift                web               another program wrote 2 MiB in place of 1 MiB (restore)"),
    (event("drift-mode-set", by=ROOT, wish={"mode": "adopt", "for_s": 3600, "reason": "test"}),
     "drift-mode-set       web               drift is adopt for 3600 s, by root (uid 0) 'test'"),
    (event("drift-mode-set", by=ROOT, wish={"mode": "alert"}),
     "drift-mode-set       web               drift is alert, by root (uid 0)"),
    (event("drift-mode-cleared", by=ROOT),
     "drift-mode-cleared   web               as configured again, by root (uid 0)"),
    (event("drift-mode-ended", wish={"mode": "adopt"}),
     "drift-mode-ended     web               as configured again, after adopt"),
    (event("fight-began", seen_pages=512, wish={"writes": 5, "within_s": 60.0}),
     "fight-began          web               another program wrote the maximum 5 times within 60 s,"
     " the last 2 MiB: maxmemctl health"),
    (event("fight-ended", wish={"why": "quiet", "writes": 9}),
     "fight-ended          web               nothing was written for long enough, after 9 writes"),
    (event("fight-ended", wish={"why": "mode", "writes": 9}),
     "fight-ended          web               another mode of drift is in force, after 9 writes"),
    (event("fight-ended", wish={"why": "gone", "writes": 9}),
     "fight-ended          web               the domain is gone, after 9 writes"),
    (event("instance-began", wish={"building": True}),
     "instance-began       web               domain 3, being built"),
    (event("instance-began"), "instance-began       web               domain 3"),
    (event("instance-ended", wish={"reboot": True}),
     "instance-ended       web               domain 3, to reboot"),
    (event("instance-ended"), "instance-ended       web               domain 3"),
    (event("forgotten"), "forgotten            web               its record was dropped"),
    (event("unchanged", by=ROOT, wish={"wish": "headroom", "pages": 8}),
     "unchanged            web               headroom by root (uid 0): pages 8: it was so already"),
    (event("limits-given", wish={"to": "UUID"}),
     "limits-given         web               its limits went to UUID, of the same name"),
    (event("namesake-found", wish={"from": "UUID", "advice": "write it"}),
     "namesake-found       web               limits of UUID, of the same name, were not taken:"
     " write it"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again at once."""
    monkeypatch.setattr(events, "RECONNECT_S", 0.0)


@pytest.mark.parametrize(("words", "line"), LINES)
def test_a_line_for_eyes(words: dict[str, Any], line: str) -> None:
    """Every kind has its words, aligned, with the time in UTC."""
    assert line_of(words, "web", coloured=False) == f"2026-11-22 21:06:47Z  {line}"


def test_every_kind_has_its_words() -> None:
    """No kind that the daemon sends is without a line."""
    assert {words["kind"] for words, _ in LINES} == {*EntryKind, *PushKind}


def test_control_characters_are_not_printed() -> None:
    """A name or a reason cannot move the cursor."""
    words = event("mem-max", by=ROOT, wish={"reason": "\x1b[2J"}, limit_kib=4)
    assert "\x1b" not in line_of(words, "\x1b]0;x", coloured=False)


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


def test_nobody_there(ctl: Ctl) -> None:
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
