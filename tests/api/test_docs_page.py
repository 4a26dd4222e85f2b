"""The docs page: every route and body, with links that lead somewhere, and no script."""

import re
from html.parser import HTMLParser

from maxmemd.api.routes import ROUTES
from tests.support.inside import Inside, problem


def test_the_docs_page(api: Inside) -> None:
    """The page names every route and every body, runs no script and fetches nothing."""
    reply = api.ask("GET", "/v1/docs")
    assert reply.headers["content-type"].startswith("text/html")
    page = reply.text
    for route in ROUTES:
        assert route.path in page
        assert f'id="{route.handler.__name__}"' in page
    assert "<script" not in page
    assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", page)
    _Links().feed_all(page)


def test_every_link_of_the_docs_page_works_in_a_browser(api: Inside) -> None:
    """What the page links to is served to a browser that follows it, with and without Referer."""
    links = set(re.findall(r'href="([^"#]+)"', api.ask("GET", "/v1/docs").text))
    assert links == {"/v1/openapi.json"}
    browser = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html", "User-Agent": "Mozilla/5.0"}
    for link in [*links, "/v1/docs"]:
        for more in ({}, {"Referer": "http://localhost/v1/docs"}):
            assert api.ask("GET", link, headers={**browser, **more}).status_code == 200
        problem(api.ask("GET", link, headers={"Origin": "http://x"}), "browser-refused", 403)


class _Links(HTMLParser):
    """Demands that every link of a page leads to a place on it, or to the document."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and the places that they can lead to."""
        named = dict(attrs)
        assert "src" not in named
        self.places.add(f"#{named.get('id')}")
        if "href" in named:
            self.targets.add(named["href"] or "")

    def feed_all(self, page: str) -> None:
        """Read the page and compare."""
        self.feed(page)
        assert self.targets
        assert self.targets - self.places == {"/v1/openapi.json"}
