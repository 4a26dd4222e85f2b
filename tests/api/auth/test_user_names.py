"""Names of users: found outside the event loop, and done without where the name service hangs."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from maxmemd.api.auth import peers, user_names
from maxmemd.api.auth.peers import peer
from maxmemd.api.auth.user_names import MOST_AT_ONCE, MOST_KNOWN, UserNames, name_of
from tests.support.inside import Inside
from tests.support.until import until

WITHOUT = 2**31 - 3
"""A uid that has no name."""
WRITES = [
    ("PUT", "/v1/domains/web/limit", {"max_mem_kib": 700 * 1024}),
    ("PUT", "/v1/domains/web/drift", {"mode": "adopt"}),
    ("POST", "/v1/tokens", {"name": "a", "role": "observer"}),
]


def test_a_name_is_looked_up_once() -> None:
    """In another thread; a user without a name is one "uid N"."""
    asked: list[tuple[int, bool]] = []

    def look_up(uid: int) -> str:
        asked.append((uid, threading.current_thread() is threading.main_thread()))
        return name_of(uid)

    names = UserNames(look_up)
    assert names.known(0) is None
    for _ in range(2):
        assert asyncio.run(names.find(0)) == "root"
        assert asyncio.run(names.find(WITHOUT)) == f"uid {WITHOUT}"
    assert (names.known(0), names.known(WITHOUT)) == ("root", f"uid {WITHOUT}")
    assert asked == [(0, False), (WITHOUT, False)]


def test_few_names_are_kept() -> None:
    """The oldest make room."""
    names = UserNames(str)
    for uid in range(MOST_KNOWN + 5):
        names.keep(uid, str(uid))
    assert (names.known(4), names.known(5)) == (None, "5")


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_name_service_that_hangs_holds_up_no_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: object
) -> None:
    """Others are answered while it does, and who waits for a name is served without it."""
    goes_on, asked = threading.Event(), threading.Semaphore(0)

    def hang(uid: int) -> str:
        asked.release()
        goes_on.wait()
        return f"user {uid}"

    names = UserNames(hang)
    for module in (peers, user_names):
        monkeypatch.setattr(module, "USER_NAMES", names)
    with Inside(tmp_path) as api:
        caller = peer(9, 0, 0)
        assert not caller.is_named
        writing = threading.Thread(
            target=api.ask, args=[method, path, body], kwargs={"peer": caller}
        )
        writing.start()
        asked.acquire()
        assert api.ask("GET", "/v1/health").status_code == 200
        writing.join()
        for _ in range(MOST_AT_ONCE + 1):
            reply = api.ask("PUT", WRITES[0][1], WRITES[0][2], peer=caller)
            assert reply.status_code == 200
        by = api.get("/v1/domains/web/history?limit=1")["entries"][0]["by"]
        assert by == {"name": "uid 0", "uid": 0, "gid": 0, "pid": 9}
        goes_on.set()
        until("the name is known", lambda: names.known(0) == "user 0")
        api.ask("PUT", WRITES[0][1], WRITES[0][2], peer=caller)
        by = api.get("/v1/domains/web/history?limit=1")["entries"][0]["by"]
        assert by["name"] == "user 0"
        assert json.loads(peer(9, 0, 0).actor)["name"] == "user 0"
