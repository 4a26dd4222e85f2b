"""Change what decides, one small change at a time, and see whether a test fails: `make mutants`.

    python -m tests.support.mutants [SECONDS]

What is changed, and by which tests it is judged, stands in pyproject.toml (tool.mutmut). A change
that no test notices is a survivor. It is a missing test, or it changes nothing: then it is listed
in tests/support/mutants.toml. A survivor that is not listed fails, and an entry that is none. When
the time is over, what has not been tried is counted; the changes that are tried fastest come first.
"""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "mutants"
"""Where mutmut works, and keeps its results until the next run."""
ACCEPTED = Path(__file__).with_suffix(".toml")
WITHIN_S = 1800
STOPS_WITHIN_S = 60
FINE = ("killed", "timeout", "caught by type check")
UNTRIED = ("not checked", "check was interrupted by user")
HUNK = re.compile(r"@@ -(\d+)")


@dataclass(frozen=True)
class Change:
    """What a mutant is: lines of a function that were put in place of others."""

    file: str
    function: str
    was: str
    now: str


@dataclass(frozen=True)
class Mutant:
    """A change, what became of it, and where it is."""

    change: Change
    status: str
    line: int
    diff: str


def main(arguments: list[str]) -> int:
    """Try the mutants and print the survivors; return the exit status."""
    within_s = float(arguments[0]) if arguments else WITHIN_S
    began_s = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)  # else results of other tests would be believed
    WORK.mkdir()
    if not mutate(within_s):
        print(f"cannot try the mutants: {WORK / 'log'} ends with")
        print("\n".join(_log_lines()[-30:]))
        return 2
    statuses = results()
    counts = Counter(status for _, _, status in statuses)
    left = [found for found in statuses if found[2] not in (*FINE, *UNTRIED)]
    survivors = [seen(name, file, status) for name, file, status in left]
    untried = sum(counts[status] for status in UNTRIED)
    accepted = read_accepted(ACCEPTED.read_text(encoding="utf-8"))
    new = [mutant for mutant in survivors if mutant.change not in accepted]
    stale = [] if untried else sorted_changes(accepted - {mutant.change for mutant in survivors})
    for line in (*report(new, stale), *by_file(statuses)):
        print(line)
    print(
        f"{counts.total()} mutants in {time.monotonic() - began_s:.0f} s:"
        f" {sum(counts[status] for status in FINE)} killed,"
        f" {len(survivors) - len(new)} survived and are listed, {len(new)} survived and are not,"
        f" {untried} not tried for want of time"
    )
    return 1 if new or stale else 0


def mutate(within_s: float) -> bool:
    """Let mutmut try all mutants, or as many as it can; return whether it came to try them."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1)]
    with (WORK / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # it lets its workers end, and keeps what it has
            status = _ended(process)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return status == 0


def _ended(process: "subprocess.Popen[bytes]") -> int:
    try:
        return process.wait(STOPS_WITHIN_S)
    except subprocess.TimeoutExpired:
        return -1


def _log_lines() -> list[str]:
    """Return what mutmut printed, without the progress that it overwrites."""
    text = (WORK / "log").read_text(encoding="utf-8", errors="replace")
    return [line.rpartition("\r")[2] for line in text.splitlines()]


def results() -> list[tuple[str, str, str]]:
    """Return the name, the file and the status of every mutant, in order."""
    from mutmut.stats import status_by_exit_code

    found = []
    for path in sorted(WORK.rglob("*.py.meta")):
        file = str(path.relative_to(WORK)).removesuffix(".meta")
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        found += [(name, file, status_by_exit_code[code]) for name, code in codes.items()]
    return found


def seen(name: str, file: str, status: str) -> Mutant:
    """Look at one mutant: what it changes, and where."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    function, owner = orig_function_and_class_names_from_key(name)
    full = f"{owner}.{function}" if owner else function
    diff = get_diff_for_mutant(name, path=file)
    source = (ROOT / file).read_text(encoding="utf-8")
    was, now = (changed(diff, sign) for sign in "-+")
    return Mutant(Change(file, full, was, now), status, line_of(source, full, diff), diff)


def changed(diff: str, sign: str) -> str:
    """Return the lines of a diff that were taken out, or put in, without their indentation."""
    lines = [line for line in diff.splitlines()[2:] if line.startswith(sign)]
    return "\n".join(line[1:].strip() for line in lines)


def line_of(source: str, function: str, diff: str) -> int:
    """Return the line of a file that a function's diff is about."""
    node = next(node for name, node in functions(ast.parse(source)) if name == function)
    begins = min([node.lineno, *(wrapper.lineno for wrapper in node.decorator_list)])
    body = diff.splitlines()[2:]
    start = next((int(found[1]) for line in body if (found := HUNK.match(line))), 1)
    before = next((n for n, line in enumerate(body[1:]) if line.startswith(("-", "+"))), 0)
    near = begins + start - 1 + before
    text = changed(diff, "-").partition("\n")[0]
    lines = source.splitlines()
    same = [
        number
        for number in range(begins, (node.end_lineno or begins) + 1)
        if lines[number - 1].strip() == text
    ]
    return min(same, key=lambda number: abs(number - near), default=begins)


def functions(
    tree: ast.AST, owner: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return every function and method of a module by its name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield owner + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{node.name}.")


def read_accepted(text: str) -> set[Change]:
    """Return the changes that a list of accepted survivors names. Each says why."""
    entries = tomllib.loads(text)["accepted"]
    for entry in entries:
        if not str(entry["why"]).strip():
            raise ValueError(f"an entry for {entry['file']} does not say why")
    return {
        Change(*(entry[key] for key in ("file", "function", "was", "now"))) for entry in entries
    }


def sorted_changes(changes: Iterable[Change]) -> list[Change]:
    """Return changes by file and function."""
    return sorted(changes, key=lambda change: (change.file, change.function, change.was))


def report(new: Sequence[Mutant], stale: Sequence[Change]) -> Iterator[str]:
    """Return the lines about survivors that are not listed, and about entries that are none."""
    for mutant in sorted(new, key=lambda mutant: (mutant.change.file, mutant.line)):
        yield f"{mutant.change.file}:{mutant.line}: {mutant.status} in {mutant.change.function}"
        lines = mutant.diff.splitlines()[2:]
        yield from (f"    {line}" for line in lines if not line.startswith("@@"))
        yield ""
    for change in stale:
        yield f"{ACCEPTED.name}: no survivor in {change.file} {change.function}: {change.now}"


def by_file(statuses: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Return a line for each file: how many of its mutants there are, survived, and are untried."""
    for file in sorted({file for _, file, _ in statuses}):
        counts = Counter(status for _, where, status in statuses if where == file)
        untried = sum(counts[status] for status in UNTRIED)
        survived = counts.total() - untried - sum(counts[status] for status in FINE)
        yield f"{file}: {survived} of {counts.total()} survived, {untried} not tried"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
