"""The xenstore adapter against a small xenstored that can be told to misbehave."""

import errno
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from maxmemd.errors import DomainGone, XenstoreError
from maxmemd.pacing import Backoff
from maxmemd.policy.facts import NO_PATH, StoreFacts
from maxmemd.units import Memory
from maxmemd.xen import xenstore
from maxmemd.xen.xenstore import Xenstored
from maxmemd.xen.xs_wire import TRANSACTION_END, WRITE
from tests.support.until import until
from tests.support.xenstored import ERROR, READ, FakeXenstored

UUID = "b5b5b1f6-9a1e-4c34-8b7b-6d4f6f0d5f01"
HOME = "/local/domain/5"
PATIENCE_S = 0.3


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeXenstored]:
    """Give a xenstored with one guest, of domid 5."""
    server = FakeXenstored(tmp_path / "socket")
    server.nodes |= {
        f"{HOME}/vm": f"/vm/{UUID}".encode(),
        f"{HOME}/name": b"web",
        f"{HOME}/memory/target": b"131072",
        f"{HOME}/memory/static-max": b"262144",
        f"{HOME}/memory/videoram": b"8192",
    }
    yield server
    server.stop()


@pytest.fixture
def store(fake: FakeXenstored) -> Iterator[Xenstored]:
    """Give the adapter, connected to the fake."""
    adapter = Xenstored(fake.path, patience_s=PATIENCE_S)
    yield adapter
    adapter.close()


def test_facts_are_the_nodes(store: Xenstored) -> None:
    """Name, target, static-max and videoram are read; a missing domain has none of them."""
    facts = StoreFacts("web", Memory(kib=131072), Memory(kib=262144), Memory(kib=8192))
    assert store.facts(5) == facts
    assert store.facts(6) == NO_PATH


@pytest.mark.parametrize(
    "value",
    [b"", b"-1", b"+1", b"1.5", b"12 34", b"0x10", "\u0665".encode(), b"\xff", b"9" * 4000],
)
def test_what_is_no_amount_is_none(value: bytes, store: Xenstored, fake: FakeXenstored) -> None:
    """A node's text is an amount or nothing; without videoram the video RAM is 0."""
    fake.nodes |= {f"{HOME}/memory/target": value, f"{HOME}/memory/videoram": value}
    seen = store.facts(5)
    assert (seen.target, seen.videoram) == (None, Memory(kib=0))
    video = [] if value == b"-1" else ["memory/videoram"]
    assert [each.node for each in seen.unreadable] == ["memory/target", *video]


@pytest.mark.parametrize(
    ("text", "kib"), [(b"0", 0), (b" 12\n", 12), (b"4503599627370495", 2**52 - 1)]
)
def test_amounts_are_kib(text: bytes, kib: int, store: Xenstored, fake: FakeXenstored) -> None:
    """Digits are KiB, with any white space around them, up to the largest amount."""
    fake.nodes[f"{HOME}/memory/target"] = text
    assert store.facts(5).target == Memory(kib=kib)


def test_2_to_the_52_is_too_much(store: Xenstored, fake: FakeXenstored) -> None:
    """An amount that Memory cannot hold is no amount."""
    fake.nodes[f"{HOME}/memory/target"] = b"4503599627370496"
    assert store.facts(5).target is None


@pytest.mark.parametrize(
    ("node", "name"),
    [
        (b"a\x1b[31m\n" + b"x" * 4000, "a?[31m?" + "x" * 4000),
        (b"x" * 255, "x" * 255),
        (b"x" * 256, "x" * 256),
        ("\N{SNOWMAN}".encode() * 1365, "\N{SNOWMAN}" * 1365),
        (b"a\0b", "a?b"),
        (b"\xff-", "\ufffd-"),
        (b"a b/c", "a b/c"),
        (b"-x", "-x"),
    ],
)
def test_a_name_is_whole_and_printable(
    store: Xenstored, fake: FakeXenstored, node: bytes, name: str
) -> None:
    """As long as a message of xenstore's; control characters do not reach logs and terminals."""
    fake.nodes[f"{HOME}/name"] = node
    assert store.facts(5).name == name


def test_write_is_what_libxl_writes(store: Xenstored, fake: FakeXenstored) -> None:
    """Target and static-max in KiB, /vm/UUID/memory in MiB."""
    store.write(5, UUID, target=Memory.of_mib(100), static_max=Memory.of_mib(300))
    written = [f"{HOME}/memory/target", f"{HOME}/memory/static-max", f"/vm/{UUID}/memory"]
    assert [fake.nodes[path] for path in written] == [b"102400", b"307200", b"100"]


def test_none_leaves_a_node_alone(store: Xenstored, fake: FakeXenstored) -> None:
    """Only static-max is written when there is no target."""
    before = dict(fake.nodes)
    store.write(5, UUID, target=None, static_max=Memory.of_mib(300))
    assert fake.nodes == before | {f"{HOME}/memory/static-max": b"307200"}


def test_a_conflict_is_tried_again(store: Xenstored, fake: FakeXenstored) -> None:
    """EAGAIN at the end of a transaction is answered by another one."""
    fake.conflicts = 3
    store.write(5, UUID, target=Memory.of_mib(100), static_max=None)
    assert fake.nodes[f"{HOME}/memory/target"] == b"102400"


def test_conflicts_without_end_are_given_up(store: Xenstored, fake: FakeXenstored) -> None:
    """The attempts are bounded."""
    fake.conflicts = 1000
    with pytest.raises(XenstoreError) as caught:
        store.write(5, UUID, target=Memory.of_mib(100), static_max=None)
    assert caught.value.errno == errno.EAGAIN
    assert fake.nodes[f"{HOME}/memory/target"] == b"131072"


@pytest.mark.parametrize(("domid", "uuid"), [(6, UUID), (5, UUID.replace("b5", "c6"))])
def test_dead_and_foreign_paths_are_not_written(
    domid: int, uuid: str, store: Xenstored, fake: FakeXenstored
) -> None:
    """A domain that is gone, or another by now, is DomainGone; nothing is recreated."""
    before = dict(fake.nodes)
    with pytest.raises(DomainGone):
        store.write(domid, uuid, target=Memory.of_mib(1), static_max=Memory.of_mib(1))
    assert fake.nodes == before


@pytest.mark.parametrize("vm", [f"vm/{UUID}", f"/vm/{UUID.upper()}-1", "", "/vm/", None])
def test_a_vm_node_that_names_no_other_domain_is_accepted(
    vm: str | None, store: Xenstored, fake: FakeXenstored
) -> None:
    """Whose the domid is Xen says; dom0less tools write vm/UUID, and some domains have none."""
    del fake.nodes[f"{HOME}/vm"]
    if vm is not None:
        fake.nodes[f"{HOME}/vm"] = vm.encode()
    store.write(5, UUID, target=Memory.of_mib(100), static_max=None)
    assert fake.nodes[f"{HOME}/memory/target"] == b"102400"


def test_dom0_needs_no_vm(store: Xenstored, fake: FakeXenstored) -> None:
    """dom0 has no /vm, and outlives everything."""
    store.write(0, UUID, target=Memory.of_mib(512), static_max=None)
    assert fake.nodes["/local/domain/0/memory/target"] == b"524288"


def test_a_refusal_is_an_error_with_its_errno(store: Xenstored, fake: FakeXenstored) -> None:
    """Xenstored's own words reach the caller; unknown words are EIO."""
    for word, number in ((b"EACCES\0", errno.EACCES), (b"ENONSENSE\0", errno.EIO)):
        fake.answer = partial(answer_always, (ERROR, word))
        with pytest.raises(XenstoreError) as caught:
            store.facts(5)
        assert caught.value.errno == number


def test_a_hanging_xenstored_is_waited_for_a_while(store: Xenstored, fake: FakeXenstored) -> None:
    """No answer is ETIMEDOUT after the patience, not for ever; after a pause it is found well."""
    fake.answer = lambda _kind, _body: None
    with pytest.raises(XenstoreError) as caught:
        store.facts(5)
    assert caught.value.errno == errno.ETIMEDOUT
    fake.answer = None
    time.sleep(xenstore.MUTE_FOR * PATIENCE_S)
    assert store.facts(5).name == "web"


def test_a_write_that_is_not_answered_is_a_time_out(store: Xenstored, fake: FakeXenstored) -> None:
    """Its transaction is left to the end of the connection: the late answer would meet its end."""
    fake.mute = {WRITE}
    with pytest.raises(XenstoreError) as caught:
        store.write(5, UUID, target=Memory.of_mib(1), static_max=None)
    assert caught.value.errno == errno.ETIMEDOUT
    assert WRITE in fake.asked
    assert TRANSACTION_END not in fake.asked


def test_a_hanging_xenstored_is_not_waited_for_by_everybody(
    store: Xenstored, fake: FakeXenstored
) -> None:
    """After one time-out all others fail at once, and xenstored is not even asked."""
    asked: list[int] = []
    fake.answer = lambda kind, _body: asked.append(kind)
    began_s = time.monotonic()
    for domid in range(100):
        with pytest.raises(XenstoreError) as caught:
            store.facts(domid)
        assert caught.value.errno == errno.ETIMEDOUT
        with pytest.raises(XenstoreError):
            store.write(domid, UUID, target=Memory.of_mib(1), static_max=None)
    assert time.monotonic() - began_s < 10 * PATIENCE_S
    assert len(asked) <= 4 * 4  # four nodes each time


def test_a_socket_whose_owner_accepts_no_connection_times_out(tmp_path: Path) -> None:
    """A xenstored that takes no connection more is a time-out, too, and then fails at once."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "mute"))
        listener.listen()
        adapter = Xenstored(tmp_path / "mute", patience_s=PATIENCE_S)
        began_s = time.monotonic()
        for _ in range(30):
            with pytest.raises(XenstoreError) as caught:
                adapter.facts(5)
            assert caught.value.errno == errno.ETIMEDOUT
        assert time.monotonic() - began_s < 10 * PATIENCE_S
        adapter.close()


def test_a_watch_that_is_answered_ends_the_pause(store: Xenstored, fake: FakeXenstored) -> None:
    """The watch connects again by itself: once xenstored is back, questions need not wait."""
    fake.answer = lambda _kind, _body: None
    with pytest.raises(XenstoreError):
        store.facts(5)
    store._mute_until_s += 1000.0
    fake.answer = None
    called = threading.Event()
    store.watch(called.set)
    assert called.wait(5)
    assert store.facts(5).name == "web"


@pytest.mark.parametrize("answer", [(99, b"OK\0"), (READ, b"x" * 5000)])
def test_nonsense_is_an_error(
    answer: tuple[int, bytes], store: Xenstored, fake: FakeXenstored
) -> None:
    """An answer of another kind, or larger than the protocol allows, ends the connection."""
    fake.answer = partial(answer_always, answer)
    with pytest.raises(XenstoreError) as caught:
        store.facts(5)
    assert caught.value.errno == errno.EPROTO


def test_a_lost_connection_is_made_again(store: Xenstored, fake: FakeXenstored) -> None:
    """Xenstored gone and back is not seen by the next question."""
    assert store.facts(5).name == "web"
    fake.stop()
    with pytest.raises(XenstoreError):
        store.facts(5)
    fake.start()
    assert store.facts(5).name == "web"
    fake.cut()
    assert store.facts(5).name == "web"


def test_a_watch_calls_at_once_and_at_each_change(store: Xenstored, fake: FakeXenstored) -> None:
    """Registration calls, and so does a domain that comes or goes."""
    called = threading.Semaphore(0)

    def changed() -> None:
        called.release()

    store.watch(changed)
    assert called.acquire(timeout=5)
    assert called.acquire(timeout=5)
    fake.fire("@introduceDomain")
    assert called.acquire(timeout=5)


def test_a_watch_survives_xenstored(
    store: Xenstored, fake: FakeXenstored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It connects again by itself, and calls then: something may have been missed."""
    monkeypatch.setattr(xenstore, "RECONNECT", Backoff(0.01, 30.0))
    called = threading.Event()
    store.watch(called.set)
    assert called.wait(5)
    fake.stop()
    fake.start()
    called.clear()
    assert called.wait(5)


@pytest.fixture
def crowd() -> Iterator[None]:
    """Have so many descriptors open that the next one is beyond what select(2) can take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert hard == resource.RLIM_INFINITY or hard >= 1400, "this test needs 1400 descriptors"
    resource.setrlimit(resource.RLIMIT_NOFILE, (1400, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("crowd")
def test_a_connection_beyond_a_thousand_others(fake: FakeXenstored) -> None:
    """Xenstored that comes back while more than a thousand clients are here is heard as before."""
    fake.nodes[f"{HOME}/name"] = b"web"
    store = Xenstored(fake.path, patience_s=5.0)
    called = threading.Event()
    store.watch(called.set)
    assert called.wait(5)
    assert store.facts(5).name == "web"
    fake.cut()
    assert store.facts(5).name == "web"
    until("it watches", lambda: any(len(one.watches) == 2 for one in fake.clients))
    called.clear()
    fake.fire("@introduceDomain")
    assert called.wait(5)
    store.close()


def test_close_ends_the_watch(store: Xenstored) -> None:
    """Closing twice does no harm."""
    store.watch(lambda: None)
    store.close()
    store.close()


def answer_always(answer: tuple[int, bytes], _kind: int, _body: bytes) -> tuple[int, bytes]:
    """Return the same answer to every question."""
    return answer
