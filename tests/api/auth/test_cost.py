"""Each request takes what it costs from its client's rate."""

from pathlib import Path

import pytest

from maxmemd.api.auth.cost import MOST_ROWS, Cost, paged
from maxmemd.api.auth.peers import peer
from maxmemd.api.routes import ROUTES
from maxmemd.config.settings import Config
from tests.support.inside import Inside, problem

COSTS = {
    "get_host": "5", "get_domains": "10", "get_metrics": "10", "health": "1", "events": "5",
    "list_tokens": "1", "create_token": "5", "revoke_token": "5",
    "get_domain": "1", "explain": "3", "history": "2 + limit / 25", "pushes": "2 + limit / 25",
    "get_record": "1", "get_drift": "1", "set_drift": "1", "clear_drift": "1",
    "set_limit": "1", "set_target": "1", "build": "1", "put_record": "1", "set_component": "1",
    "remove_component": "1", "increase": "1", "headroom": "1", "relayed_headroom": "1",
    "rollback": "5",
}  # fmt: skip
"""What each route costs, said a second time: a new route without a line here fails."""
READER = peer(1, 1000, 5)


def test_every_route_states_its_cost() -> None:
    """In the one table of routes; none is free."""
    assert {route.handler.__name__: str(route.cost) for route in ROUTES} == COSTS
    assert all(route.cost.of(b"") >= 1 for route in ROUTES)


@pytest.mark.parametrize(
    ("query", "units"),
    [
        (b"", 4),
        (b"limit=1", 2),
        (b"limit=500", 22),
        (b"limit=00500", 22),
        (b"before=7&limit=250", 12),
        (b"limit=250&before=7", 12),
        (b"before=500", 4),
        (b"limit=999", 22),
        (b"limit=%35%30%30", 22),
        (b"l%69mit=500", 22),
        (b"limit=+500", 22),
        (b"xlimit=500", 4),
        (b"limit=", 4),
    ],
)
def test_a_page_costs_by_its_rows(query: bytes, units: int) -> None:
    """However the query is written, no page of many rows has the price of a small one."""
    assert paged.of(query) == units
    assert Cost(3).of(query) == 3


def test_a_dear_read_costs_more(tmp_path: Path) -> None:
    """Of a burst of 40 there are four lists, or one large page and four small ones."""
    for paths in (
        ["/v1/domains"] * 4,
        ["/metrics"] * 4,
        [f"/v1/domains/web/history?limit={MOST_ROWS}", *["/v1/domains/web/pushes"] * 4],
        ["/v1/domains/web"] * 40,
        ["/v1/docs"] * 8,
    ):
        with Inside(tmp_path, config=Config(rates={"observer": 20.0})) as api:
            api.service.admission._clock_s = lambda: 1000.0
            codes = [api.ask("GET", path, peer=READER).status_code for path in paths]
            assert codes == [200] * len(paths)
            told = problem(api.ask("GET", "/v1/domains", peer=READER), "too-many-requests", 429)
            assert (told["cost"], told["rate_per_s"]) == (10, 20.0)
            assert told["detail"].endswith("is 20 requests per second, and this one counts as 10")
            assert told["retry_after_s"] == 1


def test_a_refused_request_costs_nothing(tmp_path: Path) -> None:
    """A client that cannot afford a list can still afford what costs less."""
    with Inside(tmp_path, config=Config(rates={"observer": 5.0})) as api:
        api.service.admission._clock_s = lambda: 1000.0
        assert api.ask("GET", "/v1/domains/web", peer=READER).status_code == 200
        for _ in range(3):
            problem(api.ask("GET", "/v1/domains", peer=READER), "too-many-requests", 429)
        codes = [api.ask("GET", "/v1/health", peer=READER).status_code for _ in range(10)]
        assert codes == [200] * 9 + [429]


def test_one_without_a_rate_pays_nothing(tmp_path: Path) -> None:
    """Root's requests are not counted, whatever they cost."""
    with Inside(tmp_path, config=Config(rates={"observer": 1.0})) as api:
        for _ in range(20):
            assert api.ask("GET", "/metrics").status_code == 200


@pytest.mark.parametrize("ref", ["nosuch", "9999", "51a70000-0000-4000-8000-00000000dead"])
def test_a_domain_that_there_is_not_costs_a_list(tmp_path: Path, ref: str) -> None:
    """All domains were looked at for it, whatever the request was; root pays nothing."""
    with Inside(tmp_path, config=Config(rates={"observer": 20.0})) as api:
        api.service.admission._clock_s = lambda: 1000.0
        codes = [api.ask("GET", f"/v1/domains/{ref}", peer=READER).status_code for _ in range(5)]
        assert codes == [404] * 4 + [429]
        assert [api.ask("GET", f"/v1/domains/{ref}").status_code for _ in range(9)] == [404] * 9
