"""The one lookup: which domain a reference means, and what is said where it means none."""

import pytest

from maxmemd.arbiter.messages import Answer, DomainView, LookAtDomain, LookAtDomains, Refused
from maxmemd.errors import MaxmemError
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.wishes import (
    CREATED,
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
)
from maxmemd.xen.simulated import finish
from tests.support.seat import DM, MIB, WEB_UUID, Seat, mib, web_of

UUID_LIKE = "deadbeef-0000-4000-8000-000000000001"
DYING = "cannot use domain 1: domain 1 is dying (once it is gone, its next start can be decided)"
NOWHERE = "51a70000-0000-4000-8000-0000000000ff"


@pytest.fixture
def seat() -> Seat:
    """Return a seat with web (domid 1, WEB_UUID) and db (2)."""
    made = Seat()
    finish(made.host.building(web_of(64, 128)))
    made.host.create("db", memory=mib(64), maxmem=mib(128))
    return made.restart()


def look(seat: Seat, ref: str) -> Answer | MaxmemError:
    """Ask about one domain."""
    return seat.arbiter.turn([LookAtDomain(ref)])[0]


def said(seat: Seat, ref: str) -> tuple[str, str]:
    """Return code and sentence of a refusal, the same for a question and for a wish."""
    asked, wished = look(seat, ref), seat.ask(ref, Increase(DM, 4))
    assert isinstance(asked, Refused)
    assert isinstance(wished, Refused)
    assert asked.refusal == wished.refusal
    return asked.refusal.code, asked.refusal.detail


def said_of_wish(seat: Seat, ref: str) -> tuple[str, str]:
    """Return code and sentence of the refusal of a wish."""
    answer = seat.ask(ref, SetMaxMem(mib(200)))
    assert isinstance(answer, Refused)
    return answer.refusal.code, answer.refusal.detail


def dying(seat: Seat) -> None:
    """Let web die: Xen still lists it."""
    death = seat.host.destroying(1)
    while next(death).name != "dead":
        pass


def test_a_domid_of_a_dying_domain_is_said_to_be_dying(seat: Seat) -> None:
    """Polled since or not, until Xen drops it; then there is no such domain."""
    death = seat.host.destroying(1)
    while next(death).name != "dead":
        pass
    assert said(seat, "1") == ("domain-gone", DYING)
    seat.poll()
    assert said(seat, "1") == ("domain-gone", DYING)
    finish(death)
    assert said(seat, "1") == (
        "unknown-domain",
        "cannot find a domain '1': no domid, UUID or name of a domain here is that",
    )


def test_all_domains_show_a_dying_one_with_its_record(seat: Seat) -> None:
    """Once, with its domid; its successor has the record for itself."""
    dying(seat)
    [views] = seat.arbiter.turn([LookAtDomains()])
    assert isinstance(views, tuple)
    [web] = [view for view in views if view.uuid == WEB_UUID]
    assert (web.domid, web.name, web.push) == (1, "web", None)
    assert web.record is not None
    born = finish(seat.host.building(web_of(64, 128)))
    [views] = seat.arbiter.turn([LookAtDomains()])
    assert isinstance(views, tuple)
    both = {view.domid: view.record is not None for view in views if view.uuid == WEB_UUID}
    assert both == {1: False, born: True}


@pytest.mark.parametrize("ref", ["web", WEB_UUID, WEB_UUID.upper()])
@pytest.mark.parametrize("how", ["dying", "gone", "gone and restarted"])
def test_a_recorded_domain_is_found_without_an_instance(seat: Seat, how: str, ref: str) -> None:
    """By its UUID and by its last name, for questions and for wishes."""
    seat.grant("web", Increase(("operator", "x"), 4))
    if how == "dying":
        dying(seat)
    else:
        seat.host.destroy(1)
    if how == "gone and restarted":
        seat.poll()
        seat.restart()
    view = look(seat, ref)
    assert isinstance(view, DomainView)
    assert (view.uuid, view.name, view.push) == (WEB_UUID, "web", None)
    assert view.domid == (1 if how == "dying" else None)
    if how == "dying":
        assert said_of_wish(seat, ref) == ("domain-gone", DYING)
        return
    granted = seat.grant(ref, SetMaxMem(mib(200)))
    assert (granted.domid, granted.name, granted.push) == (None, "web", None)
    assert granted.record.limit_kib == 201 * MIB + 4


def test_a_living_domain_wins_over_one_that_had_its_name(seat: Seat) -> None:
    """Only when no living one has it, the name means the record; of two records, neither."""
    seat.grant("web", SetMaxMem(mib(98)))
    seat.host.destroy(1)
    seat.poll()
    heir = seat.host.create("web", memory=mib(64))
    assert seat.grant("web", SetMaxMem(mib(99))).domid == heir
    uuids = sorted([WEB_UUID, seat.uuid(heir)])
    seat.host.destroy(heir)
    assert said(seat, "web") == (
        "ambiguous-domain",
        (
            f"cannot tell which 'web' is meant: none is here, and {uuids[0]}, {uuids[1]} had that"
            " name last (use the UUID)"
        ),
    )
    assert seat.grant(WEB_UUID, SetMaxMem(mib(99))).record.uuid == WEB_UUID


def test_the_last_name_is_the_one_after_a_rename_and_not_a_migrations(seat: Seat) -> None:
    """What xl adds to a name while it migrates is no name to be found by."""
    seat.host.rename(2, "data")
    seat.grant("data", Increase(DM, 4))
    for _ in seat.host.migrating(2):
        seat.poll()
    uuid = seat.uuid(3)
    seat.host.rename(3, "data--migratedaway")
    assert seat.grant("data--migratedaway", Increase(DM, 4)).domid == 3
    seat.host.destroy(3)
    view = look(seat, "data")
    assert isinstance(view, DomainView)
    assert (view.uuid, view.name) == (uuid, "data")
    for ref in ("db", "data--migratedaway"):
        assert said(seat, ref)[0] == "unknown-domain"


def test_a_name_like_a_uuid_is_found(seat: Seat) -> None:
    """Where no domain has that UUID, in its very spelling; alive and after."""
    odd = seat.host.create(UUID_LIKE, memory=mib(64))
    assert seat.grant(UUID_LIKE, Increase(DM, 4)).domid == odd
    assert said(seat, UUID_LIKE.upper())[0] == "unknown-domain"
    other = seat.host.create(WEB_UUID, memory=mib(64))
    assert seat.grant(WEB_UUID, Increase(DM, 4)).domid == 1 != other
    seat.host.destroy(odd)
    assert seat.grant(UUID_LIKE, Increase(DM, 4)).name == UUID_LIKE


def test_a_record_that_comes_ahead_is_never_for_a_name(seat: Seat) -> None:
    """An import names its domain by UUID."""
    odd = seat.host.create(UUID_LIKE, memory=mib(64))
    seat.poll()
    granted = seat.grant(UUID_LIKE, Import({MAX_MEM: mib(1)}, None))
    assert (granted.record.uuid, granted.domid) == (UUID_LIKE, None)
    assert seat.record(odd).revision == 1


def test_digits_are_a_domid_and_a_name_of_digits_is_said(seat: Seat) -> None:
    """It is not taken for the name, for domids are used again; the sentence says which it is."""
    odd = seat.host.create("77", memory=mib(64))
    seat.poll()
    assert said(seat, "77") == (
        "unknown-domain",
        (
            "cannot find a domain '77': a number is a domid, and no domain has that one"
            f" (it is the name of domain {odd}: use a domid or UUID)"
        ),
    )


@pytest.mark.parametrize(
    ("name", "ref"),
    [("a b", "a b"), ("-x", "-x"), ("a/b", "a/b"), ("x" * 4000, "x" * 4000), ("a?b", "a\x1bb")],
)
def test_odd_names_are_found(seat: Seat, name: str, ref: str) -> None:
    """As they are, and what cannot be printed as it is shown."""
    odd = seat.host.create(name, memory=mib(64))
    assert seat.grant(ref, Increase(DM, 4)).domid == odd


OTHER = ("operator", "other")
ROM = {"device-model/rom": MIB}
HALTED: dict[str, tuple[Wish, dict[str, int]]] = {
    "mem-max": (SetMaxMem(mib(200)), {"operator/max-mem": 200 * MIB, **ROM}),
    "far below the last target": (SetMaxMem(mib(1)), {"operator/max-mem": MIB, **ROM}),
    "component-set": (SetComponent(DM, mib(3)), {"device-model/rom": 3 * MIB}),
    "component-increase": (Increase(DM, 4), {"device-model/rom": MIB + 4}),
    "component-remove": (RemoveComponent(DM), {}),
    "rollback": (Rollback(2), {}),
}


@pytest.mark.parametrize("wish", HALTED.values(), ids=HALTED)
def test_a_halted_domain_is_decided_for_its_next_start(
    seat: Seat, wish: tuple[Wish, dict[str, int]]
) -> None:
    """Committed, in the history, with nothing to push, and kept across a restart."""
    seat.grant("web", SetComponent(OTHER, mib(1)))
    seat.grant("web", SetComponent(DM, mib(1)))
    seat.host.destroy(1)
    pushes = seat.arbiter.limits.pushes
    granted = seat.grant("web", wish[0])
    assert (granted.push, seat.arbiter.limits.pushes) == (None, pushes)
    amounts = {f"{key[0]}/{key[1]}": it.amount.kib for key, it in granted.record.components.items()}
    untouched = {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB, "operator/other": MIB}
    assert amounts == untouched | wish[1]
    assert seat.restart().arbiter.records.get(WEB_UUID) == granted.record
    assert seat.memory.kinds(WEB_UUID)[-1] != "refused"


@pytest.mark.parametrize("wish", [SetTarget(mib(64)), Build(mib(64), CREATED), Headroom(4)])
def test_what_needs_an_instance_is_refused_without_one(seat: Seat, wish: Wish) -> None:
    """A target, a build and room for pages; the sentence says what can be decided."""
    seat.host.destroy(1)
    answer = seat.ask("web", wish)
    assert isinstance(answer, Refused)
    assert (answer.refusal.code, answer.uuid, answer.name) == ("domain-gone", WEB_UUID, "web")
    assert answer.refusal.detail == (
        "cannot do that to web: it does not live here now"
        " (its max-mem and components can be decided for its next start)"
    )


@pytest.mark.parametrize(("restarted", "wishes"), [(False, 1), (True, 1), (True, 40)])
@pytest.mark.parametrize("back", ["create", "changed", "announced", "restore"])
@pytest.mark.parametrize("ending", ["destroyed", "saved"])
def test_what_was_decided_while_it_was_away_is_in_force_once_it_is_back(
    seat: Seat, ending: str, back: str, restarted: bool, wishes: int
) -> None:
    """max-mem with static-max, and another owner's component, however the domain is made again."""
    seat.grant("web", SetMaxMem(mib(150)))
    image = seat.host.save(1)
    if ending == "destroyed":
        seat.host.destroy(seat.host.restore(image))
    seat.poll()
    seat.grant("web", Increase(("operator", "x"), 256))
    for number in reversed(range(wishes)):
        seat.grant("web", SetMaxMem(mib(100 + number)))
    if restarted:
        seat.restart()
    if back == "restore":
        web = seat.host.restore(image)
    else:
        maxmem = 130 if back == "changed" else 128
        life = seat.host.building(web_of(64, maxmem), paused=back == "announced")
        web = finish(life)
    if back == "announced":
        seat.grant(web, Build(mib(64), CREATED, mib(128)))
        seat.host.unpause(web)
    seat.poll()
    seat.poll()
    assert (seat.state(web), seat.pages(web)) == ("applied", 101 * 256 + 64)
    assert seat.host.nodes.facts(web).static_max == mib(100)
    assert seat.record(web).static_max == mib(100)


def test_what_was_decided_ahead_gives_way_to_a_build_that_it_would_starve(seat: Seat) -> None:
    """The next one asks for more: its numbers replace the record, and the history says why."""
    seat.host.destroy(1)
    seat.grant("web", SetMaxMem(mib(32)))
    web = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    assert seat.amounts(web)["operator/max-mem"] == 64 * MIB
    assert "recorded max-mem" in str(seat.memory.words("record-replaced")[0]["why"])


def test_a_domain_never_heard_of_is_unknown(seat: Seat) -> None:
    """A UUID without a record is no halted domain."""
    for ref in (NOWHERE, "nosuch", "9"):
        assert said(seat, ref)[0] == "unknown-domain"
