"""Whatever can be generated from the OpenAPI document, right or wrong, over the real socket.

All of Schemathesis' checks are on. What valid data may be answered with besides 2xx are the
answers of a stateful service: not found, in conflict, gone, or at another revision by now.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from requests.adapters import HTTPAdapter
from schemathesis.config import SchemathesisConfig
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from maxmemd.api.pages import OPENAPI
from maxmemd.api.routes import ROUTES
from tests.support.figures import figure
from tests.support.http import connect
from tests.support.outside import Outside
from tests.support.soak import SOAK

EXAMPLES = 1500 if SOAK else 25
"""Of each operation; those without parameters or a body have but one. 20,000 in all by SOAK."""
_COUNT: list[int] = []
LEGITIMATE = ["2xx", "404", "409", "410", "412"]
PINNED = [*LEGITIMATE, "403", "422"]
"""What is asked for a stub domain is about one instance: by its domid, and not of another UUID."""


class OverUnix(HTTPAdapter):
    """requests over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__()

        class Connection(HTTPConnection):
            def _new_conn(self) -> Any:
                return connect(path, 20.0)

        self._pool = HTTPConnectionPool("localhost", maxsize=4)
        self._pool.ConnectionCls = Connection

    def get_connection_with_tls_context(self, *_: object, **__: object) -> Any:
        """Return the one pool that there is."""
        return self._pool

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()
        super().close()


@pytest.fixture(scope="module")
def session(daemon: Outside) -> Iterator[requests.Session]:
    """Give a session whose every request goes to the daemon's socket."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", OverUnix(daemon.socket))
        yield session
    assert len(_COUNT) >= 20_000 or not SOAK
    figure("schemathesis", f"all checks, {len(ROUTES) - 1} operations: cases sent", len(_COUNT))


_CONFIG = SchemathesisConfig.from_dict(
    {
        "base-url": "http://localhost",
        "checks": {"positive_data_acceptance": {"expected-statuses": LEGITIMATE}},
        "operations": [
            {
                "include-path": "/v1/domains/{ref}/relayed-headroom",
                "checks": {"positive_data_acceptance": {"expected-statuses": PINNED}},
            }
        ],
    }
)
schema = schemathesis.openapi.from_path(OPENAPI, config=_CONFIG)
schema = schema.exclude(path="/v1/events")  # has no end: test_events.py


@pytest.mark.soak
@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_can_be_generated(case: Any, session: requests.Session) -> None:
    """Every generated request, valid or not, is answered as the document says."""
    _COUNT.append(1)
    _quoted_again(case)
    case.validate_response(case.call(session=session))


def _quoted_again(case: Any) -> None:
    """Put the quotes back that Schemathesis' coverage phase takes off its own valid If-Match."""
    value = case.headers.get("if-match") if case.headers else None
    if value is not None and case.meta.generation.mode.is_positive and str(value).isdigit():
        case.headers["if-match"] = f'"{value}"'
