"""A pool runs so many reads at once, its clients take turns, and each read ends in time."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from maxmemd.api.problems import Rejected
from maxmemd.api.reading import pool
from maxmemd.api.reading.pool import MOST_EACH, MOST_WAITING, ReadPool, ReadPools
from maxmemd.api.reading.strides import Reading, Strides
from maxmemd.errors import ArbiterBusy, LedgerError, ReadTooLong
from tests.support.until import until_so

Play = Callable[[ReadPool], Awaitable[None]]


def play(scene: Play, threads: int = 1) -> None:
    """Play a scene with a pool in an event loop."""

    async def run() -> None:
        made = ReadPool("reader", Strides(), threads)
        try:
            await scene(made)
        finally:
            made.close()

    asyncio.run(asyncio.wait_for(run(), 30.0))


class Block:
    """Reads that wait until they may go on; says who runs."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.order: list[str] = []

    def read(self, name: str) -> Callable[[Reading], str]:
        """Return a read that blocks."""

        def work(_: Reading) -> str:
            self.order.append(name)
            assert self.go.wait(30.0)
            return name

        return work

    async def has_begun(self, count: int) -> None:
        """Wait until so many reads have begun."""
        await until_so(lambda: len(self.order) >= count)


def test_a_read_is_made_in_a_thread_of_the_pool() -> None:
    """Its result, or its error, is the asker's."""

    async def scene(made: ReadPool) -> None:
        name = await made.run("a", lambda _: threading.current_thread().name)
        assert name == "read-reader-1"

        def fail(_: Reading) -> None:
            raise LedgerError("cannot read")

        with pytest.raises(LedgerError, match="cannot read"):
            await made.run("a", fail)
        assert await made.run("a", lambda _: 7) == 7

    play(scene)


def test_clients_take_turns() -> None:
    """One that asks for much waits behind each other client's next read, not before them all."""

    async def scene(made: ReadPool) -> None:
        block = Block()
        names = ["a1", "a2", "a3", "b1", "b2", "c1"]
        tasks = [asyncio.create_task(made.run(name[0], block.read(name))) for name in names]
        await block.has_begun(1)
        block.go.set()
        assert await asyncio.gather(*tasks) == names
        assert block.order == ["a1", "a2", "b1", "c1", "a3", "b2"]

    play(scene)


def test_a_client_has_so_many_in_hand() -> None:
    """One more is refused with the numbers; other clients are served, up to a bound in all."""

    async def scene(made: ReadPool) -> None:
        block = Block()
        tasks = [asyncio.create_task(made.run("a", block.read("a"))) for _ in range(MOST_EACH)]
        await block.has_begun(1)
        with pytest.raises(Rejected) as refused:
            await made.run("a", block.read("a"))
        assert (refused.value.code, refused.value.retry_s) == ("too-many-reads", 1)
        assert "a has 8 of 8 in hand, and 7 of 128 wait for all readers" in refused.value.detail
        tasks += [
            asyncio.create_task(made.run(str(number), block.read("b")))
            for number in range(MOST_WAITING - MOST_EACH + 1)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Rejected, match="128 of 128 wait"):
            await made.run("c", block.read("c"))
        block.go.set()
        await asyncio.gather(*tasks)
        assert await made.run("a", lambda _: 1) == 1

    play(scene)


def test_a_read_whose_asker_has_gone_is_ended() -> None:
    """One that waits is never begun; one that runs finds its deadline over; both are given back."""

    async def scene(made: ReadPool) -> None:
        begun, over = threading.Event(), threading.Event()

        def long(reading: Reading) -> None:
            begun.set()
            while not reading.deadline.is_over:
                over.wait(0.001)
            over.set()

        def never(_: Reading) -> None:
            raise AssertionError("it was begun")

        running = asyncio.create_task(made.run("a", long))
        waiting = asyncio.create_task(made.run("b", never))
        await until_so(begun.is_set)
        for task in (waiting, running):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert await made.run("c", lambda _: over.is_set())
        assert not made._waiting
        assert not made._running

    play(scene)


def test_a_read_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its asker is answered in time, also while the thread hangs, and though it fails otherwise."""
    monkeypatch.setattr(pool, "READ_WITHIN_S", 0.05)

    async def scene(made: ReadPool) -> None:
        block = Block()
        with pytest.raises(ReadTooLong):
            await made.run("a", block.read("a"))
        with pytest.raises(ReadTooLong):
            await made.run("b", block.read("b"))
        block.go.set()

    play(scene)


def test_an_interrupted_read_is_late_whatever_it_raises() -> None:
    """SQLite's error of a statement that was interrupted is not the client's concern."""

    async def scene(made: ReadPool) -> None:
        def interrupted(reading: Reading) -> None:
            reading.deadline.end()
            raise LedgerError("cannot read: interrupted")

        with pytest.raises(ReadTooLong):
            await made.run("a", interrupted)

    play(scene)


def test_the_end_of_the_daemon_ends_all_reads() -> None:
    """Those that run and those that wait are answered at once."""

    async def scene(made: ReadPool) -> None:
        block = Block()
        tasks = [asyncio.create_task(made.run("a", block.read(f"a{n}"))) for n in range(3)]
        await block.has_begun(1)
        made.close()
        for task in tasks:
            with pytest.raises(ArbiterBusy, match="cannot finish this read: maxmemd stops"):
                await task
        block.go.set()

    play(scene)


def test_each_role_has_a_pool_of_its_own() -> None:
    """A role's pool is one, and no other role's, nor that of shared answers."""
    pools = ReadPools()
    roles = ("admin", "toolstack", "device-model", "observer")
    found = [pools.of(role) for role in roles]
    assert found == [pools.of(role) for role in roles]
    assert len({id(each) for each in (*found, pools.shared)}) == 5
    pools.close()
