"""What the API says of itself: openapi.json, the docs page, docs/api.md, metrics.

docs/openapi.json is committed so that every change of the surface is seen in review.
"""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from maxmemd.api import openapi
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.problems import STATUS
from maxmemd.api.request import MOST_BODY_BYTES
from maxmemd.api.routes import ROUTES
from maxmemd.config.settings import Config
from maxmemd.xen.simulated import SimulatedHost
from tests.support.inside import Inside, problem

API_MD = (openapi.FOR_REVIEW.parent / "api.md").read_text(encoding="utf-8")


def test_openapi_is_valid(api: Inside) -> None:
    """The document is OpenAPI 3.1 by its own schema, and every reference in it leads somewhere."""
    found = api.get("/v1/openapi.json")
    assert found["openapi"].startswith("3.1")
    OPENAPI_31_VALIDATOR.validate(found)
    for ref in set(re.findall(r'"#/([^"]*)"', json.dumps(found))):
        inner = found
        for part in ref.split("/"):
            inner = inner[part]


@pytest.mark.parametrize(
    "path", openapi.files(), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_the_generated_files_are_current(path: Path) -> None:
    """What was generated is what the routes are now (else: make openapi, and read the diff)."""
    assert path.read_bytes() == openapi.files()[path]


def test_what_is_served_is_what_was_generated(api: Inside) -> None:
    """The document and the page are served to the byte, whatever else is asked with them."""
    api.service.simulated = False  # of a simulated host the page has a line that says so
    api.serve(Dispatcher(api.service))
    for path, file, media_type in (
        ("/v1/openapi.json", openapi.OPENAPI, "application/json"),
        ("/v1/docs", openapi.DOCS, "text/html; charset=utf-8"),
        ("/v1/%64ocs?x=1", openapi.DOCS, "text/html; charset=utf-8"),
    ):
        reply = api.ask("GET", path)
        assert (reply.status_code, reply.headers["content-type"]) == (200, media_type)
        assert reply.content == file.read_bytes()


def test_openapi_has_every_route(api: Inside) -> None:
    """Every route is described, with the problems that it can answer with, and no other."""
    paths = api.get("/v1/openapi.json")["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert described == {(route.method, route.path) for route in ROUTES}
    for methods in paths.values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                assert status in {"200", "202"} or response["description"]
                if int(status) >= 400 and response["description"] != "not ready":
                    assert "application/problem+json" in response["content"]


def test_metrics_are_openmetrics(api: Inside) -> None:
    """Every line parses, and the numbers are those of the domains and of what was decided."""
    api.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
    api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4})
    api.host.rename(3, 'we"ird\\\nname')
    reply = api.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {one.name: one for one in text_string_to_metric_families(reply.text)}
    assert families["maxmemd_decisions"].samples[0].value == 1
    refused = families["maxmemd_refusals"].samples
    assert [(one.labels, one.value) for one in refused] == [({"code": "limit-below-target"}, 1)]
    limits = {one.labels["name"]: one.value for one in families["maxmemd_limit_bytes"].samples}
    assert limits["web"] == 701 * 1024 * 1024
    assert set(limits) == {"Domain-0", "web", "db", 'we"ird\\?name'}
    assert all(one.value == 1 for one in families["maxmemd_in_force"].samples)


@pytest.mark.parametrize("code", sorted(STATUS))
def test_every_code_is_documented(code: str) -> None:
    """Each problem code is in docs/api.md with its status."""
    assert re.search(rf"^\| `{code}` \| {STATUS[code]} \|", API_MD, re.MULTILINE), code


def test_no_code_is_documented_that_is_none() -> None:
    """The table of codes in docs/api.md has no others."""
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \| \d{3} \|", API_MD, re.MULTILINE)) == set(STATUS)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_documented(route: object) -> None:
    """Each route is in docs/api.md's table with its method."""
    assert f"| {route.method} | `{route.path}` |" in API_MD  # type: ignore[attr-defined]


def test_every_header_is_documented() -> None:
    """Every header that means something is in docs/api.md, and so is the bound of a body."""
    for header in ("If-Match", "ETag", "Idempotency-Key", "Content-Type", "Host", "Origin"):
        assert f"`{header}`" in API_MD
    assert f"{MOST_BODY_BYTES // 1024} KiB" in API_MD


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    """Every curl line of docs/api.md, played in order, is answered as it is printed there."""
    examples = re.findall(r"```console\n(.*?)```", API_MD, re.DOTALL)
    assert len(examples) > 10
    # a poll would commit what is noted of a push before the next decision does
    with Inside(tmp_path, SimulatedHost.demo(), Config(poll_s=600)) as api:
        for example in examples:
            _play(api, example)


def _play(api: Inside, example: str) -> None:
    command, _, printed = example.replace("\\\n", " ").partition("\n")
    curl = argparse.ArgumentParser()
    curl.add_argument("-s", action="store_true")
    curl.add_argument("--unix-socket")
    curl.add_argument("-X")
    curl.add_argument("-H")
    curl.add_argument("--json", type=json.loads)
    curl.add_argument("url")
    given = curl.parse_args(shlex.split(command.removeprefix("$ curl ")))
    headers = dict([given.H.split(": ")]) if given.H else {}
    method = given.X or ("GET" if given.json is None else "POST")
    reply = api.ask(method, given.url.removeprefix("http://localhost"), given.json, headers=headers)
    expected = printed.strip()
    if reply.headers["content-type"].startswith("application/") and expected.startswith("{"):
        _like(reply.json(), json.loads(expected), command)
    else:
        for line in expected.splitlines():
            assert line.strip() in reply.text, command


def _like(found: object, printed: object, where: str) -> None:
    """Demand that all that was printed is found; a text of "..." stands for anything."""
    if printed == "...":
        return
    if isinstance(printed, dict):
        assert isinstance(found, dict), where
        for name, value in printed.items():
            assert name in found, (where, name)
            _like(found[name], value, f"{where}: {name}")
    elif isinstance(printed, list):
        assert isinstance(found, list), where
        assert len(found) >= len(printed), where
        for one, other in zip(found, printed, strict=False):
            _like(one, other, where)
    else:
        assert found == printed, where


def test_a_problem_says_all_that_a_program_needs(api: Inside) -> None:
    """A refusal carries its code, its numbers, and which domain it is about."""
    told = problem(
        api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 1024}), "limit-below-target", 409
    )
    assert (told["max_mem_kib"], told["target_kib"], told["short_by_kib"]) == (1024, 524288, 523264)
    assert (told["domid"], told["name"], told["uuid"]) == (1, "web", api.uuid(1))
