"""What any Hypervisor and Xenstore must do, whatever is behind them: a list of plain functions.

A clause takes a world, raises AssertionError when the law is broken, and leaves the guest as it
was. The same list runs on the simulated host and, without pytest, in dom0 of a real Xen.
"""

# ruff: noqa: D401  a clause states a law, it does not order anything

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EINVAL, ESRCH
from threading import Event
from typing import Literal

from maxmemd.errors import DomainGone, HypervisorError
from maxmemd.policy.facts import DOM0_UUID, NO_PATH
from maxmemd.ports import Hypervisor, Xenstore
from maxmemd.units import END_KIB, UNLIMITED, UNLIMITED_PAGES, Memory

PATIENCE_S = 20.0
STRANGER = "00000000-dead-4000-8000-000000000000"


@dataclass(frozen=True, slots=True)
class World:
    """A host with one guest that runs and rests at its target; no other program writes to it.

    The guest has memory/target and memory/static-max. No domain has `unused_domid`, and none of
    a higher domid exists when the host answers for the next one (A3 up to Xen 4.17).
    """

    hypervisor: Hypervisor
    xenstore: Xenstore
    domid: int
    uuid: str
    kind: Literal["pv", "pvh", "hvm"]
    unused_domid: int


Clause = Callable[[World], None]


def clause_max_mem_floors_to_pages_and_saturates(world: World) -> None:
    """Every amount reads back as its whole pages, and the largest as no limit (A1)."""
    amounts = {
        Memory(kib=0): 0,
        Memory(kib=3): 0,
        Memory(kib=4): 1,
        Memory(kib=7): 1,
        Memory(kib=2**31): 2**29,
        Memory(kib=2**32): 2**30,
        Memory.of_pages(UNLIMITED_PAGES - 1): UNLIMITED_PAGES - 1,
        Memory(kib=END_KIB - 1): UNLIMITED_PAGES,
        UNLIMITED: UNLIMITED_PAGES,
    }
    with maximum_kept(world):
        for amount, pages in amounts.items():
            world.hypervisor.set_max_mem(world.domid, amount)
            held = world.hypervisor.domain(world.domid).max_pages
            assert held == pages, f"{amount} reads back as {held} pages, not {pages}"


def clause_max_mem_below_what_is_held_is_accepted(world: World) -> None:
    """A maximum below tot_pages is taken, and takes no page from the guest (A1)."""
    held = world.hypervisor.domain(world.domid).tot_pages
    with maximum_kept(world):
        world.hypervisor.set_max_mem(world.domid, Memory.of_pages(held // 2))
        now = world.hypervisor.domain(world.domid)
        assert (now.tot_pages, now.max_pages) == (held, held // 2)


def clause_a_missing_domain_is_gone(world: World) -> None:
    """Every verb answers DomainGone with ESRCH for an unused domid (A3)."""
    xen, domid = world.hypervisor, world.unused_domid
    gone(lambda: xen.domain(domid))
    gone(lambda: xen.set_max_mem(domid, Memory(kib=4096)))
    gone(lambda: xen.set_pod_target(domid, Memory(kib=4096)))


def clause_a_domain_is_what_it_was_made(world: World) -> None:
    """domid, UUID and kind are the guest's; it runs, and is not dying (A6)."""
    seen = world.hypervisor.domain(world.domid)
    assert (seen.domid, seen.uuid, seen.hvm) == (world.domid, world.uuid, world.kind != "pv")
    assert (seen.paused, seen.dying, seen.shutdown) == (False, False, False)
    assert seen.cpu_time_ns > 0
    assert seen.tot_pages > 0


def clause_domains_rise_and_agree_with_domain(world: World) -> None:
    """domains() rises strictly by domid, begins with dom0 and tells what domain() tells."""
    everyone = world.hypervisor.domains()
    domids = [seen.domid for seen in everyone]
    assert domids == sorted(set(domids))
    assert (domids[0], everyone[0].uuid) == (0, DOM0_UUID)
    assert world.unused_domid not in domids
    for seen in everyone:
        alone = world.hypervisor.domain(seen.domid)
        for field in ("uuid", "max_pages", "hvm", "dying", "shutdown", "cpupool", "unique_id"):
            assert getattr(seen, field) == getattr(alone, field), (seen.domid, field)


def clause_all_domains_have_a_unique_id_or_none_has(world: World) -> None:
    """From Xen 4.21 on each domain has its own, which stays; before, no domain has one (A11)."""
    ids = [seen.unique_id for seen in world.hypervisor.domains()]
    assert len(set(ids)) == len(ids) or set(ids) == {None}
    assert ids == [seen.unique_id for seen in world.hypervisor.domains()]


def clause_pod_target_above_the_maximum_is_invalid(world: World) -> None:
    """A PoD target above max_pages answers EINVAL; one of a PV guest always (A9)."""
    seen = world.hypervisor.domain(world.domid)
    with maximum_kept(world):
        world.hypervisor.set_max_mem(world.domid, Memory.of_pages(seen.tot_pages))
        invalid(world, seen.tot_pages + 1)
        if world.kind == "pv":
            invalid(world, seen.tot_pages)
        else:
            world.hypervisor.set_pod_target(world.domid, Memory.of_pages(seen.tot_pages))


def clause_the_host_adds_up(world: World) -> None:
    """Free and held pages are not more than there are, and the hypervisor has a name."""
    host = world.hypervisor.host()
    held = sum(seen.tot_pages for seen in world.hypervisor.domains())
    assert 0 <= host.free_pages <= host.total_pages - held
    assert 0 <= host.outstanding_pages <= host.free_pages
    assert host.hypervisor


def clause_nodes_are_written_alone_and_together(world: World) -> None:
    """Each of target and static-max reads back, and None leaves a node as it was."""
    with nodes_kept(world) as (target, static_max):
        less, more = target - Memory(kib=4), static_max + Memory(kib=4)
        write(world, less, None)
        assert nodes(world) == (less, static_max)
        write(world, None, more)
        assert nodes(world) == (less, more)
        write(world, target, static_max)
        assert nodes(world) == (target, static_max)


def clause_writing_nodes_leaves_the_maximum(world: World) -> None:
    """A write to xenstore does not reach Xen (A10)."""
    before = world.hypervisor.domain(world.domid).max_pages
    with nodes_kept(world) as (_, static_max):
        write(world, None, static_max + Memory.of_mib(1))
        assert world.hypervisor.domain(world.domid).max_pages == before


def clause_a_dead_path_is_not_recreated(world: World) -> None:
    """Writing to an unused domid is DomainGone, and leaves no node behind."""
    mib = Memory.of_mib(1)
    domid = world.unused_domid
    gone(lambda: world.xenstore.write(domid, world.uuid, target=mib, static_max=mib))
    assert world.xenstore.facts(domid) == NO_PATH


def clause_a_foreign_path_is_not_written(world: World) -> None:
    """Writing to a domid that another UUID has by now is DomainGone and changes nothing (A6)."""
    before = world.xenstore.facts(world.domid)
    mib = Memory.of_mib(1)
    gone(lambda: world.xenstore.write(world.domid, STRANGER, target=mib, static_max=mib))
    assert world.xenstore.facts(world.domid) == before


def clause_a_domain_without_nodes_has_no_facts(world: World) -> None:
    """Facts of a domid without nodes are all None, and no video RAM."""
    assert world.xenstore.facts(world.unused_domid) == NO_PATH


def clause_a_guest_has_name_and_sizes(world: World) -> None:
    """A guest that runs has a name, a target, and a static-max that is not below it."""
    seen = world.xenstore.facts(world.domid)
    assert seen.name
    target, static_max = nodes(world)
    assert target <= static_max


def clause_a_watch_fires_at_registration(world: World) -> None:
    """One call comes although nothing happened (A5). Last: only close() ends a watch."""
    called = Event()
    world.xenstore.watch(called.set)
    assert called.wait(PATIENCE_S)


CLAUSES: list[Clause] = [
    clause_max_mem_floors_to_pages_and_saturates,
    clause_max_mem_below_what_is_held_is_accepted,
    clause_a_missing_domain_is_gone,
    clause_a_domain_is_what_it_was_made,
    clause_domains_rise_and_agree_with_domain,
    clause_all_domains_have_a_unique_id_or_none_has,
    clause_pod_target_above_the_maximum_is_invalid,
    clause_the_host_adds_up,
    clause_nodes_are_written_alone_and_together,
    clause_writing_nodes_leaves_the_maximum,
    clause_a_dead_path_is_not_recreated,
    clause_a_foreign_path_is_not_written,
    clause_a_domain_without_nodes_has_no_facts,
    clause_a_guest_has_name_and_sizes,
    clause_a_watch_fires_at_registration,
]


@contextmanager
def maximum_kept(world: World) -> Iterator[None]:
    """Give the guest its maximum back at the end."""
    before = world.hypervisor.domain(world.domid).max_pages
    try:
        yield
    finally:
        world.hypervisor.set_max_mem(world.domid, Memory.of_pages(before))


@contextmanager
def nodes_kept(world: World) -> Iterator[tuple[Memory, Memory]]:
    """Give the guest its nodes back at the end; yield target and static-max."""
    before = nodes(world)
    try:
        yield before
    finally:
        write(world, *before)


def nodes(world: World) -> tuple[Memory, Memory]:
    """Return the guest's target and static-max."""
    seen = world.xenstore.facts(world.domid)
    assert seen.target is not None
    assert seen.static_max is not None
    return seen.target, seen.static_max


def write(world: World, target: Memory | None, static_max: Memory | None) -> None:
    """Write the guest's nodes."""
    world.xenstore.write(world.domid, world.uuid, target=target, static_max=static_max)


def gone(call: Callable[[], object]) -> None:
    """Check that a call says that there is no such domain."""
    answer = refusal(call)
    assert isinstance(answer, DomainGone), answer
    assert answer.errno == ESRCH


def invalid(world: World, pages: int) -> None:
    """Check that the guest's PoD target cannot be so many pages."""
    answer = refusal(lambda: world.hypervisor.set_pod_target(world.domid, Memory.of_pages(pages)))
    assert answer is not None, pages
    assert answer.errno == EINVAL


def refusal(call: Callable[[], object]) -> HypervisorError | None:
    """Return what a call raises, or None."""
    try:
        call()
    except HypervisorError as error:
        return error
    return None
