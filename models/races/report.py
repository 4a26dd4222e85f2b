"""Verdicts and histories as text, and as JSON values."""

from collections.abc import Sequence
from typing import Any

from models.races.check import PROPERTIES, Breach, Verdict

LEGEND = (
    "nothing lost     every confirmed contribution is in Xen's maximum",
    "nothing twice    and nothing else is: none counts twice, or beside what replaced it",
    "any order        every interleaving ends as some order of whole commands does",
    "migration        right after a migration too",
    "explained        what is stored, by owner, accounts for the maximum",
    "admission        what must not all be granted is not, when everybody looks before it writes",
    "crash            holds until an actor is killed at the wrong moment",
)


def table(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the verdicts as the lines of one table."""
    rows: list[tuple[str, ...]] = [("model", *PROPERTIES, "states")]
    rows += [(v.model.title, *(v.holds(p) for p in PROPERTIES), str(v.states)) for v in verdicts]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def first_broken(verdict: Verdict) -> str | None:
    """Return the first broken property of the table, one broken without a crash if there is one."""
    broken = [what for what in PROPERTIES if what in verdict.breaches]
    return min(broken, key=lambda what: verdict.breaches[what].crashes, default=None)


def history(breach: Breach) -> list[str]:
    """Return a history, a numbered line for each step, and what is wrong at its end."""
    lines = [f"{n:>2}. {who}: {words}" for n, (who, words) in enumerate(breach.steps, 1)]
    return [*lines, f"    {breach.finding}"]


def breach_lines(verdict: Verdict, properties: Sequence[str]) -> list[str]:
    """Return the histories that break these properties; one title for all that share a history."""
    titles: dict[Breach, list[str]] = {}
    for what in properties:
        if what in verdict.breaches:
            titles.setdefault(verdict.breaches[what], []).append(what)
    lines = []
    for breach, whats in titles.items():
        when = f" after {breach.crashes} crash" if breach.crashes else ""
        lines += ["", f"{verdict.model.title}: not '{', '.join(whats)}'{when}", *history(breach)]
    return lines


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as JSON values."""
    return {
        "name": verdict.model.name,
        "title": verdict.model.title,
        "verdicts": {what: verdict.holds(what) for what in PROPERTIES},
        "scenarios": verdict.scenarios,
        "states": verdict.states,
        "histories": {what: _breach_to_json(breach) for what, breach in verdict.breaches.items()},
    }


def _breach_to_json(breach: Breach) -> dict[str, Any]:
    steps = [{"who": who, "does": words} for who, words in breach.steps]
    return {
        "actors": list(breach.actors),
        "steps": steps,
        "finding": breach.finding,
        "crashes": breach.crashes,
    }
