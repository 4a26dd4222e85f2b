"""One batch: who may ask, what a refusal says of its domain, and what a grant is decided on."""

import pytest

from maxmemd.arbiter.messages import Amounts, DecisionRequest, Granted, Refused
from maxmemd.policy.clauses import revision_unknown
from maxmemd.policy.components import MAX_MEM, POPULATED, SLACK
from maxmemd.policy.lives import SPARE_PAGES
from maxmemd.policy.roles import Bond
from maxmemd.policy.which_domain import not_here, unknown_domain
from maxmemd.policy.wishes import Headroom, Import, Increase, Rollback, SetMaxMem, SetTarget
from maxmemd.units import Memory
from tests.support.seat import ACTOR, DM, MIB, Seat, mib

STRANGER = "51a70000-0000-4000-8000-0000000000ff"
GROW = Increase(DM, 4)


@pytest.fixture
def seat() -> Seat:
    """Return a seat with two guests, web (1) and db (2), of 64 MiB that may grow to 128."""
    made = Seat()
    made.host.create("web", memory=mib(64), maxmem=mib(128))
    made.host.create("db", memory=mib(64), maxmem=mib(128))
    made.restart()
    return made


def test_a_device_model_has_its_own_domain_only(seat: Seat) -> None:
    """Another domain's, and one that came since with its domid, is refused, and not noted."""
    bond, lines = Bond(1, seat.uuid(1)), list(seat.memory.lines)
    for ref, only in ((2, bond), (1, Bond(1, STRANGER))):
        answer = seat.ask(ref, GROW, bond=only)
        assert isinstance(answer, Refused)
        assert (answer.refusal.code, answer.uuid) == ("not-your-domain", None)
        assert answer.refusal.numbers == {"domid": ref, "own_domid": 1}
    assert seat.arbiter.refusals == {"not-your-domain": 2}
    seat.poll()
    assert seat.memory.lines == lines
    assert seat.grant(1, GROW, bond=bond).domid == 1


def test_a_device_model_whose_domain_is_gone_learns_no_more(seat: Seat) -> None:
    """The refusal says what was asked for and nothing that the ledger knows of it."""
    answer = seat.ask(9, GROW, bond=Bond(9, STRANGER))
    assert isinstance(answer, Refused)
    assert (answer.refusal.code, answer.uuid, answer.domid) == ("unknown-domain", None, None)
    assert seat.arbiter.refusals == {"unknown-domain": 1}


def test_a_device_model_learns_nothing_of_a_record(seat: Seat) -> None:
    """Its own domain is gone: by name and by UUID it is as one that never was."""
    uuid = seat.uuid(1)
    seat.host.destroy(1)
    seat.poll()
    for ref in ("web", uuid):
        answer = seat.ask(ref, GROW, bond=Bond(1, uuid))
        assert answer == Refused(unknown_domain(ref))


def test_a_device_model_gets_no_replay_of_anothers_wish(seat: Seat) -> None:
    """Whose domain it is comes before the idempotency key."""
    seat.grant(2, GROW, key="0:a")
    assert seat.refuse(2, GROW, key="0:a", bond=Bond(1, seat.uuid(1))) == "not-your-domain"


@pytest.mark.parametrize("ref", ["1", "web"])
def test_a_refusal_names_its_domain(seat: Seat, ref: str) -> None:
    """However it was asked for: by UUID, domid and name."""
    assert seat.ask(ref, Rollback(99)) == Refused(revision_unknown(99), seat.uuid(1), 1, "web")


def test_a_refusal_about_a_record_alone_names_its_uuid(seat: Seat) -> None:
    """A domain that does not live here has no domid and no name."""
    answer = seat.ask(STRANGER, Import({DM: mib(1)}, None))
    assert isinstance(answer, Refused)
    assert (answer.uuid, answer.domid, answer.name) == (STRANGER, None, None)
    seat.grant(STRANGER, Import({MAX_MEM: mib(1)}, None))
    assert seat.ask(STRANGER, Headroom(1)) == Refused(not_here(STRANGER), STRANGER)


def test_a_rollback_within_a_batch_keeps_the_revisions_of_components(seat: Seat) -> None:
    """What was decided a moment ago is the same record as what the ledger holds."""
    asks = [
        DecisionRequest("1", SetMaxMem(mib(96)), ACTOR),
        DecisionRequest("1", GROW, ACTOR),
        DecisionRequest("1", Rollback(2), ACTOR),
    ]
    limit, _, back = seat.arbiter.turn(asks)
    assert isinstance(limit, Granted)
    assert isinstance(back, Granted)
    assert (back.record.uuid, back.record.revision) == (seat.uuid(1), 4)
    assert back.record.components == limit.record.components


def test_a_replay_names_the_instance_that_lives(seat: Seat) -> None:
    """By whichever reference it is asked again, the answer is about the same domain."""
    for ref in ("1", "web", seat.uuid(1), seat.uuid(1).upper()):
        answer = seat.grant(ref, GROW, key="0:a")
        assert (answer.domid, answer.name, answer.record.revision) == (1, "web", 2)
        assert answer.replayed is (ref != "1")
        assert not answer.dry_run


def test_a_key_that_is_used_for_a_domain_that_is_not_there(seat: Seat) -> None:
    """A name that means a record alone now is the same domain's: the wish is answered again."""
    seat.grant("web", GROW, key="0:a")
    seat.host.destroy(1)
    seat.poll()
    answer = seat.grant("web", GROW, key="0:a")
    assert (answer.replayed, answer.domid, answer.name) == (True, None, "web")


def test_a_reused_key_is_counted_and_not_noted(seat: Seat) -> None:
    """Whose history it would belong to is not known."""
    seat.grant(1, GROW, key="0:a")
    answer = seat.ask(1, Increase(DM, 8), key="0:a")
    assert isinstance(answer, Refused)
    assert (answer.uuid, seat.arbiter.refusals) == (None, {"idempotency-key-reused": 1})


def test_a_dry_run_says_so_and_a_grant_does_not(seat: Seat) -> None:
    """Only the dry run is one, and it names the same domain."""
    dry = seat.grant(1, SetMaxMem(Memory(kib=96 * MIB)), dry_run=True)
    real = seat.grant(1, SetMaxMem(Memory(kib=96 * MIB)))
    assert (dry.dry_run, real.dry_run) == (True, False)
    assert (dry.domid, dry.name) == (real.domid, real.name) == (1, "web")


def test_a_rollback_undoes_a_target() -> None:
    """Also the first one that was decided: a revision of before goes back to what was there."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(512), maxmem=mib(1024))
    seat.restart()
    seat.grant(web, SetTarget(mib(100)))
    seat.grant(web, SetTarget(mib(200)))
    dry = seat.grant(web, Rollback(1), dry_run=True)
    assert dry.change is not None
    assert dry.change.before == Amounts(200 * 1024, 201 * 1024, 1024 * 1024, 200 * 1024)
    assert dry.change.after == Amounts(512 * 1024, 513 * 1024, 1024 * 1024, 512 * 1024)
    assert seat.host.nodes.facts(web).target == mib(200)

    first = seat.grant(web, Rollback(1))
    assert (first.change, first.target_kib) == (dry.change, 512 * 1024)
    assert (seat.host.nodes.facts(web).target, seat.pages(web)) == (mib(512), 513 * 256)
    seat.grant(web, Rollback(2))
    assert (seat.host.nodes.facts(web).target, seat.pages(web)) == (mib(100), 101 * 256)
    seat.grant(web, Rollback(1))
    assert (seat.host.nodes.facts(web).target, seat.pages(web)) == (mib(512), 513 * 256)


def test_a_dry_run_tells_the_nodes_that_it_would_write() -> None:
    """Before and after, of max-mem, limit, static-max and target."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(512), maxmem=mib(1024))
    seat.restart()
    answer = seat.grant(web, SetMaxMem(mib(600)), dry_run=True)
    assert answer.change is not None
    assert answer.change.before == Amounts(512 * 1024, 513 * 1024, 1024 * 1024, 512 * 1024)
    assert answer.change.after == Amounts(600 * 1024, 601 * 1024, 600 * 1024, 512 * 1024)
    assert seat.grant(web, SetMaxMem(mib(600))).change is None


def test_a_device_models_domain_is_checked_without_xenstore(seat: Seat) -> None:
    """Whose domain it is Xen tells: a xenstored that is away changes nothing of the refusal."""
    bond = Bond(1, seat.uuid(1))
    seat.host.set_xenstore_away(away=True)
    assert seat.refuse(2, GROW, bond=bond) == "not-your-domain"


def test_a_replay_needs_no_xenstore(seat: Seat) -> None:
    """Which domain a domid means Xen tells, so a retry is answered while xenstored is away."""
    first = seat.grant(1, GROW, key="0:a")
    seat.host.set_xenstore_away(away=True)
    again = seat.grant(1, GROW, key="0:a")
    assert (again.replayed, again.record) == (True, first.record)


def test_a_key_is_no_other_domains_though_neither_is_there(seat: Seat) -> None:
    """A UUID means its domain wherever that is."""
    uuid = seat.uuid(1)
    seat.grant(uuid, GROW, key="0:a")
    seat.host.destroy(1)
    seat.poll()
    assert seat.refuse(STRANGER, GROW, key="0:a") == "idempotency-key-reused"
    assert seat.grant(uuid, GROW, key="0:a").replayed


def test_a_wish_that_changes_nothing_names_its_domain(seat: Seat) -> None:
    """Its answer is like any other's, at the revision that stands."""
    answer = seat.grant(1, Headroom(1))
    assert (answer.domid, answer.name, answer.record.revision) == (1, "web", 1)


def test_a_rollback_within_a_batch_reaches_each_of_its_revisions(seat: Seat) -> None:
    """Not only the last: a record that was replaced in the same batch can be brought back."""
    wishes = [SetMaxMem(mib(96)), SetMaxMem(mib(80)), Rollback(2), Rollback(3), Rollback(1)]
    answers = seat.arbiter.turn([DecisionRequest("1", wish, ACTOR) for wish in wishes])
    granted = [answer for answer in answers if isinstance(answer, Granted)]
    amounts = [answer.record.amount(MAX_MEM) for answer in granted]
    assert amounts == [mib(96), mib(80), mib(96), mib(80), mib(64)]
    assert [answer.record.revision for answer in granted] == [2, 3, 4, 5, 6]


def following(seat: Seat) -> int:
    """Return a domain whose record follows its build, and whose maximum was raised since."""
    for step in seat.host.creating("new", memory=mib(64), maxmem=mib(128)):
        seat.poll()
        if step.name == "populated":
            break
    seat.host.foreign_write(step.domid, mib(200))
    return step.domid


def test_headroom_of_a_build_that_is_followed_counts_from_xens_maximum(seat: Seat) -> None:
    """Its record is older than what its toolstack wrote: where Xen has the room, none is added."""
    domid = following(seat)
    assert seat.grant(domid, Headroom(1024)).record.components.keys() == {MAX_MEM, SLACK}


def test_headroom_after_a_limit_in_the_same_batch_counts_from_that_limit(seat: Seat) -> None:
    """A record that was decided on is no more what was seen of the build."""
    domid, wishes = following(seat), [SetMaxMem(mib(64)), Headroom(1024)]
    _, answer = seat.arbiter.turn([DecisionRequest(str(domid), wish, ACTOR) for wish in wishes])
    assert isinstance(answer, Granted)
    share = answer.record.amount(POPULATED)
    tot_pages = seat.host.machine.domain(domid).tot_pages
    assert share == Memory.of_pages(tot_pages + 1024 + SPARE_PAGES - mib(65).pages)
