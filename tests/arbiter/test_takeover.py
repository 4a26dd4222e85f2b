"""Limits by name: domains that get a new UUID at every create."""

from errno import EIO

import pytest

from maxmemd.arbiter.takeover import Takeover
from maxmemd.policy.codec import build_from_text
from maxmemd.policy.wishes import CREATED, Build, Increase, SetComponent, SetMaxMem, SetTarget
from maxmemd.xen.simulated import finish
from tests.support.seat import DM, MIB, Seat, mib


def created(seat: Seat, name: str = "web", memory: int = 64) -> int:
    """Create a domain with a new UUID, and let it be seen; return its domid."""
    domid = seat.host.create(name, memory=mib(memory), maxmem=mib(256))
    seat.poll()
    seat.poll()
    return domid


def destroyed(seat: Seat, domid: int) -> str:
    """Destroy a domain, and let it be seen; return its UUID."""
    uuid = seat.uuid(domid)
    seat.host.destroy(domid)
    seat.poll()
    return uuid


def with_decisions(by_name: tuple[str, ...]) -> tuple[Seat, str]:
    """Return a seat whose 'web' was decided on and is halted, and its UUID."""
    seat = Seat(by_name=by_name).restart()
    web = created(seat)
    seat.grant(web, SetMaxMem(mib(200)))
    seat.grant(web, SetComponent(DM, mib(2)))
    return seat, destroyed(seat, web)


@pytest.mark.parametrize("pattern", ["web", "w*", "[vw]eb", "???"])
def test_a_new_domain_takes_over_what_was_decided_of_the_one_of_its_name(pattern: str) -> None:
    """Components of all owners and static-max, in force; the history of each names the other."""
    seat, old = with_decisions(("other", pattern))
    web = created(seat)
    assert seat.amounts(web) == {
        "operator/max-mem": 200 * MIB, "toolstack/slack": MIB, "device-model/rom": 2 * MIB,
    }  # fmt: skip
    assert (seat.state(web), seat.pages(web)) == ("applied", 203 * 256)
    assert seat.host.nodes.facts(web).static_max == mib(200)
    assert seat.memory.words("limits-taken") == [{"name": "web", "from": old}]
    assert seat.memory.words("limits-given") == [{"name": "web", "to": seat.uuid(web)}]
    assert "limits-given" in seat.memory.kinds(old)
    assert seat.memory.words("drift") == seat.memory.words("namesake-found") == []


@pytest.mark.parametrize("by_name", [(), ("Web", "we", "web2", "webs*")])
def test_without_the_opt_in_it_is_said_and_nothing_taken(by_name: tuple[str, ...]) -> None:
    """Once, in the new domain's history, with the record that has the limits and what to write."""
    seat, old = with_decisions(by_name)
    web = created(seat)
    assert seat.amounts(web) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}
    assert seat.memory.words("namesake-found") == [
        {
            "name": "web",
            "from": old,
            "advice": "write uuid= in its configuration for xl, or by_name = ['web'] in maxmemd's",
        }
    ]
    assert "namesake-found" in seat.kinds(web)
    seat.poll()
    assert len(seat.memory.words("namesake-found")) == 1


def test_nothing_is_taken_twice() -> None:
    """The second new domain of the name gets nothing while the first is here, and is not asked."""
    seat, _ = with_decisions(("web",))
    first, second = created(seat), created(seat)
    assert seat.amounts(first)["operator/max-mem"] == 200 * MIB
    assert seat.amounts(second)["operator/max-mem"] == 64 * MIB
    assert len(seat.memory.words("limits-given")) == 1


def test_limits_go_on_from_each_to_the_next() -> None:
    """Five creates, each with a new UUID; a restart in between makes no difference."""
    seat, _ = with_decisions(("web",))
    for number in range(5):
        web = created(seat)
        assert seat.amounts(web)["operator/max-mem"] == (200 + number) * MIB
        seat.grant(web, SetMaxMem(mib(201 + number)))
        destroyed(seat, web)
        if number % 2:
            seat.restart()
    assert len(seat.memory.words("limits-taken")) == 5


def test_nothing_is_taken_from_a_living_domain() -> None:
    """Two of one name at a time are two domains."""
    seat = Seat(by_name=("*",)).restart()
    first = created(seat)
    seat.grant(first, SetMaxMem(mib(200)))
    second = created(seat)
    assert seat.amounts(second)["operator/max-mem"] == 64 * MIB
    assert seat.memory.words("limits-taken") == seat.memory.words("namesake-found") == []


def test_the_newest_halted_record_is_the_one() -> None:
    """Of two that were decided on; one that nobody decided on does not count."""
    seat = Seat(by_name=("web",)).restart()
    first, second, third = created(seat), created(seat), created(seat)
    for domid, limit in ((first, 201), (second, 202)):
        seat.grant(domid, SetMaxMem(mib(limit)))
    uuid = seat.uuid(first)
    for domid in (second, first, third):
        destroyed(seat, domid)
    web = created(seat)
    assert seat.amounts(web)["operator/max-mem"] == 201 * MIB
    assert seat.memory.words("limits-taken") == [{"name": "web", "from": uuid}]


def test_a_decision_while_it_was_away_goes_on_too() -> None:
    """Decided for the next start, by the name alone."""
    seat, _ = with_decisions(("web",))
    seat.grant("web", SetMaxMem(mib(220)))
    assert seat.amounts(created(seat))["operator/max-mem"] == 220 * MIB


def test_max_mem_is_not_below_what_the_new_domain_was_built_with() -> None:
    """It holds that by now."""
    seat = Seat(by_name=("web",)).restart()
    web = created(seat)
    seat.grant(web, SetTarget(mib(32)))
    destroyed(seat, web)
    web = created(seat, memory=128)
    assert (seat.amounts(web)["operator/max-mem"], seat.state(web)) == (128 * MIB, "applied")


def test_a_domain_that_has_a_record_takes_nothing() -> None:
    """It goes on with its own."""
    seat, _ = with_decisions(("*",))
    other = created(seat, "other")
    image = seat.host.save(other)
    seat.poll()
    seat.host.rename(seat.host.restore(image), "web")
    seat.poll()
    assert seat.memory.words("limits-taken") == []


def test_a_domain_that_is_built_while_the_daemon_is_away_takes_over() -> None:
    """Begun before, or begun and running meanwhile."""
    for step in ("created", "limited"):
        seat, _ = with_decisions(("web",))
        life = seat.host.creating("web", memory=mib(64), maxmem=mib(256))
        while next(life).name != step:
            pass
        seat.poll()
        web = finish(life)
        seat.restart()
        seat.poll()
        assert (seat.amounts(web)["operator/max-mem"], seat.state(web)) == (200 * MIB, "applied")


def test_the_name_means_the_new_domain_afterwards() -> None:
    """Also once both are halted: the name went over with the limits."""
    seat, old = with_decisions(("web",))
    new = destroyed(seat, created(seat))
    seat.restart()
    assert seat.grant("web", Increase(DM, 4)).record.uuid == new
    assert seat.grant(old, Increase(DM, 4)).record.uuid == old


class Crash(Exception):
    """The daemon is killed here."""


def crash(*_: object) -> None:
    """Die."""
    raise Crash


def is_newcomer(seat: Seat, domid: int) -> bool:
    """Whether the ledger says that limits by name are still to be decided of a domain."""
    uuid = seat.uuid(domid)
    return any(
        build_from_text(row.build).is_newcomer
        for row in seat.memory.load().instances
        if row.uuid == uuid
    )


@pytest.mark.parametrize("crashes", ["decide", "_take"])
@pytest.mark.parametrize(
    ("seen", "announced"),
    [("created", False), ("limited", False), (None, False), ("created", True), ("limited", True)],
)
def test_a_crash_before_it_is_decided_loses_nothing(
    seen: str | None, crashes: str, announced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First seen at any step of its build or once it runs, announced or not."""
    seat, old = with_decisions(("web",))
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(256))
    while seen is not None and next(life).name != seen:
        pass
    if seen is not None:
        seat.poll()
    if announced:
        domid = max(fact.domid for fact in seat.host.hypervisor().domains())
        seat.grant(domid, Build(mib(64), CREATED, mib(256)))
    web = finish(life)
    with monkeypatch.context() as patched:
        patched.setattr(Takeover, crashes, crash)
        with pytest.raises(Crash):
            seat.poll()
    seat.restart()
    seat.poll()
    assert seat.memory.words("limits-taken") == [{"name": "web", "from": old}]
    assert (seat.amounts(web)["operator/max-mem"], seat.state(web)) == (200 * MIB, "applied")
    assert not is_newcomer(seat, web)
    seat.restart()
    seat.poll()
    assert len(seat.memory.words("limits-taken")) == 1


def test_a_namesake_that_halts_later_gives_nothing_after_a_restart() -> None:
    """Of a domain that found none when it began, nothing is left to be decided."""
    seat = Seat(by_name=("*",)).restart()
    first, second = created(seat, "first"), created(seat, "web")
    seat.grant(first, SetMaxMem(mib(200)))
    assert not is_newcomer(seat, second)
    seat.host.rename(first, "web")
    seat.arbiter.lifecycle.read_all_names()
    destroyed(seat, first)
    seat.restart()
    seat.poll()
    assert seat.memory.words("limits-taken") == seat.memory.words("namesake-found") == []


def test_a_name_that_could_not_be_read_is_waited_for_over_a_restart() -> None:
    """It is silent from the first run on, and the daemon is started again meanwhile."""
    seat, old = with_decisions(("web",))
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(256))
    while next(life).name != "created":
        pass
    seat.host.fail("facts", EIO)
    seat.poll()
    web = finish(life)
    seat.poll()
    seat.restart()
    seat.poll()
    assert is_newcomer(seat, web)
    seat.host.heal()
    seat.poll()
    assert seat.memory.words("limits-taken") == [{"name": "web", "from": old}]
