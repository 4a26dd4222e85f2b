"""Many requests that are allowed and dear, on a host of 300 domains: others are not harmed."""

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import httpx
import pytest

from maxmemd.api import disconnect, domain_json, metrics, serialize
from maxmemd.api.auth.peers import Peer, peer
from maxmemd.api.reading import pool
from maxmemd.config.settings import Config
from maxmemd.policy.roles import Roles
from maxmemd.wire import history_replies, replies
from maxmemd.xen.simulated import SimulatedHost
from tests.support.inside import Inside, problem
from tests.support.until import until

DOMAINS = 300
BASE = 300_000
ROLES = Roles(base=BASE)
OBSERVERS = [peer(9, 1000 + number, 5) for number in range(3)]
MODEL = peer(9, BASE + 1, 5, (), ROLES)
PAGES = ("history", "pushes", "explain")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Give a daemon on a host of 300 domains, whose observers may ask as often as they like."""
    host = SimulatedHost.with_guests(DOMAINS)
    config = Config(rates={}, device_model_base=BASE)
    with Inside(tmp_path_factory.mktemp("many"), host, config) as inside:
        inside.get("/v1/domains")
        yield inside


def begin(api: Inside, path: str, caller: Peer) -> Future[httpx.Response]:
    """Begin a GET as this caller; its reply comes later."""
    api._peer = replace(caller, known_by="")

    async def ask() -> httpx.Response:
        return await api.client.get(path)

    future = _soon(api, ask())
    api.wait(asyncio.sleep(0))  # it is read, as this caller's
    return future


def _soon(api: Inside, work: Coroutine[Any, Any, httpx.Response]) -> Future[httpx.Response]:
    return asyncio.run_coroutine_threadsafe(work, api._loop)


class Watched:
    """A function, and in which threads it was called."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self.real = real
        self.threads: list[str] = []

    def __call__(self, *words: Any, **named: Any) -> Any:
        """Call it."""
        self.threads.append(threading.current_thread().name)
        return self.real(*words, **named)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Watched]:
    """Give what makes the parts of dear answers, each with the threads that called it."""
    found = {}
    for place, name in (
        (domain_json, "domain"),
        (metrics, "to_text"),
        (serialize, "entry"),
        (serialize, "past_push"),
        (serialize, "explanation"),
    ):
        found[name] = Watched(getattr(place, name))
        monkeypatch.setattr(place, name, found[name])
    return found


def test_the_loop_makes_no_dear_answer(api: Inside, watched: dict[str, Watched]) -> None:
    """Each is put into words in a thread of its class of reader, or in that of shared answers."""
    api.put("/v1/domains/1/limit", {"max_mem_kib": 120 * 1024})
    until("the push is kept", lambda: api.get("/v1/domains/1/pushes")["pushes"])
    for each in watched.values():
        each.threads.clear()
    for caller, role in ((OBSERVERS[0], "observer"), (MODEL, "device-model")):
        for page in PAGES:
            assert api.ask("GET", f"/v1/domains/1/{page}", peer=caller).status_code == 200
        for name in ("entry", "past_push", "explanation"):
            assert {re.sub(r"-\d+$", "", one) for one in watched[name].threads} == {f"read-{role}"}
            watched[name].threads.clear()
    for path, name in (("/v1/domains", "domain"), ("/metrics", "to_text")):
        assert api.ask("GET", path, peer=OBSERVERS[0]).status_code == 200
        assert {re.sub(r"-\d+$", "", one) for one in watched[name].threads} == {
            "read-shared answer"
        }


def test_a_list_is_put_into_words_once_for_all(api: Inside, watched: dict[str, Watched]) -> None:
    """Sixty who ask at once have it from one making, or from that and the next one."""
    api.put("/v1/domains/1/limit", {"max_mem_kib": 121 * 1024})
    asked = [begin(api, "/v1/domains", OBSERVERS[number % 3]) for number in range(60)]
    bodies = {each.result(60).content for each in asked}
    made = len(watched["domain"].threads)
    assert made in (DOMAINS + 1, 2 * (DOMAINS + 1))
    assert len(bodies) * (DOMAINS + 1) <= made


def test_a_list_has_every_change_that_was_answered(api: Inside) -> None:
    """Who was granted a change finds it in each list that it asks for afterwards."""
    for mib in (100, 101, 102, 103):
        begin(api, "/v1/domains", OBSERVERS[0])
        api.put("/v1/domains/2/limit", {"max_mem_kib": mib * 1024})
        [found] = [each for each in api.get("/v1/domains")["domains"] if each["domid"] == 2]
        assert found["max_mem_kib"] == mib * 1024


def test_the_words_of_a_list_are_the_replys(api: Inside) -> None:
    """What is made without the model is exactly what the model would be."""
    api.put("/v1/domains/1/components/device-model/roms", {"amount_kib": 64})
    api.put("/v1/domains/3/drift", {"mode": "alert", "for_s": 60})
    for path, model in (
        ("/v1/domains", replies.DomainsReply),
        ("/v1/domains/1", replies.DomainReply),
        ("/v1/domains/3", replies.DomainReply),
        ("/v1/domains/1/history", history_replies.HistoryReply),
        ("/v1/domains/1/pushes", history_replies.PushesReply),
        ("/v1/domains/1/explain", history_replies.ExplainReply),
    ):
        content = api.ask("GET", path).content
        assert model.model_validate_json(content).model_dump_json().encode() == content


@pytest.fixture
def blocked(api: Inside, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Future[httpx.Response]]]:
    """Give the requests of observers that fill their pool, each of which hangs in the ledger."""
    go, reader = threading.Event(), api.service.reader
    for module in (pool, disconnect):  # however slow the machine is
        monkeypatch.setattr(module, "READ_WITHIN_S", 600.0)
    begun: list[str] = []

    def hanging(real: Callable[..., Any]) -> Callable[..., Any]:
        def read(*words: Any, **named: Any) -> Any:
            name = threading.current_thread().name
            if name.startswith("read-observer"):
                begun.append(name)
                assert go.wait(60)
            return real(*words, **named)

        return read

    for name in READS:
        monkeypatch.setattr(reader, name, hanging(getattr(reader, name)))
    asked = [
        begin(api, f"/v1/domains/1/{PAGES[number % 3]}", observer)
        for number in range(pool.MOST_EACH)
        for observer in OBSERVERS
    ]
    until("every thread of observers hangs", lambda: len(begun) == pool.THREADS)
    yield asked
    go.set()
    for each in asked:
        each.result(60)


READS = ("history", "pushes", "made_by")


def test_others_are_answered_while_observers_hang(
    api: Inside, blocked: list[Future[httpx.Response]]
) -> None:
    """Root reads and writes, a device model reads, and health, lists and metrics are given."""
    api.put("/v1/domains/1/limit", {"max_mem_kib": 122 * 1024})
    for each in PAGES:
        assert api.ask("GET", f"/v1/domains/1/{each}").status_code == 200
        assert api.ask("GET", f"/v1/domains/1/{each}", peer=MODEL).status_code == 200
    for path in ("/v1/domains", "/metrics", "/v1/host", "/v1/health", "/v1/domains/2"):
        for caller in (peer(9, 0, 0), OBSERVERS[0]):
            assert api.ask("GET", path, peer=caller).status_code == 200
    assert not any(each.done() for each in blocked)
    for observer in OBSERVERS:
        reply = api.ask("GET", "/v1/domains/1/history", peer=observer)
        problem(reply, "too-many-reads", 429)
        assert reply.headers["retry-after"] == "1"


def test_health_needs_no_pool_no_ledger_and_no_arbiter(
    api: Inside, blocked: list[Future[httpx.Response]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered while every one of them would fail."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("health asked for it")

    monkeypatch.setattr(api.mailbox, "ask", fail)
    monkeypatch.setattr(pool.ReadPool, "run", fail)
    monkeypatch.setattr(asyncio, "to_thread", fail)
    assert api.ask("GET", "/v1/health").json()["live"]
    assert blocked


def test_a_read_that_hangs_is_answered(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its time is over, and its thread is given back when the read ends."""
    go = threading.Event()
    monkeypatch.setattr(api.service.reader, "pushes", lambda *_, **__: go.wait(60))
    monkeypatch.setattr(disconnect, "READ_WITHIN_S", 0.05)
    problem(api.ask("GET", "/v1/domains/1/pushes", peer=OBSERVERS[0]), "read-too-long", 503)
    running = api.service.reads.of("observer")._running
    assert len(running) == 1
    go.set()
    until("its thread is given back", lambda: not running)


def test_a_read_ends_with_its_client(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that went away is answered nothing, and what it asked for is not done to its end."""
    begun, ended = threading.Event(), threading.Event()

    def long(*_: object, **__: object) -> list[Any]:
        [job] = api.service.reads.of("admin")._running
        begun.set()
        until("the read is not wanted any more", lambda: job.deadline.is_over)
        ended.set()
        return []

    monkeypatch.setattr(api.service.reader, "pushes", long)
    sent: list[Any] = []

    async def serve() -> None:
        scope: Any = {
            "type": "http", "method": "GET", "path": "/v1/domains/1/pushes",
            "raw_path": b"/v1/domains/1/pushes", "query_string": b"", "headers": [],
            "maxmemd.peer": peer(9, 0, 0),
        }  # fmt: skip

        async def receive() -> Any:
            await asyncio.to_thread(begun.wait, 60)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await api.dispatcher(scope, receive, send)

    api.wait(serve())
    assert ended.wait(60)
    assert sent == []
