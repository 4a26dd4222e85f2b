"""Turns: decided in order, one commit, pushed once, answered; and what may go wrong between."""

import json
from errno import EIO, EPERM, ESRCH

import pytest

from maxmemd.arbiter.messages import (
    Answer,
    DecisionRequest,
    DomainView,
    Granted,
    HostView,
    LookAtDomain,
    LookAtDomains,
    LookAtHost,
    Query,
    Refused,
)
from maxmemd.arbiter.settings import Settings
from maxmemd.errors import HypervisorError, LedgerBusy, LedgerFull, MaxmemError, XenstoreError
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.drift import DriftMode, DriftRules
from maxmemd.policy.facts import StoreFacts
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.rules import Rules
from maxmemd.policy.states import PushState
from maxmemd.policy.wishes import Import, Increase, Rollback, SetComponent, SetMaxMem, SetTarget
from maxmemd.units import Memory
from tests.support.seat import ACTOR, DM, MIB, Seat, kib_of, mib

STRANGER = "51a70000-0000-4000-8000-0000000000ff"


@pytest.fixture
def seat() -> Seat:
    """Return a seat with two guests, web (1) and db (2), of 64 MiB that may grow to 128."""
    made = Seat()
    made.host.create("web", memory=mib(64), maxmem=mib(128))
    made.host.create("db", kind="hvm", memory=mib(64), maxmem=mib(128))
    made.restart()
    return made


def die(domid: int, limit: Memory) -> None:
    """End the arbiter in the middle of what it does."""
    raise KeyboardInterrupt


def turn(seat: Seat, *asks: DecisionRequest | Query) -> list[Answer | MaxmemError]:
    """Ask all of it in one turn."""
    return seat.arbiter.turn(asks)


def more(by_kib: int = 4, ref: str = "1") -> DecisionRequest:
    """Return a wish to grow a device model's share."""
    return DecisionRequest(ref, Increase(DM, by_kib), ACTOR)


def test_a_batch_is_one_commit_and_one_push(seat: Seat) -> None:
    """A hundred wishes for one domain: a hundred revisions, one commit, one hypercall."""
    commits, rows = seat.memory.commits, len(seat.memory.rows)
    limits = seat.arbiter.limits
    pushes = limits.pushes
    answers = turn(seat, *[more() for _ in range(100)])
    assert [a.record.revision for a in answers if isinstance(a, Granted)] == list(range(2, 102))
    assert (seat.memory.commits - commits, limits.pushes - pushes) == (1, 1)
    assert {a.push.state for a in answers if isinstance(a, Granted) and a.push} == {"applied"}
    assert seat.pages(1) == 65 * 256 + 100
    seat.poll()
    assert len(seat.memory.rows) - rows == 1


def test_wishes_of_a_batch_see_each_other(seat: Seat) -> None:
    """The target that one wish sets is what the next one is decided on."""
    low, high = (
        DecisionRequest("1", SetTarget(mib(32)), ACTOR),
        DecisionRequest("1", SetMaxMem(mib(40)), ACTOR),
    )
    answers = turn(seat, high, low, high)
    assert isinstance(answers[0], Refused)
    assert [isinstance(answer, Granted) for answer in answers[1:]] == [True, True]
    seen = seat.host.nodes.facts(1)
    assert (seen.target, seen.static_max, seat.pages(1)) == (mib(32), mib(40), 41 * 256)


def test_a_rollback_to_a_revision_of_the_same_batch(seat: Seat) -> None:
    """A revision that was made a moment ago can be gone back to, and an older one."""
    back = DecisionRequest("1", Rollback(2), ACTOR)
    first = DecisionRequest("1", Rollback(1), ACTOR)
    answers = turn(seat, more(4), more(8), back, first)
    assert [
        kib_of(a.record).get("device-model/rom") for a in answers if isinstance(a, Granted)
    ] == [
        4,
        12,
        4,
        None,
    ]
    assert seat.refuse(1, Rollback(99)) == "unknown-revision"
    turn(seat, more(8, "2"), DecisionRequest("1", Rollback(2), ACTOR))
    assert seat.amounts(1)["device-model/rom"] == 4


def test_an_answer_says_all(seat: Seat) -> None:
    """A grant names the domain, its record, its target, and how far it is in force."""
    answer = seat.grant("db", SetTarget(mib(48)))
    assert (answer.domid, answer.name, answer.target_kib) == (2, "db", 40 * MIB)
    assert answer.record == seat.record(2)
    assert answer.push is not None
    assert (answer.push.state, answer.push.max_pages, answer.push.seen_pages) == (
        PushState.OVER_LIMIT,
        49 * 256,
        49 * 256,
    )
    assert seat.host.machine.pod_target(2) == 41 * 256


@pytest.mark.parametrize("ref", ["1", "web", "51A70000-0000-4000-8000-000000000001"])
def test_references(seat: Seat, ref: str) -> None:
    """A domid, a name and a UUID in either case mean the same domain."""
    assert seat.grant(ref, more().wish).domid == 1


@pytest.mark.parametrize("ref", ["9", "nobody", STRANGER, "", "9" * 12])
def test_a_reference_that_means_no_domain_is_refused(seat: Seat, ref: str) -> None:
    """What means no domain is refused, and leaves no line."""
    lines = len(seat.memory.lines)
    assert seat.refuse(ref, more().wish) == "unknown-domain"
    seat.poll()
    assert len(seat.memory.lines) == lines


def test_two_of_one_name(seat: Seat) -> None:
    """A name that two domains carry is refused; the domid is not."""
    seat.host.rename(2, "web")
    seat.arbiter.lifecycle.read_all_names()
    assert seat.refuse("web", more().wish) == "ambiguous-domain"
    assert seat.grant("2", more().wish).domid == 2


def test_a_name_that_was_given_away(seat: Seat) -> None:
    """A name means the domain that has it now, not the one that had it at the last poll."""
    seat.host.rename(1, "old")
    seat.host.rename(2, "web")
    assert seat.grant("web", more().wish).domid == 2


def test_a_newcomer_is_found_at_once(seat: Seat) -> None:
    """A domain that no poll has seen yet is adopted when it is asked about."""
    seat.host.create("new", memory=mib(32))
    answer = seat.grant("new", more().wish)
    assert (answer.domid, answer.record.revision) == (3, 2)


def test_who_went_is_not_asked(seat: Seat) -> None:
    """A domid that no poll has missed yet means nothing more; a UUID means what is left."""
    uuid = seat.uuid(1)
    seat.grant(1, more().wish)
    seat.host.destroy(1)
    assert seat.refuse(1, more().wish) == "unknown-domain"
    answer = seat.grant(uuid, more().wish)
    assert (answer.domid, answer.push) == (None, None)
    assert seat.memory.kinds(uuid)[-1] == "component-increased"


def test_who_goes_twice_in_a_turn(seat: Seat) -> None:
    """A domain that is gone after the turn's one look at all of Xen is gone."""
    seat.host.destroy(1)
    asks = [more(), more(ref="2")]
    seat.host.fail("domain", ESRCH, domid=2)
    answers = turn(seat, *asks)
    assert [a.refusal.code for a in answers if isinstance(a, Refused)] == [
        "unknown-domain",
        "domain-gone",
    ]


def test_a_domid_reused_between_polls_is_the_newcomers(seat: Seat) -> None:
    """A domid means the domain that has it now."""
    old = seat.uuid(1)
    seat.host.destroy(1)
    seat.host.create("new", memory=mib(32), domid=1)
    answer = seat.grant(1, more().wish)
    assert answer.record.uuid == seat.uuid(1) != old
    assert kib_of(answer.record)["operator/max-mem"] == 32 * MIB


def test_a_dry_run_leaves_no_trace(seat: Seat) -> None:
    """What is only tried is decided and answered, and nothing is kept, pushed or noted."""
    lines, pages = len(seat.memory.lines), seat.pages(1)
    answer = seat.grant(1, SetTarget(mib(100)), dry_run=True)
    assert (answer.dry_run, answer.push, answer.record.revision) == (True, None, 2)
    assert answer.target_kib == 100 * MIB
    assert seat.refuse(1, SetMaxMem(mib(1)), dry_run=True) == "limit-below-target"
    assert seat.grant(STRANGER, Import({MAX_MEM: mib(1)}, None), dry_run=True).domid is None
    seat.poll()
    assert (len(seat.memory.lines), seat.pages(1), seat.record(1).revision) == (lines, pages, 1)


def test_a_stale_revision(seat: Seat) -> None:
    """A wish made looking at revision N is refused once there is another, in a batch too."""
    asks = [more()._replace(if_match=1), more()._replace(if_match=1), more()._replace(if_match=2)]
    answers = turn(seat, *asks)
    assert isinstance(answers[1], Refused)
    assert answers[1].refusal.numbers == {"revision": 2, "if_match": 1}
    assert seat.record(1).revision == 3


def test_a_refusal_is_counted_and_noted(seat: Seat) -> None:
    """A refusal is a line of the domain's history with who, what and why, and a figure."""
    seat.ask(1, SetMaxMem(mib(1)), reason="x")
    seat.poll()
    [words] = seat.memory.words("refused")
    assert words == {
        "wish": "mem-max",
        "max_mem_kib": MIB,
        "code": "limit-below-target",
        "numbers": {"max_mem_kib": MIB, "target_kib": 64 * MIB, "short_by_kib": 63 * MIB},
    }
    assert seat.memory.lines[-1].actor == ACTOR
    assert seat.arbiter.refusals == {"limit-below-target": 1}
    assert seat.arbiter.decisions == 0


def test_a_grant_is_a_line(seat: Seat) -> None:
    """A grant's line has who, what, the client's reason and the record's whole state."""
    seat.grant(1, SetMaxMem(mib(96)), reason="more users")
    line = seat.memory.lines[-1]
    assert (line.kind, line.revision, line.actor) == ("mem-max", 2, ACTOR)
    assert json.loads(line.wish) == {"max_mem_kib": 96 * MIB, "reason": "more users"}
    assert json.loads(line.state or "")["static_max_kib"] == 96 * MIB


def test_a_repeated_wish_is_granted_once(seat: Seat) -> None:
    """The same key with the same wish is answered again and not done again, also in one batch."""
    ask = more()._replace(key="0:a")
    first, again = turn(seat, ask, ask)
    [later] = turn(seat, ask)
    for answer in (first, again, later):
        assert isinstance(answer, Granted)
        assert answer.record == seat.record(1)
        assert answer.push is not None
        assert answer.push.state == "applied"
    assert [a.replayed for a in (first, again, later) if isinstance(a, Granted)] == [
        False,
        True,
        True,
    ]
    seat.restart()
    assert seat.grant(1, ask.wish, key="0:a").replayed


@pytest.mark.parametrize(
    "other",
    [
        DecisionRequest("1", Increase(DM, 8), ACTOR, key="0:a"),
        DecisionRequest("1", SetComponent(DM, Memory(kib=4)), ACTOR, key="0:a"),
        DecisionRequest("2", Increase(DM, 4), ACTOR, key="0:a"),
    ],
    ids=["amount", "kind", "domain"],
)
def test_a_key_stands_for_one_wish(seat: Seat, other: DecisionRequest) -> None:
    """The same key with another wish, or for another domain, is refused."""
    turn(seat, more()._replace(key="0:a"))
    [answer] = turn(seat, other)
    assert isinstance(answer, Refused)
    assert answer.refusal.code == "idempotency-key-reused"


def test_a_repeated_wish_of_a_domain_that_went(seat: Seat) -> None:
    """A repeated wish is answered from the ledger when its domain is no more here."""
    ask = DecisionRequest(seat.uuid(1), Increase(DM, 4), ACTOR, key="0:a")
    turn(seat, ask)
    seat.host.destroy(1)
    seat.poll()
    [answer] = turn(seat, ask)
    assert isinstance(answer, Granted)
    assert (answer.replayed, answer.domid, answer.push) == (True, None, None)


def test_an_import_ahead_of_its_domain(seat: Seat) -> None:
    """A record for a domain that is not here is kept, and decided on for its next start."""
    answer = seat.grant(STRANGER.upper(), Import({MAX_MEM: mib(1)}, None))
    assert (answer.domid, answer.push, answer.record.uuid) == (None, None, STRANGER)
    assert seat.grant(STRANGER, more().wish).record.revision == 2
    assert seat.refuse(STRANGER, Import({DM: mib(1)}, None)) == "component-required"


@pytest.mark.parametrize("error", [LedgerFull("cannot write: full"), LedgerBusy("cannot: busy")])
def test_a_commit_that_fails_confirms_nothing(seat: Seat, error: MaxmemError) -> None:
    """Every wish of the batch gets the error, questions are answered, nothing reaches Xen."""
    pages = seat.pages(1)
    seat.memory.fail(error)  # type: ignore[arg-type]
    answers = turn(seat, more(), LookAtHost(), more(ref="2"))
    assert (answers[0], answers[2]) == (error, error)
    assert isinstance(answers[1], HostView)
    assert (seat.pages(1), seat.record(1).revision) == (pages, 1)
    assert seat.grant(1, more().wish).record.revision == 2
    assert seat.memory.reopened == (0 if isinstance(error, LedgerBusy) else 1)


def test_a_commit_that_failed_and_was_kept(seat: Seat) -> None:
    """What the disk kept although it said no is found, counted on, and put in force whole."""
    seat.memory.fail(LedgerFull("cannot write: full"), kept=True)
    [answer] = turn(seat, DecisionRequest("1", SetMaxMem(mib(96)), ACTOR))
    assert isinstance(answer, LedgerFull)
    assert seat.grant(1, more().wish).record.revision == 3
    seat.poll()
    assert seat.pages(1) == 97 * 256 + 1
    assert seat.host.nodes.facts(1).static_max == mib(96)


def test_both_halves_of_a_migration_take_up_what_was_kept(seat: Seat) -> None:
    """What the disk kept although it said no is written for each instance of its domain."""
    life = seat.host.migrating(1)
    while next(life).name != "handed-over":
        seat.poll()
    uuid = seat.uuid(1)
    seat.memory.fail(LedgerFull("cannot write: full"), kept=True)
    assert isinstance(seat.ask(uuid, SetMaxMem(mib(96))), LedgerFull)
    seat.poll()
    lives = [instance.domid for instance in seat.arbiter.instances.of_uuid(uuid)]
    assert len(lives) == 2
    assert {seat.host.nodes.facts(domid).static_max for domid in lives} == {mib(96)}
    assert {seat.pages(domid) for domid in lives} == {97 * 256}


def incoming(seat: Seat) -> int:
    """Begin a migration of web to this host; return the domid that is being built."""
    for step in seat.host.migrating(1):
        if step.name == "limited":
            seat.poll()
            return step.domid
    raise AssertionError


def test_the_incoming_half_is_raised_in_the_same_turn(seat: Seat) -> None:
    """What the source may populate from now on has room in the stream, and at once."""
    newcomer = incoming(seat)
    pushed: list[int] = []
    assert seat.hypervisor is not None
    set_max_mem = seat.hypervisor.set_max_mem

    def noted(domid: int, limit: Memory) -> None:
        pushed.append(domid)
        set_max_mem(domid, limit)

    seat.hypervisor.set_max_mem = noted  # type: ignore[method-assign]
    seat.grant(seat.uuid(1), Increase(DM, 1024))
    assert pushed == [newcomer, 1]
    assert seat.pages(newcomer) == seat.pages(1) == 66 * 256


def test_the_incoming_half_is_not_lowered(seat: Seat) -> None:
    """What the stream already brought must still fit, whatever the operator wants by now."""
    newcomer = incoming(seat)
    seat.grant(seat.uuid(1), SetTarget(mib(32)))
    assert (seat.pages(1), seat.pages(newcomer)) == (33 * 256, 65 * 256)


@pytest.mark.parametrize("trouble", ["refused", "gone"])
def test_an_incoming_half_that_cannot_be_asked_about_waits(seat: Seat, trouble: str) -> None:
    """The wish is granted and in force for the source; the next poll sees to the destination."""
    newcomer = incoming(seat)
    if trouble == "gone":
        seat.host.machine.bury(newcomer)
    else:
        seat.host.fail("domain", EIO, times=1, domid=newcomer)
    told = seat.grant(seat.uuid(1), Increase(DM, 1024))
    assert told.push is not None
    assert told.push.state == "applied"
    assert seat.pages(newcomer) == 65 * 256
    seat.poll()
    assert (seat.pages(newcomer) == 66 * 256) == (trouble == "refused")


def test_a_ledger_that_cannot_be_read_again(seat: Seat) -> None:
    """While the ledger is in doubt wishes get its error; questions are answered, Xen is watched."""
    seat.memory.fail(LedgerFull("cannot write: full"))
    turn(seat, more())
    whole, trouble = seat.memory.reopen, LedgerFull("cannot open: full")

    def refuse() -> None:
        raise trouble

    seat.memory.reopen = refuse  # type: ignore[method-assign]
    answers = turn(seat, more(), LookAtDomains())
    assert answers[0] is trouble
    assert isinstance(answers[1], tuple)
    seat.host.foreign_write(1, mib(1))
    with pytest.raises(LedgerFull):
        seat.poll()
    assert seat.pages(1) == 65 * 256
    seat.memory.reopen = whole  # type: ignore[method-assign]
    assert seat.grant(1, more().wish).record.revision == 2


def test_a_stop_writes_the_notes_and_closes_the_ledger(seat: Seat) -> None:
    """Also where Xen cannot be asked any more; what it met is raised."""
    closed: list[int] = []
    seat.memory.close = lambda: closed.append(len(seat.memory.lines))  # type: ignore[method-assign]
    assert seat.refuse(1, more(-(2**30)).wish)
    before = len(seat.memory.lines)
    seat.host.fail("domains", EPERM, times=9)
    with pytest.raises(HypervisorError):
        seat.arbiter.stop()
    assert closed == [before + 1]
    assert seat.kinds(1)[-1] == "refused"


def test_a_ledger_is_closed_whatever_becomes_of_the_notes(seat: Seat) -> None:
    """A disk that is full keeps them out, and the ledger is closed all the same."""
    closed: list[bool] = []
    seat.memory.close = lambda: closed.append(True)  # type: ignore[method-assign]
    assert seat.refuse(1, more(-(2**30)).wish)
    for _ in range(9):
        seat.memory.fail(LedgerFull("cannot write: full"))
    with pytest.raises(LedgerFull):
        seat.arbiter.stop()
    assert closed == [True]


def test_one_wishs_trouble_is_not_anothers(seat: Seat) -> None:
    """When Xen will not tell of one domain, the others' wishes are granted."""
    seat.host.fail("domain", EPERM, times=1, domid=1)
    answers = turn(seat, more(), more(ref="2"))
    assert isinstance(answers[0], HypervisorError)
    assert isinstance(answers[1], Granted)


def test_xenstore_is_needed_where_it_is_looked_at(seat: Seat) -> None:
    """Without xenstore mem-max is an error; a device model's share needs none."""
    seat.host.set_xenstore_away(away=True)
    assert isinstance(seat.ask(1, SetMaxMem(mib(96))), XenstoreError)
    assert seat.grant(1, more().wish).push is not None
    seat.host.heal()
    seat.host.fail("write", EIO, times=1)
    answer = seat.grant(1, SetMaxMem(mib(96)))
    assert answer.push is not None
    (static_max,) = answer.push.effects
    assert (answer.push.state, answer.is_done) == ("applied", False)
    assert (static_max.state, static_max.errno) == ("failed", EIO)
    seat.poll()
    assert seat.host.nodes.facts(1).static_max == mib(96)


def test_increments_are_not_lost_while_nodes_wait(seat: Seat) -> None:
    """Two differences add up although xenstore took neither yet."""
    seat.host.fail("write", EIO)
    for _ in range(2):
        seat.grant(1, SetTarget(by_kib=1024))
    seat.host.heal()
    seat.poll()
    assert seat.host.nodes.facts(1).target == mib(66)
    assert seat.pages(1) == 67 * 256


@pytest.mark.parametrize("pushed", [False, True])
def test_a_crash_around_the_push(seat: Seat, *, pushed: bool) -> None:
    """A crash after the commit, before or after the hypercall: the start puts all in force."""
    if pushed:
        seat.grant(1, SetMaxMem(mib(96)))
    else:
        assert seat.hypervisor is not None
        seat.hypervisor.set_max_mem = die  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            seat.ask(1, SetMaxMem(mib(96)))
        del seat.hypervisor.set_max_mem
        assert seat.pages(1) == 65 * 256
    seat.restart()
    assert (seat.pages(1), seat.state(1)) == (97 * 256, "applied")
    assert seat.host.nodes.facts(1).static_max == mib(96)
    assert seat.memory.words("drift") == []


def test_the_domid_is_reused_between_observation_and_push() -> None:
    """When another domain has the domid by then, the record stays and the state is gone."""
    seat = Seat()
    seat.host.create("web", memory=mib(64))
    seat.restart()
    uuid = seat.uuid(1)
    commit = seat.memory.commit

    def swapped(*arguments: object, **options: object) -> None:
        seat.memory.commit = commit  # type: ignore[method-assign]
        commit(*arguments, **options)  # type: ignore[arg-type]
        seat.host.destroy(1)
        seat.host.create("new", memory=mib(64), domid=1)

    seat.memory.commit = swapped  # type: ignore[method-assign,assignment]
    answer = seat.grant(1, SetMaxMem(mib(96)))
    assert answer.record.uuid == uuid
    assert answer.push is not None
    assert answer.push.state == "gone"
    assert seat.arbiter.instances.of_uuid(uuid) == []
    kept = seat.arbiter.records.get(uuid)
    assert kept is not None
    assert kept.amount(MAX_MEM) == mib(96)
    assert seat.host.nodes.facts(1).static_max == mib(64)


def test_looking(seat: Seat) -> None:
    """Host, domains and one domain are reported as Xen has them now; gone ones by record."""
    uuid = seat.uuid(1)
    host, everyone, one = turn(seat, LookAtHost(), LookAtDomains(), LookAtDomain("db"))
    assert isinstance(host, HostView)
    assert host.domains == 3
    assert isinstance(everyone, tuple)
    assert [view.name for view in everyone] == ["Domain-0", "web", "db"]
    assert isinstance(one, DomainView)
    assert (one.domid, one.record, one.push and one.push.state) == (2, seat.record(2), "applied")

    seat.host.destroy(1)
    away, everyone, nobody = turn(seat, LookAtDomain(uuid), LookAtDomains(), LookAtDomain(STRANGER))
    assert isinstance(away, DomainView)
    assert (away.domid, away.xen, away.record) == (None, None, seat.arbiter.records.get(uuid))
    assert isinstance(everyone, tuple)
    assert [view.domid for view in everyone] == [0, 2, None]
    assert isinstance(nobody, Refused)
    assert nobody.refusal.code == "unknown-domain"


def test_a_domain_without_a_uuid_is_seen(seat: Seat) -> None:
    """A domain that the ledger cannot name is listed with what Xen says of it."""
    seat.host.create("x", memory=mib(1), uuid="00000000-0000-0000-0000-000000000000")
    [everyone] = turn(seat, LookAtDomains())
    assert isinstance(everyone, tuple)
    assert (everyone[3].record, everyone[3].push, everyone[3].xen is None) == (None, None, False)


def test_looking_writes_nothing(seat: Seat) -> None:
    """A question changes no record, no maximum and no node."""
    seat.poll()
    lines, pages = len(seat.memory.lines), seat.pages(1)
    turn(seat, LookAtHost(), LookAtDomains(), LookAtDomain("1"))
    seat.poll()
    assert (len(seat.memory.lines), seat.pages(1)) == (lines, pages)


def test_notes_that_no_disk_takes_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While nothing can be written the oldest lines are lost: said once each time, and counted."""
    monkeypatch.setattr("maxmemd.arbiter.notes.NOTES_KEPT", 5)
    seat = Seat()
    seat.host.create("web", memory=mib(64))
    seat.restart()
    records, uuid = seat.arbiter.records, seat.uuid(1)
    for lost in (3, 2):
        before = records.notes.dropped
        for number in range(5 + lost):
            records.note(uuid, "refused", {"number": number})
        assert records.notes.dropped - before == lost
        seat.arbiter.flush()
    words = [line["number"] for line in seat.memory.words("refused")]
    assert words == [3, 4, 5, 6, 7, 2, 3, 4, 5, 6]
    assert [text.count("the oldest are lost") for text in caplog.messages] == [1, 1]


def test_notes_are_written_with_the_next_transaction(seat: Seat) -> None:
    """A poll with nothing to say commits nothing."""
    seat.poll()
    commits = seat.memory.commits
    seat.poll()
    assert seat.memory.commits == commits


class Counted:
    """A xenstore that counts how often it is asked about a domain."""

    def __init__(self, seat: Seat) -> None:
        self.asked = 0
        self._facts = seat.host.xenstore().facts

    def facts(self, domid: int) -> StoreFacts:
        """Count, and ask."""
        self.asked += 1
        return self._facts(domid)


def counted(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Count what the seat's xenstore is asked from now on."""
    made = Counted(seat)
    monkeypatch.setattr(type(seat.xenstore), "facts", lambda _, domid: made.facts(domid))
    return made


def test_many_who_look_at_all_domains(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many look, each domain's nodes are asked for once a second."""
    for number in range(5):
        seat.host.create(f"more-{number}", memory=mib(64))
    seat.poll()
    seat.clock.forward(10)
    made = counted(seat, monkeypatch)
    answers = turn(seat, *[LookAtDomains()] * 5)
    assert (made.asked, len({id(answer) for answer in answers})) == (8, 1)
    for _ in range(3):
        seat.clock.forward(0.3)
        assert turn(seat, LookAtDomains()) == answers[:1]
    assert made.asked == 8
    seat.clock.forward(0.2)
    turn(seat, LookAtDomains())
    assert made.asked == 16


def test_what_was_decided_is_seen_at_once(seat: Seat) -> None:
    """Xenstore's part of a look at all domains is never older than what we wrote."""
    turn(seat, LookAtDomains())
    seat.grant(1, SetTarget(mib(48)))
    [views] = turn(seat, LookAtDomains())
    assert isinstance(views, tuple)
    target = next(view.store.target for view in views if view.domid == 1)
    [one] = turn(seat, LookAtDomain("1"))
    assert isinstance(one, DomainView)
    assert target == one.store.target == mib(48)


def test_one_trouble_for_all_who_look(seat: Seat) -> None:
    """Where Xen cannot be asked it is not asked once for each of them."""
    seat.host.fail("domains", EIO, times=1)
    answers = turn(seat, *[LookAtDomains()] * 5)
    assert {type(answer) for answer in answers} == {HypervisorError}
    [well] = turn(seat, LookAtDomains())
    assert isinstance(well, tuple)


def test_other_rules_count_from_now_on() -> None:
    """A changed configuration decides the next wish; what was decided stays."""
    seat = Seat()
    domid = seat.host.create("vm", memory=Memory.of_mib(128), maxmem=Memory.of_mib(256))
    seat.poll()
    low = SetMaxMem(Memory.of_mib(64))
    assert seat.refuse(domid, low) == "limit-below-target"
    before = seat.record(domid)
    seat.arbiter.reconfigure(
        Settings(Rules(floor="none"), DriftRules(DriftMode.ALERT), GoneRules(1.0))
    )
    assert seat.record(domid) == before
    assert seat.grant(domid, low).record.limit == Memory.of_mib(64) + Rules().slack
    seat.host.foreign_write(domid, Memory.of_mib(96))
    seat.poll()
    assert seat.pages(domid) == Memory.of_mib(96).pages
    uuid = seat.uuid(domid)
    seat.host.destroy(domid)
    seat.poll()
    seat.poll()
    assert seat.arbiter.records.get(uuid) is None
