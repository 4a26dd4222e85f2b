"""Whatever a domain is called, nothing that a terminal would obey leaves the daemon."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from maxmemd.units import Memory
from tests.support.inside import Inside
from tests.support.until import until

HOSTILE = (
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\r\nforged 1.0",
    "\u202edetsrever",
    "line\u2028separator",
    "nul\x00",
    "\x7f",
    "\udcff lone",
)
ROUTES = ("", "/explain", "/history", "/pushes", "/drift", "/record")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Inside]:
    """Give a daemon with a domain of each name."""
    with Inside(tmp_path) as inside:
        for name in HOSTILE:
            inside.host.create(name, memory=Memory.of_mib(64), maxmem=Memory.of_mib(64))
        until("all are recorded", lambda: all(each["managed"] for each in listed(inside)))
        yield inside


def listed(api: Inside) -> list[dict[str, object]]:
    """Return all domains."""
    found: list[dict[str, object]] = api.get("/v1/domains")["domains"]
    return found


def demand_plain(text: str) -> None:
    """Demand that each line of an answer can be printed as it is."""
    raw = {letter for line in text.split("\n") for letter in line if not letter.isprintable()}
    assert raw == set()


def test_no_answer_has_a_raw_control_character(api: Inside) -> None:
    """Lists, metrics, health, and all that is said of one domain, while it lives and afterwards."""
    for domain in listed(api):
        demand_plain(str(domain["name"]))
    for accept in ("text/plain", "application/openmetrics-text"):
        demand_plain(api.ask("GET", "/metrics", headers={"Accept": accept}).text)
    last = 3 + len(HOSTILE)
    for domid in range(4, last + 1):
        api.put(f"/v1/domains/{domid}/limit", {"max_mem_kib": 80 * 1024, "reason": "\x1b[2J"})
        for route in ROUTES:
            demand_plain(api.ask("GET", f"/v1/domains/{domid}{route}").text)
    uuid = api.uuid(last)
    api.host.destroy(last)
    until("it is gone", lambda: api.get(f"/v1/domains/{uuid}")["domid"] is None)
    demand_plain(api.ask("GET", f"/v1/domains/{uuid}").text)
    for path in ("/v1/domains", "/v1/health", "/v1/host"):
        demand_plain(api.ask("GET", path).text)


def test_such_a_domain_is_found_as_it_is_shown(api: Inside) -> None:
    """By the name that a list has of it."""
    for domain in listed(api):
        found = api.get(f"/v1/domains/{quote(str(domain['name']), safe='')}")
        assert found["uuid"] == domain["uuid"]
