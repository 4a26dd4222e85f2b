"""`python -m benchmarks`: measure, print one table, exit 1 when a bar is missed."""

import argparse
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figures import FIGURES
from benchmarks.load import Generator
from benchmarks.report import CannotMeasure, Row, as_json, as_table, progress

DISK = Path("/var/tmp")
"""Where databases are made: /tmp may be in memory, where a commit costs nothing."""


def main() -> int:
    """Run the measurements; return 1 if a bar is missed, 2 if one cannot be measured."""
    arguments = _parser().parse_args()
    names = arguments.only.split(",") if arguments.only else list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        print(
            f"cannot measure {unknown[0]}: the measurements are {', '.join(FIGURES)}",
            file=sys.stderr,
        )
        return 2
    try:
        rows = _measure(names)
    except CannotMeasure as error:
        print(error, file=sys.stderr)
        return 2
    print(as_json(rows) if arguments.json else as_table(rows))
    return 1 if any(row.passed is False for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", metavar="A,B", help=f"some of {','.join(FIGURES)}")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser


def _measure(names: list[str]) -> list[Row]:
    began_s = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="maxmemd-bench-", dir=DISK) as name:
        directory = Path(name)
        bench = Bench(directory, cache(lambda: Generator.build(directory)))
        for figure in names:
            progress(f"{figure}: {(FIGURES[figure].__doc__ or '').splitlines()[0]}")
            rows += FIGURES[figure](bench)
    progress(f"measured in {time.monotonic() - began_s:.0f} s")
    return rows


if __name__ == "__main__":
    sys.exit(main())
