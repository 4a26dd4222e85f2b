"""Wishes as the history keeps them, and what each needs to be decided."""

from typing import get_args

import pytest

from maxmemd.policy.codec import wish_to_json
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.wishes import (
    CREATED,
    KINDS,
    LIVES,
    Build,
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
    needs_store,
    says_the_limit,
)
from maxmemd.wire.requests import BuildRequest
from tests.policy.values import ROM, kib

ROWS: list[tuple[Wish, str, dict[str, object], bool]] = [
    (SetMaxMem(kib(4)), "mem-max", {"max_mem_kib": 4}, True),
    (SetMaxMem(kib(0), force=True), "mem-max", {"max_mem_kib": 0, "force": True}, True),
    (SetMaxMem(kib(4), node=False), "mem-max", {"max_mem_kib": 4, "static_max": False}, True),
    (SetTarget(kib(4)), "mem-set", {"target_kib": 4, "enforce": True}, True),
    (SetTarget(kib(0), enforce=False), "mem-set", {"target_kib": 0, "enforce": False}, True),
    (SetTarget(by_kib=-4), "mem-set", {"by_kib": -4, "enforce": True}, True),
    (
        SetComponent(ROM, kib(4)),
        "component-set",
        {"owner": "device-model", "name": "rom", "amount_kib": 4},
        False,
    ),
    (
        SetComponent(MAX_MEM, kib(4)),
        "component-set",
        {"owner": "operator", "name": "max-mem", "amount_kib": 4},
        True,
    ),
    (
        RemoveComponent(ROM),
        "component-removed",
        {"owner": "device-model", "name": "rom"},
        False,
    ),
    (
        Increase(ROM, -4),
        "component-increased",
        {"owner": "device-model", "name": "rom", "by_kib": -4},
        False,
    ),
    (
        Increase(MAX_MEM, 4),
        "component-increased",
        {"owner": "operator", "name": "max-mem", "by_kib": 4},
        True,
    ),
    (Build(kib(4), CREATED), "build-announced", {"target_kib": 4, "life": "created"}, False),
    (
        Build(kib(4), "restored", kib(8)),
        "build-announced",
        {"target_kib": 4, "life": "restored", "static_max_kib": 8},
        False,
    ),
    (Headroom(64), "headroom", {"pages": 64}, False),
    (Rollback(3), "rollback", {"revision": 3}, True),
    (Rollback(3, force=True), "rollback", {"revision": 3, "force": True}, True),
    (
        Import({MAX_MEM: kib(4)}, None, kib(8), force=True),
        "import",
        {
            "components": [["operator", "max-mem", 4]],
            "static_max_kib": None,
            "target_kib": 8,
            "force": True,
        },
        True,
    ),
    (
        Import({MAX_MEM: kib(4), ROM: kib(0)}, None),
        "import",
        {
            "components": [["operator", "max-mem", 4], ["device-model", "rom", 0]],
            "static_max_kib": None,
        },
        True,
    ),
    (
        Import({MAX_MEM: kib(4)}, kib(0)),
        "import",
        {"components": [["operator", "max-mem", 4]], "static_max_kib": 0},
        True,
    ),
]


@pytest.mark.parametrize(("wish", "kind", "words", "store"), ROWS, ids=range(len(ROWS)))
def test_words(wish: Wish, kind: str, words: dict[str, object], store: bool) -> None:
    """Each wish has its kind, its words, and looks at xenstore only where the decision does."""
    assert (KINDS[type(wish)], wish_to_json(wish), needs_store(wish)) == (kind, words, store)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (SetMaxMem(kib(4)), True),
        (SetTarget(kib(4)), True),
        (SetTarget(kib(4), enforce=False), False),
        (SetComponent(MAX_MEM, kib(4)), True),
        (SetComponent(ROM, kib(4)), False),
        (Rollback(3), True),
        (Import({MAX_MEM: kib(4)}, None), True),
        (Increase(MAX_MEM, 4), False),
        (RemoveComponent(ROM), False),
        (Build(kib(4), CREATED), False),
        (Headroom(64), False),
    ],
    ids=repr,
)
def test_a_wish_that_says_the_limit(wish: Wish, *, says: bool) -> None:
    """After such a wish nothing that a build writes is taken for the limit any more.

    A difference says nothing without what was there before, and a build speaks for itself.
    """
    assert says_the_limit(wish) is says


def test_every_wish_has_a_kind_and_a_row() -> None:
    """No wish is without a name in the history, and no two share one."""
    assert set(KINDS) == set(get_args(Wish)) == {type(row[0]) for row in ROWS}
    assert len(set(KINDS.values())) == len(KINDS)


def test_the_lives_are_what_travels() -> None:
    """The API takes exactly the lives that the policy knows."""
    assert get_args(BuildRequest.model_fields["life"].annotation) == LIVES
