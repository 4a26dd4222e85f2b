"""Modes of drift that a client sets: whose they are, what they are worth, and when they end."""

import pytest

from maxmemd.arbiter.messages import (
    DecisionRequest,
    DomainView,
    DriftRequest,
    LookAtDomain,
    LookAtDomains,
    Refused,
)
from maxmemd.errors import LedgerError, LedgerFull
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.states import PushState
from maxmemd.policy.wishes import SetMaxMem
from maxmemd.xen.simulated import finish
from tests.support.seat import ACTOR, WEB_UUID, Seat, mib, web_of

HOUR = 3600
OURS, THEIRS = 65 * 256, 80 * 256


def seat_of(drift: str = "restore", **options: object) -> Seat:
    """Return a seat with the guest 'web', domain 1, that was decided to have 64 MiB."""
    seat = Seat(drift=drift, **options)  # type: ignore[arg-type]
    finish(seat.host.building(web_of(64, 128)))
    seat.restart()
    seat.grant(1, SetMaxMem(mib(64)))
    seat.poll()
    assert (seat.pages(1), seat.state(1)) == (OURS, "applied")
    return seat


def ask(seat: Seat, request: DriftRequest) -> DomainView | Refused:
    """Ask in a turn of its own."""
    [answer] = seat.arbiter.turn([request])
    assert isinstance(answer, DomainView | Refused), answer
    return answer


def request(
    mode: DriftMode | None, for_s: int | None = None, ref: str = "web", **options: object
) -> DriftRequest:
    """Return a request about 'web'."""
    return DriftRequest(ref, mode, for_s, ACTOR, **options)  # type: ignore[arg-type]


def mode_in(seat: Seat, ref: str = WEB_UUID) -> tuple[str, bool, float | None]:
    """Return the mode in force, whether it was set, and how long it has left."""
    [answer] = seat.arbiter.turn([LookAtDomain(ref)])
    assert isinstance(answer, DomainView)
    assert answer.drift is not None
    return answer.drift.mode.value, answer.drift.is_set, answer.drift.left_s


def foreign(seat: Seat) -> int:
    """Let another program write, and return what Xen holds a poll later."""
    seat.host.foreign_write(1, mib(80))
    seat.poll()
    return seat.pages(1)


def test_a_mode_that_was_set_is_in_force_for_its_domain_alone() -> None:
    """What is adopted for one domain is undone for another."""
    seat = seat_of()
    seat.host.create("db", memory=mib(64), maxmem=mib(128))
    seat.poll()
    ask(seat, request(DriftMode.ADOPT))
    seat.host.foreign_write(2, mib(80))
    assert foreign(seat) == THEIRS
    assert (seat.record(1).max_pages, seat.pages(2)) == (THEIRS, OURS)


@pytest.mark.parametrize("mode", DriftMode)
@pytest.mark.parametrize("configured", DriftMode)
@pytest.mark.parametrize("of", [{}, {"web": DriftMode.ALERT}, {WEB_UUID: DriftMode.RESTORE}])
def test_it_comes_before_the_configuration(
    mode: DriftMode, configured: DriftMode, of: dict[str, DriftMode]
) -> None:
    """Whatever the host and the domain's own keys say; once it is taken back they say it again."""
    seat = seat_of(configured, drift_of=of)
    without = mode_in(seat)
    ask(seat, request(mode))
    assert mode_in(seat) == (mode, True, None)
    assert (foreign(seat) == OURS) == (mode is DriftMode.RESTORE)
    ask(seat, request(None))
    assert (
        mode_in(seat) == without == (of.get("web") or of.get(WEB_UUID) or configured, False, None)
    )


def test_it_ends_by_itself() -> None:
    """A poll before its end adopts, one after it undoes; the end has one entry."""
    seat = seat_of()
    ask(seat, request(DriftMode.ADOPT, HOUR, reason="trial"))
    seat.poll(after_s=HOUR - 3)
    assert mode_in(seat) == ("adopt", True, 3)
    assert foreign(seat) == THEIRS
    seat.clock.forward(1)
    assert mode_in(seat) == ("restore", False, None)
    seat.host.foreign_write(1, mib(90))
    seat.poll()
    assert seat.pages(1) == THEIRS
    assert seat.memory.words("drift-mode-set") == [
        {"mode": "adopt", "for_s": HOUR, "reason": "trial"}
    ]
    seat.poll()
    assert seat.memory.words("drift-mode-ended") == [{"mode": "adopt"}]
    assert seat.memory.drift_modes == {}


@pytest.mark.parametrize("jump_s", [-1e9, -HOUR, 0, HOUR, 1e9])
def test_no_jump_of_the_wall_clock_moves_its_end(jump_s: float) -> None:
    """Restarts in between or not, an hour is an hour of the host's monotonic clock."""
    seat = seat_of()
    ask(seat, request(DriftMode.ADOPT, HOUR))
    seat.poll(after_s=HOUR / 2)
    seat.clock.at_ns = max(0, seat.clock.at_ns + int(jump_s * 1e9))
    seat.restart()
    assert mode_in(seat) == ("adopt", True, HOUR / 2)
    seat.poll(after_s=HOUR / 2 - 1)
    assert mode_in(seat) == ("adopt", True, 1)
    seat.restart()
    seat.poll(after_s=1)
    assert mode_in(seat) == ("restore", False, None)


def test_time_in_which_the_daemon_is_away_counts() -> None:
    """It ends while the daemon is down, and what was written then is dealt with as configured."""
    seat = seat_of()
    ask(seat, request(DriftMode.ADOPT, HOUR))
    seat.host.foreign_write(1, mib(80))
    seat.clock.forward(HOUR)
    seat.restart()
    assert (seat.pages(1), seat.memory.words("drift-mode-ended")) == (OURS, [{"mode": "adopt"}])


@pytest.mark.parametrize(
    ("passed_s", "left_s"), [(600, HOUR - 600), (HOUR, None), (0, None), (-100, None)]
)
def test_across_a_reboot_of_the_host_the_wall_clock_counts(
    passed_s: float, left_s: float | None
) -> None:
    """Where it did not go on, the mode is over; else it goes on, by the new boot's clock."""
    seat = seat_of()
    ask(seat, request(DriftMode.ADOPT, HOUR))
    seat.boot = "boot-2"
    seat.clock.now_s = 3.0
    seat.clock.at_ns += int(passed_s * 1e9)
    seat.restart()
    assert mode_in(seat)[2] == left_s
    if left_s is not None:
        seat.clock.at_ns -= 10**15
        seat.poll(after_s=left_s - 1)
        assert mode_in(seat) == ("adopt", True, 1)


def test_a_mode_without_an_end_outlives_everything() -> None:
    """Restart, reboot of the host, a clock that is set: until it is taken back."""
    seat = seat_of()
    ask(seat, request(DriftMode.ALERT))
    for boot in ("boot-2", "boot-3"):
        seat.boot, seat.clock.at_ns = boot, 0
        seat.restart()
        seat.poll(after_s=10 * HOUR)
        assert mode_in(seat) == ("alert", True, None)


def test_it_is_the_domains_in_its_next_life() -> None:
    """It belongs to the UUID: a reboot keeps it, and one can be set while the domain is away."""
    seat = seat_of()
    ask(seat, request(DriftMode.ADOPT, ref="1"))
    seat.host.reboot(1)
    seat.poll()
    assert mode_in(seat) == ("adopt", True, None)
    seat.host.destroy(2)
    seat.poll()
    answer = ask(seat, request(DriftMode.ALERT, ref=WEB_UUID.upper()))
    assert isinstance(answer, DomainView)
    assert (answer.domid, mode_in(seat)) == (None, ("alert", True, None))


@pytest.mark.parametrize("for_s", [None, HOUR])
def test_it_goes_on_though_nothing_else_was_decided(for_s: int | None) -> None:
    """A mode is a decision like any: the record of a domain that has one outlives the domain."""
    seat = Seat(keep_gone_s=10.0 * HOUR)
    finish(seat.host.building(web_of(64, 128)))
    seat.restart()
    ask(seat, request(DriftMode.ADOPT, for_s))
    seat.host.destroy(1)
    for _ in range(2):
        seat.poll()
    seat.restart()
    finish(seat.host.building(web_of(32, 128)))
    seat.poll()
    assert mode_in(seat)[:2] == ("adopt", True)
    assert (seat.pages(2), seat.record(2).max_pages) == (33 * 256, 33 * 256)

    seat.host.destroy(2)
    seat.poll()
    seat.poll(after_s=HOUR)
    kept = seat.arbiter.records.get(WEB_UUID) is not None
    assert kept == (for_s is None)  # once it is over no decision is left


def test_a_forgotten_domain_has_none() -> None:
    """With its record its mode is dropped."""
    seat = seat_of(keep_gone_s=60.0)
    ask(seat, request(DriftMode.ADOPT))
    seat.host.destroy(1)
    seat.poll()
    seat.poll(after_s=61)
    assert (seat.memory.drift_modes, seat.arbiter.records.drift_modes) == ({}, {})


def test_a_name_is_asked_for_again() -> None:
    """Nothing tells of an xl rename: the key that means the domain is the one of its name now."""
    seat = seat_of(drift_of={"old": DriftMode.ALERT, "new": DriftMode.ADOPT})
    domain = seat.host.machine.domain(1)
    for name, record in (("old", OURS), ("new", THEIRS)):
        seat.host.rename(domain.domid, name)
        foreign(seat)
        assert seat.record(1).max_pages == record


def test_a_dry_run_shows_and_changes_nothing() -> None:
    """The answer is as it would be; the history and the mode are as they were."""
    seat = seat_of()
    lines = len(seat.memory.lines)
    answer = ask(seat, request(DriftMode.ADOPT, HOUR, dry_run=True))
    assert isinstance(answer, DomainView)
    assert answer.drift is not None
    assert (answer.drift.mode, answer.drift.left_s) == ("adopt", HOUR)
    assert (mode_in(seat), len(seat.memory.lines)) == (("restore", False, None), lines)


def test_a_key_repeats_nothing() -> None:
    """The same request with its key is answered again, another one with it is refused."""
    seat = seat_of()
    wanted = request(DriftMode.ADOPT, HOUR, key="0:a")
    ask(seat, wanted)
    seat.clock.forward(60)
    for _ in range(2):
        assert isinstance(ask(seat, wanted), DomainView)
    assert len(seat.memory.words("drift-mode-set")) == 1
    assert mode_in(seat) == ("adopt", True, HOUR - 60)
    refused = ask(seat, wanted._replace(for_s=5))
    assert isinstance(refused, Refused)
    assert refused.refusal.code == "idempotency-key-reused"


def test_what_is_refused() -> None:
    """Another revision, a domain that is none, and a UUID of which nothing is recorded."""
    seat = seat_of()
    unknown = WEB_UUID.replace("a", "b")
    for wanted, code in (
        (request(DriftMode.ADOPT, if_match=99), "stale-revision"),
        (request(DriftMode.ADOPT, ref="nosuch"), "unknown-domain"),
        (request(None, ref=unknown), "unknown-domain"),
    ):
        answer = ask(seat, wanted)
        assert isinstance(answer, Refused)
        assert (answer.refusal.code, seat.arbiter.refusals[code] > 0) == (code, True)
    assert seat.arbiter.records.drift_modes == {}
    revision = seat.record(1).revision
    assert isinstance(ask(seat, request(DriftMode.ADOPT, if_match=revision)), DomainView)


def test_what_was_not_set_need_not_be_taken_back() -> None:
    """To take back what is not there is granted, and leaves no entry."""
    seat = seat_of()
    assert isinstance(ask(seat, request(None)), DomainView)
    assert seat.memory.words("drift-mode-cleared") == []
    ask(seat, request(DriftMode.ADOPT))
    ask(seat, request(None, reason="over"))
    assert seat.memory.words("drift-mode-cleared") == [{"reason": "over"}]


@pytest.mark.parametrize("kept", [False, True])
def test_what_cannot_be_kept_is_not_in_force(kept: bool) -> None:
    """A commit that fails changes no mode, unless the file has it after all."""
    seat = seat_of()
    seat.memory.fail(LedgerFull("cannot write: full"), kept=kept)
    [answer] = seat.arbiter.turn([request(DriftMode.ADOPT)])
    assert isinstance(answer, LedgerError)
    for _ in range(2):
        assert mode_in(seat) == (("adopt", True, None) if kept else ("restore", False, None))
        seat.poll()


def test_an_end_that_cannot_be_noted_is_an_end() -> None:
    """While the ledger is full a mode is over in time all the same; its entry comes later."""
    seat = seat_of()
    ask(seat, request(DriftMode.ADOPT, HOUR))
    seat.memory.fail(LedgerFull("cannot write: full"))
    seat.host.foreign_write(1, mib(80))
    with pytest.raises(LedgerFull):
        seat.poll(after_s=HOUR)
    assert (seat.pages(1), mode_in(seat)) == (OURS, ("restore", False, None))
    seat.poll()
    assert seat.memory.words("drift-mode-ended") == [{"mode": "adopt"}]


def test_what_was_left_alone_is_dealt_with_by_the_mode_of_now() -> None:
    """From alert to adopt it is adopted; from alert to restore it is undone."""
    for mode, pages in ((DriftMode.ADOPT, THEIRS), (DriftMode.RESTORE, OURS)):
        seat = seat_of("alert")
        assert (foreign(seat), seat.state(1)) == (THEIRS, PushState.PENDING)
        ask(seat, request(mode))
        seat.poll()
        assert (seat.pages(1), seat.record(1).max_pages) == (pages, pages)
        assert seat.state(1) == "applied"


def test_what_was_left_alone_is_not_taken_from_a_guest_that_needs_it() -> None:
    """From alert to restore, a maximum that the target asks for stays until it asks for less."""
    seat = seat_of("alert")
    seat.host.foreign_write(1, mib(81))
    seat.host.write_nodes(1, WEB_UUID, target=mib(80))
    seat.poll()
    ask(seat, request(DriftMode.RESTORE))
    for _ in range(3):
        seat.poll()
        assert (seat.pages(1), seat.state(1)) == (81 * 256, PushState.PENDING)
    seat.host.write_nodes(1, WEB_UUID, target=mib(64))
    seat.poll()
    assert seat.pages(1) == OURS


def test_every_domain_says_its_mode() -> None:
    """The list has it as well, for those that are away too; a domain without a UUID has none."""
    seat = seat_of(drift_of={"Domain-0": DriftMode.ALERT})
    seat.host.create("gone", memory=mib(64), maxmem=mib(64))
    seat.poll()
    ask(seat, request(DriftMode.ADOPT, ref="gone"))
    seat.host.destroy(2)
    [views] = seat.arbiter.turn([LookAtDomains()])
    assert isinstance(views, tuple)
    modes = {view.name: None if view.drift is None else view.drift.mode.value for view in views}
    assert modes == {"Domain-0": "alert", "web": "restore", "gone": "adopt"}


def test_one_turn_takes_wishes_and_modes_together() -> None:
    """A mode in the same turn as a decision: both hold, and a failed commit fails both."""
    seat = seat_of()
    limit = DecisionRequest("web", SetMaxMem(mib(70)), ACTOR)
    first, second = seat.arbiter.turn([limit, request(DriftMode.ADOPT)])
    assert not isinstance(first, Refused | Exception)
    assert isinstance(second, DomainView)
    assert (seat.pages(1), mode_in(seat)[0]) == (71 * 256, "adopt")
    seat.memory.fail(LedgerFull("cannot write: full"))
    limit = limit._replace(wish=SetMaxMem(mib(72)))
    answers = seat.arbiter.turn([limit, request(DriftMode.ALERT)])
    assert all(isinstance(answer, LedgerError) for answer in answers)
    seat.poll()
    assert (seat.pages(1), mode_in(seat)[0]) == (71 * 256, "adopt")
