"""docs/maxmemctl.md says everything that the program knows."""

from pathlib import Path

import pytest

from maxmemd.cli.commands import VERBS
from maxmemd.cli.options import GLOBALS

MANUAL = (Path(__file__).parents[2] / "docs" / "maxmemctl.md").read_text()


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_has_a_row(verb: str) -> None:
    """A verb that is not in a table of the manual does not exist for its readers."""
    assert f"\n| `{verb}" in MANUAL


@pytest.mark.parametrize(
    "option", sorted({each.long for verb in VERBS for each in (*verb.options, *GLOBALS)})
)
def test_every_option_is_told(option: str) -> None:
    """As are the options; list's -v is xl's own."""
    assert f"`--{option}" in MANUAL or option == "verbose"
