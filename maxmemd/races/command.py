"""`maxmemd races`: every model, all its interleavings, one table, and what breaks it."""

import argparse
import json
from collections.abc import Iterator

from maxmemd.parsing import Verbs, verb_of
from maxmemd.races.models import MODELS
from maxmemd.races.verdicts import PROPERTIES, Verdict, judge
from maxmemd.races.words import LEGEND, as_values, first_broken, table, told

TEXT = (
    "Explore every interleaving, with a crash at every step, of the ways to set a domain's\n"
    "maximum that were discussed on xen-devel in 2015; say which hold, and the shortest history\n"
    "that breaks each of the others. Nothing real is touched."
)
EXAMPLES = (
    "examples:\n"
    "  maxmemd races                        the table, and one history for each broken model\n"
    "  maxmemd races --model modify-lock    all that is known of one model\n"
    "  maxmemd races --actors 2 --json      for programs, without the scenarios of three actors\n"
    "\n"
    "docs/why-one-arbiter.md says what follows from it."
)


def add_to(verbs: Verbs) -> argparse.ArgumentParser:
    """Add the verb to a program's; the caller says what runs it."""
    summary = "explore the models of who sets a maximum"
    verb = verb_of(verbs, "races", summary=summary, text=TEXT, examples=EXAMPLES)
    names = [model.name for model in MODELS]
    verb.add_argument("--model", choices=names, help="explore one, and tell every broken property")
    verb.add_argument("--actors", type=int, choices=(2, 3), default=3, help="at most (default: 3)")
    verb.add_argument("--json", action="store_true", help="print JSON")
    return verb


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Explore what was asked for, and give the lines to print."""
    models = [model for model in MODELS if arguments.model in (None, model.name)]
    verdicts = [judge(model, smallest=arguments.actors == 2) for model in models]
    if arguments.json:
        found = {"properties": list(PROPERTIES), "models": [as_values(v) for v in verdicts]}
        yield json.dumps(found, indent=1)
        return
    yield from table(verdicts)
    yield ""
    yield from LEGEND
    for verdict in verdicts:
        yield from told(verdict, _worth_telling(verdict, everything=arguments.model is not None))


def _worth_telling(verdict: Verdict, *, everything: bool) -> tuple[str, ...]:
    if everything:
        return PROPERTIES
    what = first_broken(verdict)
    return () if what is None else (what,)
