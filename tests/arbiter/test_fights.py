"""Other memory managers: a fight is told once, starves no guest, and ends."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from maxmemd.policy.drift import DriftMode, DriftRules
from maxmemd.policy.fights import FightRules
from maxmemd.policy.states import PushState
from maxmemd.policy.wishes import SetComponent, SetMaxMem
from maxmemd.units import Memory
from tests.support.seat import DM, Seat, mib

OURS = 102656
THEIRS_KIB = 1183616
NEEDED = (THEIRS_KIB + 1024) // 4
QUIET_S = 300.0


class Manager:
    """A memory manager beside us: each write is its maximum, PoD target and target.

    Between two polls it writes several times, and what it gives moves a little.
    """

    def __init__(self, seat: Seat, *, times: int = 8) -> None:
        self.seat, self.times = seat, times
        self.kib = THEIRS_KIB
        self.written: list[int] = []

    def write(self, kib: int) -> None:
        """Write the maximum, the PoD target and the target, in this order."""
        host = self.seat.host
        host.foreign_write(1, Memory(kib=kib + 1024))
        host.machine.set_pod_target(1, Memory(kib=kib).pages)
        host.write_nodes(1, self.seat.uuid(1), target=Memory(kib=kib))
        host.tick(0.1)
        self.written.append(self.seat.pages(1))

    def between_polls(self) -> None:
        """Write what a balancer would."""
        for step in range(self.times):
            self.write(self.kib + 16 * (step % 3))
        self.kib += 64


def seat_of(drift: str = "restore", *, fights: FightRules | None = None) -> Seat:
    """Return a seat with an HVM guest, domain 1, that was decided to have 400 MiB."""
    seat = Seat(drift=drift, fights=fights or FightRules())
    seat.host.create("web", kind="hvm", memory=mib(400), maxmem=mib(2048), videoram=mib(0))
    seat.restart()
    seat.grant(1, SetMaxMem(mib(400), force=True, node=False))
    seat.poll()
    assert (seat.pages(1), seat.state(1)) == (OURS, "applied")
    return seat


def fight_of(seat: Seat, polls: int = 5) -> Manager:
    """Let a manager write until there is a fight."""
    manager = Manager(seat)
    for _ in range(polls):
        manager.between_polls()
        seat.poll()
    return manager


def maxima(seat: Seat, manager: Manager, polls: int) -> Iterator[int]:
    """Yield Xen's maximum after each of so many polls, with the manager at work."""
    for _ in range(polls):
        manager.between_polls()
        seat.poll()
        yield seat.pages(1)


def words_of(seat: Seat, kind: str) -> Sequence[dict[str, object]]:
    """Return what the history has of one kind."""
    return seat.memory.words(kind)


def test_a_fight_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """The fifth write within a minute begins it; however long it lasts, there is one entry."""
    seat = seat_of()
    manager = Manager(seat)
    for _ in range(200):
        manager.between_polls()
        seat.poll()
    [began] = words_of(seat, "fight-began")
    assert {key: began[key] for key in ("domid", "wanted_pages", "writes", "within_s")} == {
        "domid": 1, "wanted_pages": OURS, "writes": 5, "within_s": 60.0,
    }  # fmt: skip
    assert len(words_of(seat, "drift")) == 4
    assert words_of(seat, "recovered") == []
    assert len([record for record in caplog.records if "fight-began" in record.message]) == 1
    assert (seat.arbiter.fights.began, seat.arbiter.reconciler.drifts) == (1, 200)
    [fight] = seat.arbiter.figures.fights
    assert (fight.uuid, fight.domid, fight.name, fight.writes) == (seat.uuid(1), 1, "web", 200)


def test_a_fight_starves_no_guest() -> None:
    """From its beginning on, no maximum of ours is below what the guest's target asks for."""
    seat = seat_of()
    manager = fight_of(seat)
    assert all(pages >= NEEDED for pages in maxima(seat, manager, 400))
    assert (seat.state(1), seat.record(1).max_pages) == (PushState.PENDING, OURS)
    instance = seat.instance(1)
    assert instance.drift_pages == seat.pages(1)
    assert instance.error == (
        f"cannot keep {OURS} pages: another program wrote {seat.pages(1)} again and again,"
        f" and the guest needs it for the {seat.host.nodes.facts(1).target.kib} KiB of its target"  # type: ignore[union-attr]
    )


def test_without_the_fight_it_was_starved_each_time() -> None:
    """What a fight is kept from: a host on which it takes a thousand writes to be one."""
    seat = seat_of(fights=FightRules(writes=1000, within_s=1e6))
    assert set(maxima(seat, Manager(seat), 50)) == {OURS}


def test_a_guest_that_needs_no_more_gets_ours_back_less_and_less_often() -> None:
    """Where the target fits into ours, ours is pushed with pauses of up to a minute."""
    seat = seat_of()
    pushed, before, began_s = [], seat.arbiter.limits.pushes, seat.clock.now_s
    for poll in range(150):
        seat.host.foreign_write(1, mib(1000 + poll))
        seat.poll()
        if seat.arbiter.limits.pushes > before:
            pushed.append(seat.clock.now_s - began_s)
        before = seat.arbiter.limits.pushes
    pauses = [later - at for at, later in pairwise(pushed)]
    assert pauses == [2, 2, 2, 6, 8, 16, 32, 60, 60, 60]
    assert len(words_of(seat, "fight-began")) == 1
    assert len(words_of(seat, "drift")) == len(words_of(seat, "recovered")) == 4


def test_what_is_below_ours_is_raised_with_the_same_pauses() -> None:
    """A manager that takes memory away is undone as far as that is not a fight of its own."""
    seat = seat_of()
    for poll in range(5):
        seat.host.foreign_write(1, mib(300 + poll))
        seat.poll()
    assert (seat.pages(1), seat.state(1)) == (304 * 256, PushState.PENDING)
    seat.poll(after_s=4)
    assert (seat.pages(1), seat.state(1)) == (OURS, "applied")


def test_a_fight_ends_once_after_quiet_time() -> None:
    """Its end is noted once; what it left stands while the guest needs it, and no longer."""
    seat = seat_of()
    manager = fight_of(seat)
    left = seat.pages(1)
    for _ in range(400):
        seat.poll()
    assert words_of(seat, "fight-ended") == [{"domid": 1, "writes": 5, "why": "quiet"}]
    assert seat.arbiter.figures.fights == ()
    assert (seat.pages(1), seat.state(1)) == (left, PushState.PENDING)
    assert "again" not in str(seat.instance(1).error)
    manager.seat.host.write_nodes(1, seat.uuid(1), target=mib(300))
    seat.poll()
    assert (seat.pages(1), seat.state(1)) == (OURS, PushState.OVER_LIMIT)
    seat.host.tick(600)
    seat.poll()
    assert seat.state(1) == "applied"


def test_after_a_fight_the_mode_works_as_before() -> None:
    """The next foreign write is undone at once, and so many more are another fight."""
    seat = seat_of()
    for poll in range(5):
        seat.host.foreign_write(1, mib(1000 + poll))
        seat.poll()
    seat.poll(after_s=4)
    assert (seat.pages(1), len(seat.arbiter.figures.fights)) == (OURS, 1)
    seat.poll(after_s=QUIET_S)
    assert (len(words_of(seat, "fight-ended")), seat.arbiter.figures.fights) == (1, ())
    for poll in range(5):
        seat.host.foreign_write(1, mib(1000 + poll))
        seat.poll()
        assert (seat.pages(1) == OURS) == (poll < 4)
    assert len(words_of(seat, "fight-began")) == 2
    assert len(words_of(seat, "drift")) == 8


def test_a_writer_that_only_answers_us_is_not_quiet_too_early() -> None:
    """A program that writes again whenever we did does not end its fight by waiting for us."""
    seat = seat_of()
    for _ in range(300):
        if seat.pages(1) == OURS:
            seat.host.foreign_write(1, mib(1000))
        seat.poll()
    assert (len(words_of(seat, "fight-began")), words_of(seat, "fight-ended")) == (1, [])


def test_a_fight_outlives_a_restart() -> None:
    """It is neither told again nor forgotten, and the guest keeps what it needs throughout."""
    seat = seat_of()
    manager = fight_of(seat)
    for _ in range(3):
        seat.restart()
        assert seat.pages(1) >= NEEDED
        assert all(pages >= NEEDED for pages in maxima(seat, manager, 10))
    assert (len(words_of(seat, "fight-began")), words_of(seat, "fight-ended")) == (1, [])
    seat.restart()
    seat.poll(after_s=QUIET_S - 1)
    assert words_of(seat, "fight-ended") == []
    seat.poll(after_s=2)
    assert len(words_of(seat, "fight-ended")) == 1


@pytest.mark.parametrize("mode", [DriftMode.ADOPT, DriftMode.ALERT])
def test_another_mode_ends_a_fight(mode: DriftMode) -> None:
    """Once drift is not undone any more there is no fight, and what stands is dealt with by it."""
    seat = seat_of()
    fight_of(seat)
    theirs = seat.pages(1)
    seat.drift_of = {"web": mode}
    seat.restart()
    assert words_of(seat, "fight-ended") == [{"domid": 1, "writes": 0, "why": "mode"}]
    is_adopted = mode is DriftMode.ADOPT
    assert seat.pages(1) == theirs
    assert (seat.record(1).max_pages == theirs) == is_adopted
    assert seat.state(1) == (PushState.APPLIED if is_adopted else PushState.PENDING)


MOST_IN_AN_HOUR = 5 + 4 + 60
"""Five at once, then after 4, 8, 16 and 32 seconds, then one a minute."""


@pytest.mark.parametrize("mode", ["adopt", "alert"])
def test_a_manager_that_writes_on_and_on_makes_few_entries(mode: str) -> None:
    """An hour of polls: Xen's maximum is never touched, and nothing is told as a fight."""
    seat = seat_of(mode)
    manager, before = Manager(seat, times=1), seat.record(1).revision
    assert all(pages == manager.written[-1] for pages in maxima(seat, manager, 1800))
    assert words_of(seat, "fight-began") == []
    assert 60 < len(words_of(seat, "drift")) <= MOST_IN_AN_HOUR
    is_adopted = mode == "adopt"
    assert (seat.record(1).revision - before > 60) is is_adopted
    assert seat.arbiter.reconciler.drifts == 1800


def test_the_first_maxima_are_adopted_at_once() -> None:
    """As a manager does that writes now and then, also after a long time of writing on and on."""
    seat = seat_of("adopt")
    manager = Manager(seat, times=1)
    for _ in range(2):
        for pages in maxima(seat, manager, 5):
            assert (seat.state(1), seat.record(1).max_pages) == ("applied", pages)
        manager.between_polls()
        seat.poll()
        assert seat.state(1) == "pending"
        assert "what stands in" in str(seat.instance(1).error)
        seat.poll(after_s=4)
        assert seat.record(1).max_pages == seat.pages(1)
        seat.poll(after_s=QUIET_S)


@pytest.mark.parametrize("mode", ["adopt", "alert"])
def test_what_a_manager_leaves_in_the_end_is_adopted_or_noted(mode: str) -> None:
    """Within a minute after its last write, once."""
    seat = seat_of(mode)
    manager = Manager(seat, times=1)
    for _ in maxima(seat, manager, 100):
        pass
    for _ in range(40):
        seat.poll()
    last = words_of(seat, "drift")[-1]
    assert last["seen_pages"] == seat.pages(1) == manager.written[-1]
    assert (seat.state(1) == "applied") is (mode == "adopt")
    count = len(words_of(seat, "drift"))
    for _ in range(40):
        seat.poll()
    assert len(words_of(seat, "drift")) == count


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_decision_takes_what_stands_for_its_beginning(is_dry: bool) -> None:
    """A component is added to the manager's number, and not to one that was adopted long ago."""
    seat = seat_of("adopt")
    manager = Manager(seat, times=1)
    for _ in maxima(seat, manager, 20):
        pass
    theirs, recorded = seat.pages(1), seat.record(1).max_pages
    assert theirs != recorded
    granted = seat.grant(1, SetComponent(DM, mib(1)), dry_run=is_dry)
    assert granted.record.max_pages == (recorded if is_dry else theirs) + 256
    assert seat.pages(1) == (theirs if is_dry else theirs + 256)


def test_a_decision_under_another_mode_adopts_nothing() -> None:
    """What waited to be adopted is drift once the mode is restore."""
    seat = seat_of("adopt")
    for _ in maxima(seat, Manager(seat, times=1), 20):
        pass
    seat.drift = "restore"
    settings = seat.arbiter.settings.value
    seat.arbiter.reconfigure(replace(settings, drift=DriftRules(DriftMode.RESTORE)))
    recorded = seat.record(1).max_pages
    granted = seat.grant(1, SetComponent(DM, mib(1)))
    assert granted.record.max_pages == recorded + 256 == seat.pages(1)


def test_a_fight_is_over_with_its_instance() -> None:
    """A domain that goes takes its fight along; its next life begins without."""
    seat = seat_of()
    fight_of(seat)
    new = seat.host.reboot(1)
    seat.poll()
    assert words_of(seat, "fight-ended") == [{"domid": 1, "writes": 5, "why": "gone"}]
    assert (seat.arbiter.figures.fights, seat.instance(new).fight) == ((), None)


def test_a_decision_in_a_fight_is_pushed() -> None:
    """What a client decides is in force at once, above the target or by force below it."""
    seat = seat_of()
    fight_of(seat)
    seat.grant(1, SetMaxMem(mib(1400)))
    assert (seat.pages(1), seat.state(1)) == (1401 * 256, "applied")


def test_two_domains_have_two_fights() -> None:
    """One domain's fight is not another's, and they are told by domid."""
    seat = Seat()
    for name in ("web", "db", "quiet"):
        seat.host.create(name, memory=mib(64), maxmem=mib(128))
    seat.restart()
    for _ in range(5):
        seat.host.foreign_write(2, mib(80))
        seat.host.foreign_write(1, mib(80))
        seat.poll()
    assert [(fight.domid, fight.name) for fight in seat.arbiter.figures.fights] == [
        (1, "web"),
        (2, "db"),
    ]


def test_xenstore_that_is_away_starves_no_guest() -> None:
    """Where the target cannot be read, a guest keeps in a fight what it holds."""
    seat = seat_of()
    manager = fight_of(seat)
    seat.host.tick(60)
    held = seat.host.machine.domain(1).tot_pages
    assert held > OURS
    seat.host.set_xenstore_away(away=True)
    for _ in range(60):
        seat.host.foreign_write(1, Memory.of_pages(manager.written[-1]))
        seat.poll()
        assert seat.pages(1) >= held
