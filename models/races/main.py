"""`python -m models.races`: every model, all its interleavings, one table, and what breaks it."""

import argparse
import json
import os
import sys
from collections.abc import Iterator

from models.races.check import PROPERTIES, Verdict, judge
from models.races.models import MODELS
from models.races.report import LEGEND, breach_lines, first_broken, table, to_json

TEXT = (
    "Explore every interleaving, with a crash at every step, of the ways to set a domain's\n"
    "maximum that were discussed on xen-devel in 2015; say which hold, and the shortest history\n"
    "that breaks each of the others. Nothing real is touched."
)
EXAMPLES = (
    "examples:\n"
    "  make races                                   the table, and one history for each broken\n"
    "                                               model (ARGS=... for options)\n"
    "  python -m models.races --model modify-lock   every broken property of one model\n"
    "  python -m models.races --actors 2 --json     as JSON, without scenarios of three actors\n"
    "\n"
    "docs/why-one-arbiter.md says what follows from it."
)


def main(words: list[str] | None = None) -> int:
    """Print what exploring the models finds; return the exit status."""
    arguments = _parser().parse_args(words)
    try:
        for line in lines(arguments):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter complains at exit
        return 1
    return 0


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Explore the chosen models, and give the lines to print."""
    models = [model for model in MODELS if arguments.model in (None, model.name)]
    verdicts = [judge(model, smallest=arguments.actors == 2) for model in models]
    if arguments.json:
        found = {"properties": list(PROPERTIES), "models": [to_json(v) for v in verdicts]}
        yield json.dumps(found, indent=1)
        return
    yield from table(verdicts)
    yield ""
    yield from LEGEND
    for verdict in verdicts:
        yield from breach_lines(verdict, _to_tell(verdict, everything=arguments.model is not None))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.races",
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [model.name for model in MODELS]
    parser.add_argument("--model", choices=names, help="explore one, with every broken property")
    parser.add_argument("--actors", type=int, choices=(2, 3), default=3, help="at most, default 3")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _to_tell(verdict: Verdict, *, everything: bool) -> tuple[str, ...]:
    if everything:
        return PROPERTIES
    what = first_broken(verdict)
    return () if what is None else (what,)
