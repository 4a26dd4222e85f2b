"""What we use of uvicorn that it does not promise: each piece is still there, and still means that.

guard.py, sending.py and server.py inherit from uvicorn's classes. pyproject.toml keeps uvicorn and
httptools to the release that this was read in; with another one, read the sources again first.
"""

import asyncio
import re
import tomllib
from importlib.metadata import version

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from tests.support.process import ROOT
from tests.system.fuzz.still import Transport

INHERITED = {
    HttpToolsProtocol: (
        "connection_made", "connection_lost", "data_received", "send_400_response",
        "on_message_begin", "on_headers_complete", "on_body", "on_message_complete",
        "on_response_complete", "shutdown",
    ),
    RequestResponseCycle: ("send", "receive", "run_asgi"),
    FlowControl: ("pause_reading", "resume_reading", "drain"),
    uvicorn.Server: ("serve", "startup", "shutdown", "handle_exit", "capture_signals"),
}  # fmt: skip
KEPT_BY_A_CONNECTION = (
    "app", "loop", "parser", "connections", "transport", "flow", "pipeline", "cycle", "scope",
    "headers", "url",
)  # fmt: skip
KEPT_BY_A_REQUEST = (
    "scope", "transport", "flow", "message_event", "on_response", "disconnected", "keep_alive",
    "waiting_for_100_continue", "body", "response_started", "response_complete",
)  # fmt: skip
METHODS = [(owner, name) for owner, names in INHERITED.items() for name in names]


def gone(owner: object, name: str) -> str:
    """Return the message for the developer who raises the version."""
    what = f"{getattr(owner, '__name__', owner)} of uvicorn {version('uvicorn')}"
    return f"{what} has no {name} any more, which maxmemd/api uses: read its source, fix our use"


@pytest.fixture
def connection() -> HttpToolsProtocol:
    """Give a connection of stock uvicorn on which one request has arrived and is not served."""
    loop = asyncio.new_event_loop()
    config = uvicorn.Config(lambda *_: None, ws="none", lifespan="off", log_config=None)
    config.load()

    async def connect() -> HttpToolsProtocol:
        made = HttpToolsProtocol(config, ServerState(), {}, loop)
        made._start_asgi_task = lambda *_: None  # type: ignore[method-assign]
        made.connection_made(Transport(0))
        made.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return made

    try:
        return loop.run_until_complete(connect())
    finally:
        loop.close()


@pytest.mark.parametrize(("owner", "name"), METHODS, ids=lambda one: getattr(one, "__name__", one))
def test_a_method_that_we_override_or_call(owner: type, name: str) -> None:
    """It is defined there, so that overriding it has an effect."""
    assert callable(getattr(owner, name, None)), gone(owner, name)


@pytest.mark.parametrize("name", KEPT_BY_A_CONNECTION)
def test_an_attribute_of_a_connection(connection: HttpToolsProtocol, name: str) -> None:
    """A connection has it once its first request has come."""
    assert hasattr(connection, name), gone(HttpToolsProtocol, name)


@pytest.mark.parametrize("name", KEPT_BY_A_REQUEST)
def test_an_attribute_of_a_request(connection: HttpToolsProtocol, name: str) -> None:
    """A request has it while it is served."""
    assert hasattr(connection.cycle, name), gone(RequestResponseCycle, name)


def test_what_the_attributes_mean(connection: HttpToolsProtocol) -> None:
    """They are of the kinds, and begin with the values, that our own code counts on."""
    cycle = connection.cycle
    assert connection in connection.connections
    assert not connection.pipeline
    assert not connection.flow.read_paused
    assert not connection.flow.write_paused
    assert isinstance(cycle.message_event, asyncio.Event)
    assert isinstance(cycle.body, bytearray)
    assert cycle.on_response == connection.on_response_complete
    assert cycle.send.__self__ is cycle  # type: ignore[attr-defined]
    assert cycle.keep_alive is True
    assert not any((cycle.disconnected, cycle.response_started, cycle.response_complete))
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n", gone(HttpToolsProtocol, "STATUS_LINE")


def test_an_attribute_of_the_server() -> None:
    """The server keeps its connections where they are swept, and its lifespan's state."""
    server = uvicorn.Server(uvicorn.Config(lambda *_: None, lifespan="off", log_config=None))
    assert server.server_state.connections == set(), gone(uvicorn.Server, "server_state")
    server.config.load()
    lifespan = server.config.lifespan_class(server.config)
    assert lifespan.state == {}, gone(lifespan, "state")


@pytest.mark.parametrize("name", ["get_method", "should_keep_alive", "should_upgrade"])
def test_a_method_of_the_parser(name: str) -> None:
    """Httptools has what uvicorn, and the fuzzer, ask of it."""
    assert hasattr(httptools.HttpRequestParser, name), f"httptools has no {name} any more"


@pytest.mark.parametrize("name", ["uvicorn", "httptools"])
def test_another_release_is_not_taken(name: str) -> None:
    """The requirement ends before the next minor release, and what is installed is within it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (wanted,) = (one for one in project["dependencies"] if one.startswith(name))
    bounds = re.fullmatch(rf"{name}>=0\.(\d+),<0\.(\d+)", wanted)
    assert bounds is not None, wanted
    assert int(bounds[2]) == int(bounds[1]) + 1
    assert version(name).split(".")[:2] == ["0", bounds[1]]
