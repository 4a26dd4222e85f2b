"""The ledger's JSON text: what is written is read back as the same value."""

import json

import pytest

from maxmemd.policy.codec import (
    build_from_text,
    build_to_text,
    record_from_text,
    record_to_text,
    to_text,
)
from maxmemd.policy.entries import SETTLED_BUILD, BuildState
from maxmemd.policy.states import BuildPhase
from tests.policy.values import record_of


@pytest.mark.parametrize("phase", BuildPhase)
@pytest.mark.parametrize("pages", [(None, None), (0, 0), (5, 7)])
@pytest.mark.parametrize("unique_id", [None, 1, 2**64 - 1])
def test_a_build_round_trips(
    phase: BuildPhase, pages: tuple[int | None, int | None], unique_id: int | None
) -> None:
    """Phase, pages and ID are kept, 0 pages like any; a build that is settled is no text at all."""
    build = BuildState(phase, *pages, unique_id=unique_id)
    assert build_from_text(build_to_text(build)) == build
    assert (build_to_text(build) is None) is (build == SETTLED_BUILD)


def test_a_builds_text_is_what_the_migration_writes() -> None:
    """The column's form is not only ours: a migration rewrites it without this code."""
    text = build_to_text(BuildState(BuildPhase.ANNOUNCED, 8, 4))
    assert text == '{"phase":"announced","toolstack_pages":8,"pushed_pages":4}'


def test_an_unknown_phase_is_an_error() -> None:
    """What no maxmemd wrote is not taken for a build."""
    with pytest.raises(ValueError, match="born"):
        build_from_text('{"phase":"born"}')


def test_a_record_round_trips_as_text() -> None:
    """What the history keeps of a record is all of it."""
    record = record_of(64, rom=8)
    assert record_from_text(record.uuid, record.revision, record_to_text(record)) == record


def test_text_is_compact_json_in_utf8() -> None:
    """Names may be of any letters; no byte is spent on spaces."""
    assert to_text({"name": "\N{LATIN SMALL LETTER U WITH DIAERESIS}", "kib": 4}) == (
        '{"name":"\N{LATIN SMALL LETTER U WITH DIAERESIS}","kib":4}'
    )
    assert json.loads(to_text([None, True])) == [None, True]
