"""Idempotency keys: what uses one up, and what a key that was used up is good for."""

from collections.abc import Callable

import pytest

from maxmemd.arbiter.messages import (
    Answer,
    DecisionRequest,
    DomainView,
    DriftRequest,
    Granted,
    Refused,
)
from maxmemd.errors import LedgerFull, MaxmemError
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.wishes import (
    Headroom,
    Import,
    Increase,
    SetMaxMem,
    Wish,
)
from tests.support.seat import ACTOR, DM, MIB, Seat, mib

KEY = "0:k"
OTHER = SetMaxMem(mib(100))
"""A wish that is granted and changes something."""
SET, CLEAR = (DriftRequest("1", mode, None, ACTOR, key=KEY) for mode in (DriftMode.ADOPT, None))


@pytest.fixture
def seat() -> Seat:
    """Return a seat with two guests, web (1) and db (2), of 64 MiB that may grow to 128."""
    made = Seat()
    made.host.create("web", memory=mib(64), maxmem=mib(128))
    made.host.create("db", memory=mib(64), maxmem=mib(128))
    made.restart()
    return made


def said(answer: Answer | MaxmemError) -> str:
    """Return how a request was answered: "granted", "replayed", or the code of a refusal."""
    if isinstance(answer, Refused):
        return answer.refusal.code
    if isinstance(answer, MaxmemError):
        return answer.code
    assert isinstance(answer, Granted | DomainView)
    return "replayed" if isinstance(answer, Granted) and answer.replayed else "granted"


def request(wish: Wish, **options: object) -> DecisionRequest:
    """Return a wish about domain 1 with the key."""
    options = {"key": KEY, **options}
    ref = str(options.pop("ref", "1"))
    return DecisionRequest(ref, wish, ACTOR, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("restarts", [False, True], ids=["at once", "after a restart"])
def test_a_wish_that_changes_nothing_uses_its_key_up(seat: Seat, *, restarts: bool) -> None:
    """Another wish is refused with it; the same one is answered again, whatever changed since."""
    wish, lines = Headroom(1), len(seat.memory.lines)
    assert said(seat.arbiter.turn([request(wish)])[0]) == "granted"
    assert (seat.record(1).revision, len(seat.memory.lines)) == (1, lines + 1)
    seat.grant(1, SetMaxMem(mib(80)))
    if restarts:
        seat.restart()
    assert seat.refuse(1, OTHER, key=KEY) == "idempotency-key-reused"
    again = seat.grant(1, wish, key=KEY)
    assert (again.replayed, again.record.revision) == (True, 1)
    assert (again.record.limit_kib, seat.record(1).revision) == (65 * MIB, 2)


def test_a_wish_that_changes_nothing_leaves_an_entry_for_its_key_only(seat: Seat) -> None:
    """Without a key there is none; with one it says what was asked for, and is no decision."""
    lines, decisions = len(seat.memory.lines), seat.arbiter.decisions
    seat.grant(1, Headroom(1))
    assert len(seat.memory.lines) == lines
    seat.grant(1, Headroom(1), key=KEY, reason="room?")
    [entry] = seat.memory.lines[lines:]
    assert (entry.kind, entry.revision, entry.state, entry.key) == ("unchanged", 1, None, KEY)
    assert seat.memory.words("unchanged") == [{"wish": "headroom", "pages": 1, "reason": "room?"}]
    assert (seat.arbiter.decisions, seat.state(1)) == (decisions, "applied")


Answers = Callable[[Seat], Answer | MaxmemError]


def turn(ask: DecisionRequest | DriftRequest) -> Answers:
    """Return what asks this in a turn of its own."""
    return lambda seat: seat.arbiter.turn([ask])[0]


def on_a_full_disk(seat: Seat) -> Answer | MaxmemError:
    """Ask while nothing can be written."""
    seat.memory.fail(LedgerFull("cannot write: full"), kept=False)
    return seat.arbiter.turn([request(SetMaxMem(mib(80)))])[0]


ANSWERS: dict[str, tuple[Answers, str, bool]] = {
    "changed": (turn(request(SetMaxMem(mib(80)))), "granted", True),
    "changed, of a domain that is away": (
        turn(request(Import({MAX_MEM: mib(64)}, None), ref="51a70000-0000-4000-8000-0000000000ff")),
        "granted", True,
    ),
    "unchanged": (turn(request(Headroom(1))), "granted", True),
    "a mode set": (turn(SET), "granted", True),
    "a mode that was not there, cleared": (turn(CLEAR), "granted", True),
    "refused": (turn(request(SetMaxMem(mib(1)))), "limit-below-target", False),
    "refused by its condition": (
        turn(request(SetMaxMem(mib(80)), if_match=9)), "stale-revision", False,
    ),
    "refused for a domain that is none": (
        turn(request(SetMaxMem(mib(80)), ref="nosuch")), "unknown-domain", False,
    ),
    "a mode refused": (turn(SET._replace(if_match=9)), "stale-revision", False),
    "a dry run": (turn(request(SetMaxMem(mib(80)), dry_run=True)), "granted", False),
    "a mode's dry run": (turn(SET._replace(dry_run=True)), "granted", False),
    "not kept": (on_a_full_disk, "ledger-full", False),
}  # fmt: skip


@pytest.mark.parametrize(("ask", "answered", "used_up"), ANSWERS.values(), ids=ANSWERS)
def test_which_answers_use_a_key_up(
    seat: Seat, ask: Answers, answered: str, *, used_up: bool
) -> None:
    """What was granted does, and not what was refused, only tried, or could not be kept."""
    assert said(ask(seat)) == answered
    expected = "idempotency-key-reused" if used_up else "granted"
    assert said(seat.arbiter.turn([request(OTHER)])[0]) == expected


GONE = "9999"
REFERENCES = ["2", "db", GONE, "nosuch", "51a70000-0000-4000-8000-0000000000ff", "", "-1"]


@pytest.mark.parametrize("ref", REFERENCES)
@pytest.mark.parametrize("wish", [SetMaxMem(mib(80)), Headroom(1)], ids=["changed", "unchanged"])
def test_a_key_is_of_one_domain(seat: Seat, wish: Wish, ref: str) -> None:
    """With another reference it is refused, whether that means another domain or none."""
    seat.grant(1, wish, key=KEY)
    assert seat.refuse(ref, wish, key=KEY) == "idempotency-key-reused"


@pytest.mark.parametrize("ref", REFERENCES)
@pytest.mark.parametrize("first", [SET, CLEAR], ids=["set", "clear"])
def test_so_is_that_of_a_mode_of_drift(seat: Seat, first: DriftRequest, ref: str) -> None:
    """A mode that is set or taken back has one domain as well."""
    assert said(seat.arbiter.turn([first])[0]) == "granted"
    answer = seat.arbiter.turn([first._replace(ref=ref)])[0]
    assert said(answer) == "idempotency-key-reused"
    assert said(seat.arbiter.turn([first])[0]) == "granted"


def test_a_domid_that_means_none_any_more_is_not_guessed(seat: Seat) -> None:
    """By UUID or by name, which mean the record, the wish is answered again; by domid it is not."""
    uuid = seat.uuid(1)
    seat.grant(1, SetMaxMem(mib(80)), key=KEY)
    seat.host.destroy(1)
    seat.poll()
    assert seat.refuse(1, SetMaxMem(mib(80)), key=KEY) == "idempotency-key-reused"
    for ref in (uuid, "web"):
        assert seat.grant(ref, SetMaxMem(mib(80)), key=KEY).replayed


PAIRS: dict[str, tuple[DecisionRequest | DriftRequest, DecisionRequest | DriftRequest]] = {
    "two decisions": (request(SetMaxMem(mib(80))), request(OTHER)),
    "a decision, then a mode": (request(SetMaxMem(mib(80))), SET),
    "a mode, then a decision": (SET, request(OTHER)),
    "nothing changed, then a decision": (request(Headroom(1)), request(OTHER)),
    "nothing changed, then a mode": (request(Headroom(1)), SET),
    "nothing to clear, then a decision": (CLEAR, request(OTHER)),
    "two modes": (SET, CLEAR),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_key_counts_once_within_a_batch(
    seat: Seat, pair: tuple[DecisionRequest | DriftRequest, DecisionRequest | DriftRequest]
) -> None:
    """The second of two in one turn is refused, and the others of the turn are granted."""
    beside = DecisionRequest("2", Increase(DM, 4), ACTOR, key="0:beside")
    answers = [said(answer) for answer in seat.arbiter.turn([*pair, beside])]
    assert answers == ["granted", "idempotency-key-reused", "granted"]
    keys = [line.key for line in seat.memory.lines if line.key is not None]
    assert sorted(keys) == ["0:beside", KEY]
