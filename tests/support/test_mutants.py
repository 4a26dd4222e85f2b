"""`make mutants`: where a survivor is, which are accepted, and that their list is not stale."""

import tomllib

import pytest

from tests.support import mutants
from tests.support.mutants import (
    ACCEPTED,
    ROOT,
    Change,
    Mutant,
    by_file,
    changed,
    line_of,
    read_accepted,
    report,
)

SOURCE = """import os


class Limit:
    def fits(self, amount):
        if amount > 1:
            return True
        if amount > 2:
            return True
        return False


def fits(amount):
    # why
    return amount > 1
"""
IN_METHOD = """--- limit.py
+++ limit.py
@@ -3,3 +3,3 @@
             return True
-        if amount > 2:
+        if amount >= 2:
             return True
"""
SAME_TEXT = """--- limit.py
+++ limit.py
@@ -2,4 +2,4 @@
         if amount > 1:
             return True
         if amount > 2:
-            return True
+            return False
"""
IN_FUNCTION = """--- limit.py
+++ limit.py
@@ -1,3 +1,3 @@
 def fits(amount):
     # why
-    return amount > 1
+    return amount >= 1
"""


@pytest.mark.parametrize(
    ("function", "diff", "line"),
    [("Limit.fits", IN_METHOD, 8), ("Limit.fits", SAME_TEXT, 9), ("fits", IN_FUNCTION, 15)],
)
def test_the_line(function: str, diff: str, line: int) -> None:
    """Is the file's, though the diff is of the function alone."""
    assert line_of(SOURCE, function, diff) == line


def test_what_was_changed() -> None:
    """Without the indentation, which a move to a class would change."""
    assert changed(IN_METHOD, "-") == "if amount > 2:"
    assert changed(IN_METHOD, "+") == "if amount >= 2:"


def test_a_survivor_is_shown_with_its_place_and_diff() -> None:
    """And an entry that is no survivor with its text."""
    change = Change("limit.py", "Limit.fits", "if amount > 2:", "if amount >= 2:")
    lines = list(report([Mutant(change, "survived", 8, IN_METHOD)], [change]))
    assert lines[0] == "limit.py:8: survived in Limit.fits"
    assert "    -        if amount > 2:" in lines
    assert lines[-1] == "mutants.toml: no survivor in limit.py Limit.fits: if amount >= 2:"


def test_each_file_has_its_numbers() -> None:
    """A mutant without a test survives too; one that was not reached does not."""
    statuses = [
        ("one", "a.py", "killed"), ("two", "a.py", "survived"), ("three", "a.py", "no tests"),
        ("four", "b.py", "not checked"), ("five", "b.py", "timeout"),
    ]  # fmt: skip
    assert list(by_file(statuses)) == [
        "a.py: 2 of 3 survived, 0 not tried",
        "b.py: 0 of 2 survived, 1 not tried",
    ]


def test_an_entry_says_why() -> None:
    """Or the list is refused."""
    entry = '[[accepted]]\nfile = "a"\nfunction = "b"\nwas = "c"\nnow = "d"\nwhy = "{}"\n'
    assert read_accepted(entry.format("same")) == {Change("a", "b", "c", "d")}
    with pytest.raises(ValueError, match="does not say why"):
        read_accepted(entry.format(" "))


def test_the_list_is_of_lines_that_are_there() -> None:
    """What an entry changes is still in its function."""
    for change in read_accepted(ACCEPTED.read_text(encoding="utf-8")):
        source = (ROOT / change.file).read_text(encoding="utf-8")
        assert line_of(source, change.function, f"\n\n-{change.was}")
        lines = {line.strip() for line in source.splitlines()}
        assert set(change.was.splitlines()) <= lines, change


def test_what_is_mutated_is_there() -> None:
    """Every pattern in pyproject.toml matches a file: a move of sources is noticed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "mutmut"
    ]
    for pattern in settings["only_mutate"]:
        assert list(ROOT.glob(pattern)), pattern
    for path in settings["pytest_add_cli_args_test_selection"]:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize(
    ("command", "worked"),
    [
        ("print('done')", True),
        ("raise SystemExit(1)", False),
        ("import time; time.sleep(60)", False),
    ],
)
def test_what_mutmut_cannot_do_is_no_success(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, command: str, worked: bool
) -> None:
    """Also where it does not get to trying before the time is over."""
    monkeypatch.setattr(mutants, "WORK", tmp_path)
    true_popen = mutants.subprocess.Popen
    monkeypatch.setattr(
        mutants.subprocess,
        "Popen",
        lambda argv, **rest: true_popen([argv[0], "-c", command], **rest),
    )
    assert mutants.mutate(30 if worked else 0.5) is worked
