"""The laws of memory and of domids, as Xen has them."""

from collections.abc import Callable
from errno import E2BIG, EEXIST, EINVAL, ENOMEM, EPERM, ESRCH
from functools import partial
from threading import RLock

import pytest

from maxmemd.errors import DomainGone, HypervisorError, NotPermitted
from maxmemd.policy.facts import DOM0_UUID
from maxmemd.units import UNLIMITED_PAGES, Memory
from maxmemd.xen.simulated.domain import Kind
from maxmemd.xen.simulated.machine import Machine

KINDS: tuple[Kind, ...] = ("pv", "pvh", "hvm")
TOTAL, DOM0 = 10_000, 2_000
UUID = "51a70000-0000-4000-8000-00000000000a"


@pytest.fixture
def machine() -> Machine:
    """Return a machine of 10,000 pages of which dom0 holds 2,000."""
    return Machine(Memory.of_pages(TOTAL), Memory.of_pages(DOM0), RLock())


def errno_of(call: Callable[[], object]) -> int:
    """Return the errno that a call raises."""
    with pytest.raises(HypervisorError) as caught:
        call()
    return caught.value.errno


def test_dom0_runs_without_a_limit(machine: Machine) -> None:
    """dom0 is a running PV domain of UUID 0 that no maximum bounds."""
    dom0 = machine.domain(0)
    assert (dom0.uuid, dom0.tot_pages, dom0.max_pages) == (DOM0_UUID, DOM0, UNLIMITED_PAGES)
    assert (dom0.running, dom0.paused, dom0.hvm) == (True, False, False)


def test_a_new_domain_may_hold_nothing(machine: Machine) -> None:
    """max_pages is 0 until it is set, and not one page fits (A4)."""
    domid = machine.create(UUID, "pv")
    assert (machine.domain(domid).max_pages, machine.domain(domid).paused) == (0, True)
    assert not machine.domain(domid).started
    assert errno_of(lambda: machine.populate(domid, 1)) == E2BIG


def test_populating_up_to_the_maximum_and_no_further(machine: Machine) -> None:
    """The last page fits; one more is E2BIG and takes nothing."""
    domid = machine.create(UUID, "pv")
    machine.set_max(domid, 100)
    machine.populate(domid, 99)
    assert errno_of(lambda: machine.populate(domid, 2)) == E2BIG
    machine.populate(domid, 1)
    assert machine.domain(domid).tot_pages == 100
    assert machine.host().free_pages == TOTAL - DOM0 - 100


def test_populating_above_a_lowered_maximum_is_not_permitted(machine: Machine) -> None:
    """A maximum below tot_pages is accepted, and then even nothing is too much (A1)."""
    domid = machine.create(UUID, "pv")
    machine.set_max(domid, 100)
    machine.populate(domid, 100)
    machine.set_max(domid, 99)
    assert machine.domain(domid).tot_pages == 100
    with pytest.raises(NotPermitted) as caught:
        machine.populate(domid, 1)
    assert caught.value.errno == EPERM


def test_the_maximum_saturates(machine: Machine) -> None:
    """More than an unsigned int reads as no limit (A1)."""
    domid = machine.create(UUID, "pv")
    machine.set_max(domid, UNLIMITED_PAGES + 5)
    assert machine.domain(domid).max_pages == UNLIMITED_PAGES


def test_the_host_runs_out_first(machine: Machine) -> None:
    """Beyond the host's free pages it is ENOMEM, whatever the maximum says."""
    domid = machine.create(UUID, "pv")
    assert errno_of(lambda: machine.populate(domid, TOTAL - DOM0 + 1)) == ENOMEM
    machine.set_max(domid, TOTAL)
    machine.populate(domid, TOTAL - DOM0)
    assert machine.host().free_pages == 0


def test_a_claim_keeps_others_out_and_shrinks_as_it_is_used(machine: Machine) -> None:
    """What one domain claimed, another cannot have; it is not in tot_pages."""
    mine, other = machine.create(UUID, "pv"), machine.create(UUID, "pv")
    machine.set_max(mine, 6_000)
    machine.set_max(other, 6_000)
    machine.claim(mine, 6_000)
    assert machine.domain(mine).outstanding_pages == machine.host().outstanding_pages == 6_000
    assert machine.host().free_pages == TOTAL - DOM0
    assert errno_of(lambda: machine.populate(other, 2_001)) == ENOMEM
    assert errno_of(lambda: machine.claim(other, 2_001)) == ENOMEM
    machine.populate(mine, 5_000)
    assert machine.domain(mine).outstanding_pages == 1_000
    machine.claim(mine, 0)
    machine.populate(other, 3_000)
    assert machine.host().outstanding_pages == machine.host().free_pages == 0


def test_a_claim_fits_between_what_is_held_and_the_maximum(machine: Machine) -> None:
    """Above the maximum, at or below tot_pages, or twice is EINVAL."""
    domid = machine.create(UUID, "pv")
    machine.set_max(domid, 100)
    machine.populate(domid, 10)
    assert errno_of(lambda: machine.claim(domid, 101)) == EINVAL
    assert errno_of(lambda: machine.claim(domid, 10)) == EINVAL
    machine.claim(domid, 100)
    assert machine.domain(domid).outstanding_pages == 90
    assert errno_of(lambda: machine.claim(domid, 100)) == EINVAL


def test_a_pod_target_needs_the_maximum_and_a_container(machine: Machine) -> None:
    """HVM and PVH accept up to max_pages; PV never does (A9)."""
    pv, pvh, hvm = [machine.create(UUID, kind) for kind in KINDS]
    for domid in (pvh, hvm):
        machine.set_max(domid, 100)
        machine.set_pod_target(domid, 100)
        assert machine.pod_target(domid) == 100
        assert errno_of(partial(machine.set_pod_target, domid, 101)) == EINVAL
    assert errno_of(lambda: machine.set_pod_target(pv, 0)) == EINVAL


def test_a_dying_domain_gets_nothing_but_takes_a_maximum(machine: Machine) -> None:
    """It is listed, without the flag and then as a zombie, until it is released."""
    domid = machine.create(UUID, "pv")
    machine.set_max(domid, 100)
    machine.claim(domid, 100)
    machine.populate(domid, 50)
    machine.kill(domid)
    assert not machine.domain(domid).dying
    assert machine.domain(domid).outstanding_pages == 0
    assert errno_of(lambda: machine.populate(domid, 1)) == EINVAL
    machine.bury(domid)
    assert (machine.domain(domid).dying, machine.domain(domid).tot_pages) == (True, 0)
    machine.set_max(domid, 7)
    assert machine.domain(domid).max_pages == 7
    machine.release(domid)
    with pytest.raises(DomainGone):
        machine.domain(domid)
    assert machine.host().free_pages == TOTAL - DOM0


def test_domids_rise_and_come_back_only_after_wrapping(machine: Machine) -> None:
    """A free domid is not the next one before all others were used (A6)."""
    first, second = machine.create(UUID, "pv"), machine.create(UUID, "pv")
    machine.release(first)
    assert (first, second, machine.create(UUID, "pv")) == (1, 2, 3)
    machine.create(UUID, "pv", 0x7FEF)
    for domid in range(4, 0x7FEF):
        assert machine.create(UUID, "pv") == domid
        machine.release(domid)
    assert machine.create(UUID, "pv") == 1


def test_an_explicit_domid_is_taken_when_it_is_free(machine: Machine) -> None:
    """EEXIST for one that is in use; the sequence continues where it was."""
    assert machine.create(UUID, "pv", 40) == 40
    assert errno_of(lambda: machine.create(UUID, "pv", 40)) == EEXIST
    assert machine.create(UUID, "pv") == 1


def test_domids_run_out(machine: Machine) -> None:
    """With every domid in use there is no next one."""
    for _ in range(1, 0x7FF0):
        machine.create(UUID, "pv")
    assert errno_of(lambda: machine.create(UUID, "pv")) == ENOMEM


def test_domains_are_listed_by_domid(machine: Machine) -> None:
    """Whatever the order in which they came."""
    for domid in (9, 3, 7):
        machine.create(UUID, "pv", domid)
    assert [seen.domid for seen in machine.domains()] == [0, 3, 7, 9]


def test_cpu_time_counts_only_while_a_domain_runs(machine: Machine) -> None:
    """A domain has used CPU from its first unpause on, and none while it is paused."""
    domid = machine.create(UUID, "pv")
    machine.now_s = 5
    machine.unpause(domid)
    assert machine.domain(domid).started
    machine.now_s = 7
    ran = machine.domain(domid).cpu_time_ns
    assert ran == 1_000_000 + 2 * 20_000_000
    machine.pause(domid)
    machine.now_s = 9
    assert machine.domain(domid).cpu_time_ns == ran
    assert machine.domain(domid).started


def test_shutdown_leaves_the_domain_and_says_why(machine: Machine) -> None:
    """After a crash it holds its memory and takes a maximum (A5)."""
    domid = machine.create(UUID, "hvm")
    machine.set_max(domid, 10)
    machine.populate(domid, 10)
    machine.unpause(domid)
    assert machine.domain(domid).blocked
    machine.shut_down(domid, 3)
    machine.set_max(domid, 20)
    seen = machine.domain(domid)
    assert (seen.shutdown, seen.shutdown_reason, seen.tot_pages, seen.max_pages) == (
        True,
        3,
        10,
        20,
    )
    assert not seen.blocked


def test_every_verb_answers_esrch_for_a_missing_domid(machine: Machine) -> None:
    """Xen's answer, as DomainGone (A3)."""
    calls: list[Callable[[], object]] = [
        lambda: machine.domain(5),
        lambda: machine.set_max(5, 1),
        lambda: machine.set_pod_target(5, 1),
        lambda: machine.pod_target(5),
        lambda: machine.claim(5, 1),
        lambda: machine.populate(5, 1),
        lambda: machine.balloon(5, lambda pages: pages),
        lambda: machine.pause(5),
        lambda: machine.unpause(5),
        lambda: machine.shut_down(5, 0),
        lambda: machine.kill(5),
        lambda: machine.bury(5),
        lambda: machine.release(5),
    ]
    assert {errno_of(call) for call in calls} == {ESRCH}
