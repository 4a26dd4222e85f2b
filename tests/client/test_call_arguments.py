"""A Call is made of what can be sent; anything else is a TypeError that says what to give."""

from pathlib import Path
from typing import Any

import pytest

from maxmemd.client import Client, calls
from maxmemd.client.events import Position
from maxmemd.wire import requests
from tests.support.bodies import domain
from tests.support.stub import Stub

WITH_REF: dict[str, Any] = {
    "domain": (), "explain": (), "history": (), "pushes": (), "export_record": (),
    "set_limit": (requests.LimitRequest(max_mem_kib=1),),
    "set_target": (requests.TargetRequest(by_kib=1),),
    "set_component": ("a", "b", requests.AmountRequest(amount_kib=1)),
    "increase_component": ("a", "b", requests.IncreaseRequest(by_kib=1)),
    "remove_component": ("a", "b"),
    "build": (requests.BuildRequest(target_kib=1, life="created"),),
    "headroom": (requests.HeadroomRequest(pages=1),),
    "drift": (), "clear_drift": (), "set_drift": (requests.DriftRequest(mode="adopt"),),
    "rollback": (requests.RollbackRequest(revision=1),),
}  # fmt: skip
WITHOUT = {"host", "domains", "health", "import_record"}


def test_the_table_has_every_call() -> None:
    """A new function of the library is tried here as well."""
    ours = [
        each for each in vars(calls).values() if getattr(each, "__module__", "") == calls.__name__
    ]
    made = {each.__name__ for each in ours if each.__name__[0].islower()}
    assert made == WITH_REF.keys() | WITHOUT


@pytest.mark.parametrize("name", WITH_REF)
def test_a_domid_may_be_an_int(name: str) -> None:
    """The same Call is made of 7 and of "7"; what is neither a number nor a text is none."""
    make, rest = getattr(calls, name), WITH_REF[name]
    assert make(7, *rest) == make("7", *rest)
    for wrong in (None, True, 7.0, b"web", ["web"], Path("web")):
        with pytest.raises(TypeError, match=r"cannot use .* in a path"):
            make(wrong, *rest)
    for at, given in enumerate(rest):
        for wrong in (7, None, {}) if isinstance(given, str) else (7, "1g", {"max_mem_kib": 1}):
            with pytest.raises(TypeError, match=r"^cannot (use|send) "):
                make("web", *rest[:at], wrong, *rest[at + 1 :])


def test_numbers_of_a_query() -> None:
    """A page's size is a number."""
    for wrong in ("20", 2.5, True):
        with pytest.raises(TypeError, match="give a number"):
            calls.history("web", limit=wrong)  # type: ignore[arg-type]


def test_a_position_is_taken_from_what_is_given() -> None:
    """0 is the beginning however it is written, and one kind need not be in a list."""
    assert Position(0, 7, "drift").request()["headers"]["Last-Event-ID"] == "0"
    assert Position(0, 7, "drift").request()["params"] == {"domain": "7", "kind": "drift"}


def test_a_client_takes_a_path_and_only_calls(tmp_path: Path) -> None:
    """The socket may be a Path, as elsewhere in Python."""
    stub = Stub(str(tmp_path / "s"))
    stub.replies = {"GET /v1/domains/3": (200, domain())}
    with Client(tmp_path / "s") as client:
        assert client.do(calls.domain(3)).name == "web"
        with pytest.raises(TypeError, match="cannot send 'domains'"):
            client.do("domains")  # type: ignore[arg-type]
    stub.end()
