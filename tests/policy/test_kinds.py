"""Kinds: one spelling, and the same ones wherever they are listed."""

import re

from maxmemd.policy.kinds import DECISION, EntryKind, PushKind
from maxmemd.policy.wishes import KINDS
from maxmemd.wire import history_replies

DECISIONS = {
    "mem-max", "mem-set", "component-set", "component-removed", "component-increased", "rollback",
    "import", "build-announced", "headroom", "adopted", "build-followed", "record-replaced",
    "limits-taken",
}  # fmt: skip


def test_decisions_are_what_changes_a_record() -> None:
    """Every wish that is granted is one, and what maxmemd takes from a toolstack's writes."""
    assert {kind.value for kind in EntryKind if kind.is_decision} == DECISIONS
    assert set(KINDS.values()) == {EntryKind(kind) for kind in DECISIONS} - {
        EntryKind.ADOPTED, EntryKind.BUILD_FOLLOWED, EntryKind.RECORD_REPLACED,
        EntryKind.LIMITS_TAKEN,
    }  # fmt: skip


def test_what_travels_has_the_same_kinds() -> None:
    """The API lists the kinds of entries, and of events: entries and pushes."""
    assert history_replies.HistoryEntry.model_fields["kind"].annotation is EntryKind
    assert history_replies.Event.model_fields["kind"].annotation == EntryKind | PushKind
    assert DECISION not in {*EntryKind, *PushKind}


def test_every_kind_is_spelled_in_one_way() -> None:
    """Lower case, with hyphens, and no word of the history is one of the pushes'."""
    assert all(re.fullmatch("[a-z]+(-[a-z]+)*", kind) for kind in (*EntryKind, *PushKind))
    assert not {*EntryKind} & {*PushKind}
