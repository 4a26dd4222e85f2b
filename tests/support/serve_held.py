"""The daemon of `serve`, with something in it that does not end: named by HELD."""

import asyncio
import os
import threading
from typing import Any

from maxmemd import daemon
from maxmemd.ledger import chain, reader
from tests.support import serve


def hold_check() -> None:
    """Let the check of the chain rest for an hour after its first entries."""
    daemon.CHECK_AFTER_S, daemon.CHECK_PAUSE_S = 0.0, 3600.0
    check, reader.STRIDE = chain.check_entries, 1

    def checked(*words: Any, **options: Any) -> None:
        check(*words, **options)
        daemon.LOG.info("held: the check")

    chain.check_entries = checked


def hold_pool() -> None:
    """Fill the threads of the event loop's pool with what never ends."""
    run = daemon.run

    async def filled(*words: Any, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(100):  # more than there are threads
            loop.run_in_executor(None, threading.Event().wait)
        daemon.LOG.info("held: the pool")
        await run(*words, **options)

    daemon.run = filled


def hold_read() -> None:
    """Let every read of the history hang, as on a disk that does."""

    def hang(*_: Any, **__: Any) -> Any:
        daemon.LOG.info("held: the read")
        threading.Event().wait()

    reader.LedgerReader.history = hang  # type: ignore[method-assign]


if __name__ == "__main__":
    {"check": hold_check, "pool": hold_pool, "read": hold_read}[os.environ["HELD"]]()
    serve.main()
