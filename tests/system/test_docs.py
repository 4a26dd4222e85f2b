"""The documents name what the program has: a code, a route, a key or a verb cannot go missing."""

import re
from pathlib import Path

import pytest

from maxmemd.api.problems import STATUS
from maxmemd.api.routes import ROUTES, Route
from maxmemd.cli.commands import VERBS
from maxmemd.config.settings import Config

ROOT = Path(__file__).resolve().parents[2]


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", sorted(STATUS))
def test_every_problem_code_is_documented(code: str) -> None:
    """docs/api.md has a row for every problem code."""
    assert f"`{code}`" in _text("docs/api.md")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_documented(route: Route) -> None:
    """docs/api.md names every route with its method."""
    assert re.search(rf"{route.method}`?,? .*{re.escape(route.path)}", _text("docs/api.md"))


@pytest.mark.parametrize("key", Config.__slots__)
def test_every_configuration_key_is_documented(key: str) -> None:
    """docs/configuration.md and the shipped file name every key."""
    assert f"| `{key}` |" in _text("docs/configuration.md")
    assert f"#{key} = " in _text("deploy/maxmemd.toml")


@pytest.mark.parametrize("verb", sorted(verb.name for verb in VERBS))
def test_every_verb_is_documented(verb: str) -> None:
    """docs/maxmemctl.md names every verb."""
    assert verb in _text("docs/maxmemctl.md")


def test_files_that_are_named_exist() -> None:
    """Every file that ARCHITECTURE.md and HACKING.md name with its folder is there."""
    for document in ("ARCHITECTURE.md", "HACKING.md"):
        named = set(re.findall(r"`((?:[\w-]+/)+[\w-]+\.\w+)[:`]", _text(document)))
        assert len(named) > 20
        for path in named - {"migrations/versions/NNNN_what_it_does.py"}:
            found = [ROOT / path, ROOT / "maxmemd" / path]
            assert any(one.is_file() for one in found), f"{document}: {path}"


def test_links_lead_somewhere() -> None:
    """Every relative link of the documents leads to a file."""
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
