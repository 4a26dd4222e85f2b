"""GET /v1/events: everything that happens, once, across restarts of either side."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from maxmemd.api import event_stream as feeds
from maxmemd.api.event_format import KINDS
from maxmemd.api.server import protocol
from maxmemd.errors import LedgerBusy
from maxmemd.ledger.follow import Occurrence, Position
from maxmemd.policy.kinds import EntryKind
from maxmemd.wire import history_replies
from tests.support.inside import Inside, problem
from tests.support.outside import Outside
from tests.support.until import until

DECISIONS = {kind.value for kind in EntryKind if kind.is_decision}
WEB = "51a70000-0000-4000-8000-000000000001"


class Listener:
    """A client of the stream. Iterating gives the events until the stream ends."""

    def __init__(self, daemon: Outside, query: str = "", **headers: str) -> None:
        self._connection = daemon.open(20.0)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/v1/events{query}", headers=named)
        self.reply = self._connection.getresponse()
        assert self.reply.status == 200, self.reply.read()
        assert self.reply.headers["content-type"] == "text/event-stream"
        self.id = ""

    def __iter__(self) -> Iterator[history_replies.Event]:
        name = ""
        while line := self.reply.readline():
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "id":
                self.id = value
            elif field == "event":
                name = value
            elif field == "data":
                event = history_replies.Event.model_validate_json(value)
                assert (event.id, event.kind) == (self.id, name)
                yield event

    def until(self, kind: str, **numbers: object) -> list[history_replies.Event]:
        """Return the events up to the first of this kind, with these fields."""
        found = []
        for event in self:
            found.append(event)
            if event.kind == kind and numbers.items() <= event.model_dump().items():
                return found
        raise AssertionError(f"the stream ended without {kind} {numbers}: {found[-3:]}")

    def close(self) -> None:
        """Go away."""
        self.reply.close()
        self._connection.close()


def moved(event: history_replies.Event) -> int:
    """Return how far from the beginning an event is."""
    seq, push, _ = event.id.split("-")
    return int(seq) + int(push)


def test_what_is_decided_is_told(daemon: Outside) -> None:
    """A decision and its push come in this order, with who, what and how much."""
    listener = Listener(daemon)
    daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 716800, "reason": "more"})
    *_, decided, pushed = listener.until(
        "push-applied", max_pages=179456
    )  # others' pushes may be first
    assert (decided.kind, decided.max_mem_kib, decided.limit_kib) == ("mem-max", 716800, 717824)
    assert decided.by is not None
    assert decided.by.uid == 0
    assert decided.wish == {"max_mem_kib": 716800, "reason": "more"}
    assert (pushed.uuid, pushed.domid, pushed.revision) == (WEB, 1, decided.revision)
    assert (pushed.max_pages, pushed.seen_pages, pushed.errno) == (179456, 179456, None)
    daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 1024})
    *_, refused = listener.until("refused")
    assert refused.code == "limit-below-target"
    assert refused.wish is not None
    assert refused.wish["wish"] == "mem-max"
    listener.close()


def test_everything_from_the_beginning(daemon: Outside) -> None:
    """From 0 each event moves the id by one; it begins with the lives that began."""
    daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 614400})
    listener = Listener(daemon, "?since=0")
    found = listener.until("push-applied", max_pages=(614400 + 1024) // 4)
    assert [moved(event) for event in found] == list(range(1, len(found) + 1))
    assert found[0].kind == "instance-began"
    assert found[0].domid is not None
    listener.close()


def test_a_restart_of_either_side_misses_nothing(tmp_path: Path) -> None:
    """A client that disconnects and resumes at a daemon that was killed gets each event once."""
    with Outside(tmp_path) as daemon:
        listener = Listener(daemon)
        daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 614400})
        got = listener.until("push-applied")
        last = listener.id
        listener.close()
        for max_mem_kib in (618496, 622592):
            daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": max_mem_kib})
        daemon.kill()
        daemon.start()
        daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 626688})
        again = Listener(daemon, "?since=0", Last_Event_ID=last)
        got += again.until("push-applied", max_pages=(626688 + 1024) // 4)
        again.close()
        whole = Listener(daemon, "?since=0")
        everything = whole.until("push-applied", max_pages=(626688 + 1024) // 4)
        whole.close()
    assert got == everything[-len(got) :]
    limits = [event.limit_kib for event in got if event.kind == "mem-max"]
    assert limits == [kib + 1024 for kib in (614400, 618496, 622592, 626688)]


def test_the_end_of_the_daemon_ends_the_stream(tmp_path: Path) -> None:
    """SIGTERM ends a stream after a whole event; what it had not sent is sent after a start."""
    with Outside(tmp_path) as daemon:
        listener = Listener(daemon)
        next(line for line in iter(listener.reply.readline, b"") if line.startswith(b"id"))
        began_s = time.monotonic()
        assert daemon.stop() == 0
        assert list(listener) == []  # an IncompleteRead would say that it was cut
        listener.close()
        assert time.monotonic() - began_s < 20
        assert "Traceback" not in daemon.said()
        daemon.start()


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("kind=refused", {"refused"}),
        ("kind=push-applied,refused", {"push-applied", "refused"}),
        ("kind=decision,refused", DECISIONS | {"refused"}),
    ],
)
def test_only_some_kinds(daemon: Outside, query: str, kinds: set[str]) -> None:
    """A filter by kind leaves the others out."""
    daemon.ask("PUT", "/v1/domains/db/limit", {"max_mem_kib": 4194304})
    daemon.ask("PUT", "/v1/domains/db/limit", {"max_mem_kib": 1024})
    listener = Listener(daemon, f"?since=0&{query}")
    assert {event.kind for event in listener.until("refused", code="limit-below-target")} <= kinds
    listener.close()


def test_only_one_domain(daemon: Outside) -> None:
    """A filter by domain takes a name, a domid or a UUID, whether or not that UUID lives here."""
    host = daemon.ask("GET", "/v1/domains/db")[1]
    for max_mem_kib in (4194304, 4198400):
        daemon.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": max_mem_kib - 2097152})
        daemon.ask("PUT", "/v1/domains/db/limit", {"max_mem_kib": max_mem_kib})
    for ref in ("db", str(host["domid"]), host["uuid"].upper()):
        listener = Listener(daemon, f"?since=0&domain={ref}")
        found = listener.until("mem-max", limit_kib=4199424)
        assert {event.uuid for event in found} == {host["uuid"]}
        listener.close()
    away = Listener(daemon, "?since=0&domain=00000000-0000-4000-8000-000000000000")
    away.close()


@pytest.mark.parametrize(
    ("query", "code", "status"),
    [
        ("since=x", "event-id-invalid", 400),
        ("since=1-2", "event-id-invalid", 400),
        ("since=1-0-0123456Z", "event-id-invalid", 400),
        ("since=%D9%A1-0-00000000", "event-id-invalid", 400),
        ("since=99999-0-00000000", "event-id-beyond", 409),
        ("since=0-99999-00000000", "event-id-beyond", 409),
        ("since=1-0-00000000", "event-id-foreign", 409),
        ("since=0-0-11111111", "event-id-foreign", 409),
        ("kind=", "query-invalid", 400),
        ("kind=pushed,", "query-invalid", 400),
        ("kind=unheard", "query-invalid", 400),
        ("domain=nobody", "unknown-domain", 404),
        ("before=3", "query-invalid", 400),
    ],
)
def test_what_cannot_be_asked(api: Inside, query: str, code: str, status: int) -> None:
    """An id that is none, beyond the end, or of another ledger; a filter that is none."""
    problem(api.ask("GET", f"/v1/events?{query}"), code, status)
    assert api.event_stream.streams == 0


def test_an_id_of_another_ledger_is_seen(tmp_path: Path) -> None:
    """An id carries the hash of its line, so that a ledger that was put back is not resumed."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    with Inside(tmp_path / "one") as api:
        foreign = _last_id(api)
    with Inside(tmp_path / "other") as api:
        own = _last_id(api)
        assert own.split("-")[:2] == foreign.split("-")[:2]
        assert own != foreign
        problem(api.ask("GET", f"/v1/events?since={foreign}"), "event-id-foreign", 409)


def _last_id(api: Inside) -> str:
    place = api.wait(_end(api))
    return f"{place.seq}-{place.push}-{place.entry_hash.hex()[:8]}"


async def _end(api: Inside) -> Any:
    return api.event_stream._source.end()


def test_a_ledger_that_cannot_be_read_ends_the_stream(api: Inside) -> None:
    """What was begun ends whole: the client comes again with its id."""

    class Broken:
        end = api.event_stream._source.end

        def after(self, place: Position, most: int) -> list[Occurrence]:
            raise LedgerBusy("cannot read the events: busy")

    api.event_stream._source = Broken()
    reply = api.ask("GET", "/v1/events?since=0")
    assert (reply.status_code, reply.text) == (200, "retry: 1000\nid: 0-0-00000000\n\n")
    assert api.event_stream.streams == 0


def test_a_header_wins_over_the_query(api: Inside) -> None:
    """Last-Event-ID is what a client that reconnects sends, to the same address as before."""
    reply = api.ask("GET", "/v1/events?since=0", headers={"Last-Event-ID": "no"})
    problem(reply, "event-id-invalid", 400)


def test_one_user_has_so_many_streams(daemon: Outside) -> None:
    """One more is refused; who goes away makes room, whether or not anything happens."""
    listeners = [Listener(daemon) for _ in range(feeds.MOST_STREAMS_EACH)]
    status, body = daemon.ask("GET", "/v1/events")
    assert (status, body["code"]) == (429, "too-many-streams")
    listeners.pop().close()
    until("there is room again", lambda: _opens(daemon))
    for listener in listeners:
        listener.close()


def _opens(daemon: Outside) -> bool:
    connection = daemon.open()
    try:
        connection.request("GET", "/v1/events")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def test_a_path_that_is_written_oddly(daemon: Outside) -> None:
    """A letter may be written as %65; it is the same stream, and it ends with its client."""
    for _ in range(feeds.MOST_STREAMS_EACH + 1):
        connection = daemon.open()
        connection.request("GET", "/v1/%65vents")
        reply = connection.getresponse()
        assert reply.status == 200
        assert reply.readline() == b"retry: 1000\n"
        reply.close()
        connection.close()
        until("it is let go", lambda: _opens(daemon))


def test_a_client_that_reads_nothing_is_cut_and_misses_nothing(daemon: Outside) -> None:
    """It costs a bounded buffer; after it was cut its id still stands for all that it missed."""
    raw = daemon.raw()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.sendall(b"GET /v1/events?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    connection = daemon.open()
    asked, cut = 0, False
    before_kib = daemon.rss_kib()
    while not cut:
        for _ in range(40):
            asked += 1
            body = {"max_mem_kib": 1048576 + 4 * asked, "reason": "x" * 200}
            assert connection.ask("PUT", "/v1/domains/web/limit", body)[0] == 200
        cut = asked > 600 and _was_cut(raw)
        assert asked < 40_000
    assert daemon.rss_kib() - before_kib < 64 * 1024
    listener = Listener(daemon, "?since=0&domain=web&kind=decision")
    found = listener.until("mem-max", limit_kib=1048576 + 4 * asked + 1024)
    assert sum(1 for event in found if event.wish and event.wish.get("reason")) >= asked
    listener.close()
    connection.close()
    raw.close()


def _was_cut(raw: socket.socket) -> bool:
    """Return whether the other side has closed, without reading what it sent."""
    import select

    poll = select.poll()
    poll.register(raw, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def test_a_stream_that_is_silent_is_no_stalled_one() -> None:
    """The guard cuts who does not take what was sent; a stream with nothing to say has sent all."""

    class Transport:
        waiting = 0
        aborted = False

        def get_write_buffer_size(self) -> int:
            return self.waiting

        def abort(self) -> None:
            self.aborted = True

    connection = object.__new__(protocol.BoundedHttpProtocol)
    transport = connection.transport = cast(Any, Transport())
    connection.cycles, connection.pipeline = [], cast(Any, [])
    for now_s in range(0, 3600, 60):
        protocol.sweep([connection], float(now_s))
    assert not transport.aborted
    transport.waiting = 9
    protocol.sweep([connection], 3600.0)
    protocol.sweep([connection], 3660.0)
    assert transport.aborted


def test_every_kind_can_be_asked_for_and_is_described() -> None:
    """The kinds are those of the OpenAPI document and of the page on the API."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text()
    for kind in KINDS:
        assert f"| `{kind}` |" in text


def test_the_fields_are_as_described(daemon: Outside) -> None:
    """Every event has every field of history_replies.Event, and no other."""
    connection = daemon.open()
    connection.request("GET", "/v1/events?since=0")
    reply = connection.getresponse()
    line = b""
    while not line.startswith(b"data: "):
        line = reply.readline()
    assert json.loads(line[6:]).keys() == history_replies.Event.model_fields.keys()
    reply.close()
    connection.close()
    assert isinstance(reply, http.client.HTTPResponse)
