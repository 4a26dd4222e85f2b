"""The alert rules and the dashboard: right in themselves, and about metrics that there are."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from maxmemd.policy.kinds import EntryKind, PushKind
from tests.support.inside import Inside
from tests.support.promtool import promtool

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "maxmemd.rules.yml"
CASES = DEPLOY / "prometheus" / "maxmemd.test.yml"
DASHBOARD = json.loads((DEPLOY / "grafana" / "maxmemd.json").read_text(encoding="utf-8"))
DOCS = Path(__file__).resolve().parents[3] / "docs"

_NAME = re.compile(r"\bmaxmemd_[a-z0-9_]+")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Inside]:
    """Give a daemon that has decided and refused something, so that every series is there."""
    with Inside(tmp_path) as inside:
        inside.put("/v1/domains/web/limit", {"max_mem_kib": 700 * 1024})
        inside.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4})
        yield inside


def exposed(api: Inside) -> set[str]:
    """Return the names of the samples of one scrape."""
    text = api.ask("GET", "/metrics", headers={"Accept": "text/plain"}).text
    return {
        re.split(r"[{ ]", line)[0]
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


def expressions() -> dict[str, str]:
    """Return every expression that is shipped, by where it is."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    found = {rule["alert"]: rule["expr"] for rule in rules}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        found[variable["name"]] = variable.get("definition", "")
    return found


def test_every_metric_that_is_used_exists(api: Inside) -> None:
    """No rule and no panel is about a metric that /metrics does not have."""
    there = exposed(api)
    for where, expression in expressions().items():
        assert set(_NAME.findall(expression)) <= there, where


def test_every_metric_is_used_and_documented(api: Inside) -> None:
    """No metric is without a panel, nor without a row in docs/observing.md."""
    families = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name in exposed(api)}
    families = {name for name in families if name.startswith("maxmemd_")}
    shown = {
        re.sub(r"_bucket$", "", name) for e in expressions().values() for name in _NAME.findall(e)
    }
    assert families - shown == set()
    page = (DOCS / "observing.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(maxmemd_[a-z_]+)`", page, re.MULTILINE))
    assert told == families


def test_the_rules_are_right() -> None:
    """`promtool check rules` finds nothing wrong."""
    done = subprocess.run(
        [promtool(), "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_do_as_they_say() -> None:
    """`promtool test rules`: each alert fires when it is to, and not before."""
    done = subprocess.run(
        [promtool(), "test", "rules", str(CASES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_where_it_fires() -> None:
    """No rule is shipped that was never seen to fire."""
    alerts = {name for name in expressions() if name.startswith("Maxmemd")}
    cases = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
    fired = {
        check["alertname"]
        for case in cases
        for check in case["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert alerts == fired


def test_every_expression_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    """Promtool reads each panel's expression, with Grafana's variables filled in."""
    rules = []
    for number, (where, expression) in enumerate(expressions().items()):
        if expression.startswith("label_values") or not expression:
            continue
        filled = expression.replace("$__rate_interval", "5m").replace("$instance", ".*")
        rules.append({"record": f"panel:{number}", "expr": filled.replace("$domain", ".*")})
        assert "$" not in rules[-1]["expr"], where
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        [promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_laid_out() -> None:
    """Every panel has its own number and place, and says what it shows; none lies on another."""
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_commands_of_the_alerts_exist() -> None:
    """What an alert tells to type is a verb of maxmemctl's, and the kinds are those of events."""
    from maxmemd.cli.commands import find

    text = RULES.read_text(encoding="utf-8")
    for verb in re.findall(r"maxmemctl ([a-z-]+)", text):
        assert find(verb) is not None, verb
    for kind in re.findall(r"--kind ([a-z-]+)", text):
        assert kind in {*EntryKind, *PushKind}
