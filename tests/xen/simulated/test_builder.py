"""Lives of domains, step by step as libxl takes them."""

from errno import E2BIG, EINVAL, ENOMEM

import pytest

from maxmemd.errors import DomainGone, HypervisorError, NotPermitted
from maxmemd.policy.facts import NO_PATH, StoreFacts, XenFacts
from maxmemd.units import Memory
from maxmemd.xen.simulated import Life, SimulatedHost, Step, finish

MIB = 256
"""Pages in a MiB."""


def mib(amount: int) -> Memory:
    """Return that many MiB."""
    return Memory.of_mib(amount)


@pytest.fixture
def host() -> SimulatedHost:
    """Return an empty host of 16 GiB."""
    return SimulatedHost(total=mib(16384))


def until(life: Life, name: str) -> Step:
    """Take a life's steps up to one."""
    return next(step for step in life if step.name == name)


def xen(host: SimulatedHost, domid: int) -> XenFacts:
    """Return what Xen says of a domain."""
    return host.machine.domain(domid)


def store(host: SimulatedHost, domid: int) -> StoreFacts:
    """Return what xenstore says of a domain."""
    return host.nodes.facts(domid)


def domids(host: SimulatedHost) -> list[int]:
    """Return the domids that Xen lists."""
    return [seen.domid for seen in host.machine.domains()]


def test_a_domain_is_built_in_libxls_order(host: SimulatedHost) -> None:
    """max_pages 0, then target + 1 MiB, then memory, then nodes, then the device model."""
    seen = []
    for step in host.creating("db", kind="hvm", memory=mib(128), maxmem=mib(256), nics=1):
        facts, nodes = xen(host, step.domid), store(host, step.domid)
        seen.append((step.name, facts.max_pages, facts.tot_pages, facts.paused, nodes.target))
    limit, ram = 129 * MIB, 120 * MIB - 32 + 16
    target = Memory(kib=119 * 1024)
    assert seen == [
        ("created", 0, 0, True, None),
        ("named", 0, 0, True, None),
        ("limited", limit, 0, True, None),
        ("claimed", limit, 0, True, None),
        ("populated", limit, ram, True, None),
        ("introduced", limit, ram, True, target),
        ("device-model", limit, ram + 8 * MIB + 16 + 64, True, target),
        ("running", limit, ram + 8 * MIB + 16 + 64, False, target),
    ]
    assert host.machine.host().outstanding_pages == 0


def test_a_build_claims_its_memory(host: SimulatedHost) -> None:
    """Between claim and populate no other domain can take the memory."""
    life = host.creating("big", memory=mib(14000))
    until(life, "claimed")
    with pytest.raises(HypervisorError) as caught:
        host.create("other", memory=mib(1000))
    assert caught.value.errno == ENOMEM
    assert xen(host, finish(life)).tot_pages == 14000 * MIB


@pytest.mark.parametrize(
    ("kind", "target", "videoram", "held"),
    [
        ("pv", 131072, 0, 128 * MIB),
        ("pvh", 131072, 0, 128 * MIB + 8),
        ("hvm", 131072 - 8192 - 1024, 8192, 128 * MIB - 32 + 16 + 16),
    ],
)
def test_nodes_and_pages_of_every_kind(
    host: SimulatedHost, kind: str, target: int, videoram: int, held: int
) -> None:
    """The target leaves out video RAM and, for an HVM guest that may grow, 1 MiB."""
    domid = host.create("it", kind=kind, memory=mib(128), maxmem=mib(256))  # type: ignore[arg-type]
    assert store(host, domid) == StoreFacts(
        "it", Memory(kib=target), mib(256), Memory(kib=videoram)
    )
    assert xen(host, domid).tot_pages == held
    assert xen(host, domid).hvm == (kind != "pv")


def test_a_guest_that_may_not_grow_keeps_its_mib(host: SimulatedHost) -> None:
    """Without maxmem above memory there is no populate-on-demand, and no fudge."""
    domid = host.create("db", kind="hvm", memory=mib(128), videoram=mib(16))
    assert store(host, domid).target == mib(112)
    assert host.machine.pod_target(domid) == 0
    assert store(host, domid).static_max == mib(128)


def test_pod_targets_are_set_while_building(host: SimulatedHost) -> None:
    """HVM and PVH guests that may grow start with a PoD target below the maximum (A9)."""
    domid = host.create("build", kind="pvh", memory=mib(128), maxmem=mib(256))
    assert host.machine.pod_target(domid) == 128 * MIB


@pytest.mark.parametrize("nics", [0, 1, 4])
def test_four_option_roms_fit_into_libxls_mib(host: SimulatedHost, nics: int) -> None:
    """Four NICs fill libxl's slack exactly: with them, not one page is left."""
    domid = host.create("db", kind="hvm", memory=mib(128), nics=nics)
    left = xen(host, domid).max_pages - xen(host, domid).tot_pages
    assert left == 256 - 64 * nics


def test_the_fifth_option_rom_kills_the_domain(host: SimulatedHost) -> None:
    """The device model dies of E2BIG, and libxl destroys what it has built."""
    free = host.machine.host().free_pages
    with pytest.raises(HypervisorError) as caught:
        host.create("db", kind="hvm", memory=mib(128), nics=5)
    assert caught.value.errno == E2BIG
    assert domids(host) == [0]
    assert store(host, 1) == NO_PATH
    assert host.machine.host().free_pages == free


def test_headroom_makes_the_fifth_option_rom_fit(host: SimulatedHost) -> None:
    """What is in place of `headroom` is asked before each block that QEMU populates."""
    asked: list[int] = []

    def headroom(domid: int, pages: int) -> None:
        asked.append(pages)
        if pages == 64:
            more = Memory.of_pages(xen(host, domid).max_pages + pages)
            host.foreign_write(domid, more)

    host.headroom = headroom
    host.create("db", kind="hvm", memory=mib(128), nics=5)
    assert asked == [8 * MIB, 16, 64, 64, 64, 64, 64]


def test_another_setmaxmem_may_take_the_place_of_libxls(host: SimulatedHost) -> None:
    """What is in place of `setmaxmem` hears libxl's number and decides itself."""
    heard: list[tuple[int, Memory]] = []

    def setmaxmem(domid: int, limit: Memory) -> None:
        heard.append((domid, limit))
        host.foreign_write(domid, limit + mib(3))

    host.setmaxmem = setmaxmem
    domid = host.create("web", memory=mib(128))
    assert heard == [(domid, mib(129))]
    assert xen(host, domid).max_pages == 132 * MIB


def test_lowering_the_limit_of_a_build_breaks_it(host: SimulatedHost) -> None:
    """Why reconciliation must not lower while a domain is being built (A4)."""
    life = host.creating("web", memory=mib(128))
    step = until(life, "limited")
    host.foreign_write(step.domid, mib(100))
    with pytest.raises(HypervisorError) as caught:
        finish(life)
    assert caught.value.errno == EINVAL
    assert domids(host) == [0]


def test_a_build_that_vanishes_meanwhile_is_gone(host: SimulatedHost) -> None:
    """If another program destroys it between two steps, the build raises DomainGone."""
    life = host.creating("web", memory=mib(128))
    host.destroy(until(life, "limited").domid)
    with pytest.raises(DomainGone):
        finish(life)


def test_what_broke_a_build_is_told_though_the_domain_is_gone(host: SimulatedHost) -> None:
    """That there is nothing left to destroy does not hide the cause."""

    def setmaxmem(domid: int, _limit: Memory) -> None:
        host.destroy(domid)
        raise ValueError("refused")

    host.setmaxmem = setmaxmem
    with pytest.raises(ValueError, match="refused"):
        host.create("web", memory=mib(128))


@pytest.mark.parametrize("name", ["created", "named", "claimed", "introduced"])
def test_a_toolstack_that_dies_leaves_a_half_built_domain(host: SimulatedHost, name: str) -> None:
    """Nothing cleans up; the domain is paused, has never run, and can be destroyed."""
    life = host.creating("web", memory=mib(128))
    step = until(life, name)
    life.close()
    assert not xen(host, step.domid).started
    host.destroy(step.domid)
    assert domids(host) == [0]
    assert host.machine.host().outstanding_pages == 0


def test_a_domain_may_be_left_paused(host: SimulatedHost) -> None:
    """Built, but never run."""
    assert not xen(host, host.create("web", memory=mib(128), paused=True)).started


def test_destruction_in_steps(host: SimulatedHost) -> None:
    """Nodes first; Xen lists the domain until its last page is given back."""
    domid = host.create("web", memory=mib(128))
    uuid = xen(host, domid).uuid
    life = host.destroying(domid)
    until(life, "nodes-removed")
    assert store(host, domid) == NO_PATH
    assert host.nodes.read(f"/vm/{uuid}/uuid") is None
    until(life, "dying")
    with pytest.raises(HypervisorError) as caught:
        host.populate(domid, 1)
    assert caught.value.errno == EINVAL
    until(life, "dead")
    assert xen(host, domid).dying
    host.foreign_write(domid, mib(1))
    assert xen(host, domid).max_pages == MIB
    assert finish(life) == domid
    assert domids(host) == [0]
    with pytest.raises(DomainGone):
        host.destroy(domid)


def test_dom0_cannot_be_destroyed_saved_or_renamed(host: SimulatedHost) -> None:
    """It is no domain of the toolstack's; its nodes stay."""
    with pytest.raises(HypervisorError) as caught:
        host.destroy(0)
    assert caught.value.errno == EINVAL
    with pytest.raises(DomainGone):
        host.save(0)
    with pytest.raises(DomainGone):
        host.rename(0, "other")
    assert store(host, 0) == StoreFacts("Domain-0", mib(2048), mib(16384))


def test_a_reboot_keeps_the_uuid_and_forgets_the_limit(host: SimulatedHost) -> None:
    """Another domid, the same UUID, libxl's limit again (A6)."""
    domid = host.create("web", memory=mib(128), maxmem=mib(256))
    uuid = xen(host, domid).uuid
    host.foreign_write(domid, mib(512))
    newcomer = host.reboot(domid)
    assert domids(host) == [0, newcomer]
    assert newcomer == domid + 1
    assert (xen(host, newcomer).uuid, xen(host, newcomer).max_pages) == (uuid, 129 * MIB)
    assert store(host, newcomer).name == "web"


def test_a_reboot_shuts_down_first(host: SimulatedHost) -> None:
    """In between, the old domain is there, shut down for reason 1."""
    domid = host.create("web", memory=mib(128))
    life = host.rebooting(domid)
    assert next(life) == Step("shutdown", domid)
    assert (xen(host, domid).shutdown, xen(host, domid).shutdown_reason) == (True, 1)


@pytest.mark.parametrize("kind", ["pv", "pvh", "hvm"])
def test_save_and_restore_keep_all_but_the_limit(host: SimulatedHost, kind: str) -> None:
    """UUID, name, pages and nodes come back; what mem-max gave is lost."""
    domid = host.create("it", kind=kind, memory=mib(128), maxmem=mib(256))  # type: ignore[arg-type]
    host.foreign_write(domid, mib(512))
    before, nodes = xen(host, domid), store(host, domid)
    image = host.save(domid)
    assert domids(host) == [0]
    restored = host.restore(image)
    after = xen(host, restored)
    assert (after.uuid, after.tot_pages) == (before.uuid, before.tot_pages)
    assert store(host, restored) == nodes
    assert after.max_pages == 129 * MIB


def test_a_restored_guest_balloons_from_where_it_was(host: SimulatedHost) -> None:
    """A guest that was saved on its way goes on to the same end."""
    domid = host.create("db", kind="hvm", memory=mib(1024), maxmem=mib(2048))
    held = xen(host, domid).tot_pages
    target = store(host, domid).target
    assert target is not None
    host.write_nodes(domid, xen(host, domid).uuid, target=target - mib(512))
    host.tick(1.0)
    image = host.save(domid)
    assert image.tot_pages == held - 256 * MIB
    host.setmaxmem = lambda domid, limit: host.foreign_write(domid, limit + mib(512))
    restored = host.restore(image)
    host.tick(60.0)
    assert xen(host, restored).tot_pages == held - 512 * MIB


def test_a_bumped_limit_breaks_the_restore(host: SimulatedHost) -> None:
    """A device model that raised the maximum by itself cannot be restored by libxl."""
    host.headroom = lambda domid, pages: host.foreign_write(
        domid, Memory.of_pages(xen(host, domid).max_pages + pages)
    )
    domid = host.create("db", kind="hvm", memory=mib(128), nics=6)
    host.headroom = lambda _domid, _pages: None
    for _ in range(2):
        host.foreign_write(domid, mib(256))
        host.plug(domid, 9 * MIB)
    image = host.save(domid)
    with pytest.raises(HypervisorError) as caught:
        host.restore(image)
    assert caught.value.errno == E2BIG
    assert domids(host) == [0]


def test_a_local_migration_has_two_domains_of_one_uuid(host: SimulatedHost) -> None:
    """The newcomer is nameless, then NAME--incoming, paused, with its maximum set (A6)."""
    domid = host.create("web", kind="pvh", memory=mib(128), maxmem=mib(256))
    uuid = xen(host, domid).uuid
    host.foreign_write(domid, mib(512))
    life = host.migrating(domid)
    newcomer = until(life, "created").domid
    assert (xen(host, newcomer).uuid, store(host, newcomer).name) == (uuid, None)
    until(life, "limited")
    assert store(host, newcomer).name == "web--incoming"
    assert (xen(host, newcomer).paused, xen(host, newcomer).max_pages) == (True, 129 * MIB)
    until(life, "device-model")
    assert domids(host) == [0, domid, newcomer]
    assert not xen(host, domid).shutdown
    assert until(life, "suspended").domid == domid
    assert xen(host, domid).shutdown_reason == 2
    assert not xen(host, newcomer).started
    assert until(life, "handed-over").domid == newcomer
    assert store(host, domid).name == "web--migratedaway"
    assert finish(life) == newcomer
    assert domids(host) == [0, newcomer]
    assert store(host, newcomer).name == "web"
    assert xen(host, newcomer).started
    assert host.nodes.read(f"/vm/{uuid}/uuid") == uuid


def test_a_migrated_domain_can_migrate_again(host: SimulatedHost) -> None:
    """Its name and sizes are those of the first one."""
    domid = host.create("web", memory=mib(128), maxmem=mib(256))
    nodes = store(host, domid)
    for _ in range(3):
        domid = host.migrate_locally(domid)
    assert store(host, domid) == nodes
    assert domids(host) == [0, domid]


def test_pages_of_a_device_model_stay(host: SimulatedHost) -> None:
    """What is plugged counts and is not given back (A8); beyond the maximum it fails."""
    domid = host.create("db", kind="hvm", memory=mib(128), nics=3)
    host.plug(domid, 64)
    with pytest.raises(HypervisorError) as caught:
        host.plug(domid, 1)
    assert caught.value.errno == E2BIG
    host.foreign_write(domid, mib(64))
    with pytest.raises(NotPermitted):
        host.plug(domid, 1)


def test_an_explicit_domid_and_uuid(host: SimulatedHost) -> None:
    """As `xl migrate -D` and a configuration's uuid have it."""
    uuid = "c0ffee00-0000-4000-8000-000000000001"
    assert host.create("web", memory=mib(128), domid=77, uuid=uuid) == 77
    assert xen(host, 77).uuid == uuid


def test_the_demo_has_guests_of_every_kind_and_temper() -> None:
    """16 GiB, dom0 unlimited with 2 GiB, six guests; the same on every start."""
    host, again = SimulatedHost.demo(), SimulatedHost.demo()
    assert host.machine.host().total_pages == 16384 * MIB
    assert xen(host, 0).tot_pages == 2048 * MIB
    names = [store(host, domid).name for domid in domids(host)]
    assert names == ["Domain-0", "web", "db", "build", "cache", "mail", "batch"]
    assert host.machine.domains() == again.machine.domains()


def test_a_thousand_guests() -> None:
    """All of them run, and the host is not overcommitted were they to grow to the full."""
    host = SimulatedHost.with_guests(1000)
    everyone = host.machine.domains()
    assert len(everyone) == 1001
    assert all(seen.started for seen in everyone)
    assert host.machine.host().free_pages >= 1000 * 64 * MIB
    assert store(host, 1000).name == "guest-1000"
