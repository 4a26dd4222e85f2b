"""Who came and who went: adoption, builds that are followed, rebirths, names, forgetting."""

import json
from errno import EIO, EPERM

import pytest

from maxmemd.errors import HypervisorError, LedgerError, LedgerFull
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.wishes import Import, Increase, SetComponent, SetMaxMem, SetTarget, Wish
from maxmemd.units import UNLIMITED_PAGES, Memory
from maxmemd.xen.simulated import finish
from tests.support.seat import DM, MIB, WEB_UUID, Seat, mib, web_of


def test_what_was_there_is_adopted() -> None:
    """At start every domain gets a record that changes nothing; dom0 stays unlimited."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.host.foreign_write(web, mib(100))
    seat.restart()
    assert seat.amounts(web) == {"operator/max-mem": 99 * MIB, "toolstack/slack": MIB}
    assert seat.record(web).static_max == mib(128)
    assert (seat.pages(web), seat.pages(0)) == (25600, UNLIMITED_PAGES)
    assert seat.record(0).limit.max_pages == UNLIMITED_PAGES
    assert (seat.state(web), seat.state(0)) == ("applied", "applied")
    assert seat.kinds(web) == ["instance-began", "adopted"]
    assert seat.memory.rows == []


def test_adoption_is_one_commit() -> None:
    """However many domains there are at start, they are adopted in one transaction."""
    seat = Seat()
    for number in range(5):
        seat.host.create(f"web-{number}", memory=mib(64))
    seat.restart()
    assert seat.memory.kinds(seat.uuid(5)) == ["instance-began", "adopted"]
    assert seat.memory.commits <= 2


def test_the_history_of_a_life_says_its_numbers() -> None:
    """Which instance began, with which maximum, what was taken from it, and which one ended."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    uuid, began_ns = seat.uuid(web), seat.clock.wall_ns()
    seat.restart()
    seat.host.destroy(web)
    seat.poll()

    def words_of(kind: str) -> list[dict[str, object]]:
        return [
            {name: value for name, value in json.loads(line.wish).items() if name != "reason"}
            for line in seat.memory.lines
            if (line.uuid, line.kind) == (uuid, kind)
        ]

    assert words_of("instance-began") == [
        {"domid": web, "incarnation": 1, "building": False, "max_pages": 65 * 256}
    ]
    assert words_of("adopted") == [{"max_pages": 65 * 256, "building": False}]
    assert words_of("instance-ended") == [{"domid": web, "incarnation": 1}]
    row = seat.memory.instances[uuid, 1]
    assert row.began_ns == began_ns
    assert row.ended_ns == seat.clock.wall_ns()


def test_the_history_of_a_reboot_says_the_boot_of_the_host() -> None:
    """Beside its number, for the next life keeps the record only within the same boot."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    for _ in seat.host.rebooting(web):
        seat.poll()
    assert seat.memory.words("instance-ended") == [
        {
            "domid": web,
            "incarnation": 1,
            "shutdown_reason": 1,
            "boot": "boot-1",
            "held_kib": 64 * MIB,
        }
    ]


def test_a_build_is_followed() -> None:
    """A new domain's record follows its build at any time of polls; static-max comes last."""
    seat = Seat().restart()
    domid = 0
    for step in seat.host.creating("web", memory=mib(64), maxmem=mib(128)):
        domid = step.domid
        limit = seat.pages(domid)
        seat.poll()
        assert seat.pages(domid) == limit
        if limit > 0:
            assert seat.record(domid).limit.max_pages == limit
    assert seat.amounts(domid) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}
    assert seat.record(domid).static_max == mib(128)
    assert seat.memory.rows == []
    assert set(seat.kinds(domid)) == {"instance-began", "adopted", "build-followed"}


@pytest.mark.parametrize(
    "wish", [SetMaxMem(mib(100)), SetTarget(mib(80)), SetComponent(MAX_MEM, mib(100))]
)
def test_a_limit_that_was_said_ends_the_following(wish: Wish) -> None:
    """A limit said before the first poll that sees the domain run is kept: theirs is drift."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))
    domid = next(step.domid for step in life if step.name == "introduced")
    seat.poll()
    limit = seat.grant(domid, wish).record.limit
    finish(life)
    seat.host.foreign_write(domid, mib(50))
    seat.poll()
    assert seat.record(domid).limit == limit
    assert seat.pages(domid) == limit.max_pages
    assert seat.kinds(domid)[-2:] == ["drift", "recovered"]


def test_a_share_that_was_said_does_not_end_the_following() -> None:
    """A device model's share says nothing of the limit that libxl is about to set."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64), maxmem=mib(128))
    domid = next(step.domid for step in life if step.name == "created")
    seat.poll()
    seat.grant(domid, SetComponent(DM, Memory(kib=256)))
    finish(life)
    seat.poll()
    assert seat.record(domid).limit.kib == 65 * MIB


def test_after_its_build_a_record_is_followed_no_more() -> None:
    """Once it runs, a write of its maximum is drift."""
    seat = Seat().restart()
    web = seat.host.create("web", memory=mib(64))
    seat.poll()
    seat.host.foreign_write(web, mib(32))
    seat.poll()
    assert seat.pages(web) == 65 * 256
    assert seat.kinds(web)[-2:] == ["drift", "recovered"]


@pytest.mark.parametrize("life", ["reboot", "restore", "migrate"])
def test_a_rebirth_keeps_the_record(life: str) -> None:
    """Reboot, restore and local migration go on with the record, a device model's share too."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    seat.grant(web, Increase(DM, 256))
    if life == "reboot":
        born = seat.host.reboot(web)
    elif life == "restore":
        born = seat.host.restore(seat.host.save(web))
    else:
        born = seat.host.migrate_locally(web)
    assert seat.pages(born) == 65 * 256
    seat.poll()
    assert seat.pages(born) == (97 * MIB + 256) // 4
    assert seat.amounts(born)["device-model/rom"] == 256
    assert seat.record(born).revision == 3
    assert seat.memory.words("drift") == []
    assert [words["incarnation"] for words in seat.memory.words("instance-ended")] == [1]


def test_a_rebirth_has_its_limit_before_its_first_page() -> None:
    """A poll anywhere in a restore puts the record in force, and never lowers the build."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    seat.grant(web, Increase(DM, 256))
    image = seat.host.save(web)
    for step in seat.host.building(image.config, image=image):
        before = seat.pages(step.domid)
        seat.poll()
        assert seat.pages(step.domid) == (97 * MIB + 256) // 4 >= before


def test_a_rebirth_is_not_lowered_while_it_is_built() -> None:
    """What libxl computed for a restore stands until the domain runs, then the record does."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64))
    seat.restart()
    seat.grant(web, SetTarget(mib(48)))
    seat.host.tick(10)
    image = seat.host.save(web)
    for step in seat.host.building(web_of(64, 64), image=image, paused=True):
        limit = seat.pages(step.domid)
        seat.poll()
        assert seat.pages(step.domid) >= limit


@pytest.mark.parametrize("polled", [False, True])
@pytest.mark.parametrize(("memory", "maxmem"), [(64, 256), (112, 128), (16, 16)])
def test_a_fresh_build_that_contradicts_the_record_replaces_it(
    *, memory: int, maxmem: int, polled: bool
) -> None:
    """The toolstack's numbers replace the record, whether or not ours was pushed meanwhile."""
    seat = Seat().restart()
    web = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.grant(web, SetMaxMem(mib(96)))
    seat.grant(web, SetTarget(mib(64)))
    seat.grant(web, SetMaxMem(mib(128)))
    seat.grant(web, Increase(DM, 256))
    if (memory, maxmem) == (112, 128):
        seat.grant(web, SetTarget(mib(64)))
    seat.host.destroy(web)
    seat.poll()

    born = 0
    for step in seat.host.building(web_of(memory, maxmem)):
        born = step.domid
        if polled:
            seat.poll()
    seat.poll()
    assert seat.amounts(born) == {"operator/max-mem": memory * MIB, "toolstack/slack": MIB}
    assert seat.record(born).static_max == mib(maxmem)
    assert seat.pages(born) == (memory + 1) * 256
    assert "record-replaced" in seat.kinds(born)


def test_an_imported_record_waits_for_its_domain() -> None:
    """A record that came ahead of its domain is in force when that is restored here."""
    seat = Seat().restart()
    seat.grant(WEB_UUID, Import({MAX_MEM: mib(96), DM: Memory(kib=256)}, mib(128)))
    born = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    assert seat.pages(born) == (97 * MIB + 256) // 4
    assert seat.record(born).revision == 1


def test_two_instances_of_one_domain_share_the_record() -> None:
    """During a local migration the record holds for both, and neither is drift."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    for step in seat.host.migrating(web):
        seat.poll()
        if step.name == "suspended":
            lives = seat.arbiter.instances.of_uuid(seat.uuid(web))
            assert [life.incarnation for life in lives] == [1, 2]
            assert {seat.pages(life.domid) for life in lives} == {97 * 256}
    [left] = seat.arbiter.instances.of_uuid(seat.uuid(2))
    assert (left.domid, left.incarnation) == (2, 2)
    assert seat.memory.words("drift") == []


def test_a_reused_domid_is_another_domain() -> None:
    """A domid that another domain has by now says nothing of the one before."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64))
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    gone = seat.uuid(web)
    seat.host.destroy(web)
    seat.host.create("db", memory=mib(32), domid=web)
    seat.poll()
    assert seat.amounts(web) == {"operator/max-mem": 32 * MIB, "toolstack/slack": MIB}
    assert seat.pages(web) == 33 * 256
    kept = seat.arbiter.records.get(gone)
    assert kept is not None
    assert kept.amount(MAX_MEM) == mib(96)


def test_a_domain_without_a_uuid_is_left_alone() -> None:
    """It cannot be named in a ledger: it has no record, and its maximum stays as it is."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), uuid="00000000-0000-0000-0000-000000000000")
    seat.restart()
    seat.host.foreign_write(web, mib(5))
    seat.poll()
    assert seat.pages(web) == 5 * 256
    assert seat.refuse(web, SetMaxMem(mib(96))) == "unknown-domain"


def test_a_zombie_stands_in_no_successors_way() -> None:
    """A domain that is dead and not yet released stands in no successor's way."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128), uuid=WEB_UUID)
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    death = seat.host.destroying(web)
    while next(death).name != "dead":
        pass
    seat.poll()
    born = finish(seat.host.building(web_of(64, 96)))
    seat.poll()
    assert seat.grant(WEB_UUID, SetMaxMem(mib(97))).domid == born
    assert seat.grant("web", SetMaxMem(mib(98))).domid == born
    assert seat.pages(born) == 99 * 256
    assert seat.refuse(web, SetMaxMem(mib(99))) == "domain-gone"
    finish(death)
    seat.poll()
    assert seat.pages(born) == 99 * 256


def test_while_xenstore_is_away_nothing_is_concluded() -> None:
    """A fresh build that contradicts the record is seen when xenstore can be asked again."""
    seat = Seat().restart()
    web = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.grant(web, SetMaxMem(mib(64)))
    seat.host.destroy(web)
    seat.poll()
    seat.host.set_xenstore_away(away=True)
    born = finish(seat.host.building(web_of(96, 256)))
    seat.poll()
    assert seat.pages(born) == 97 * 256
    seat.host.heal()
    seat.poll()
    assert seat.amounts(born) == {"operator/max-mem": 96 * MIB, "toolstack/slack": MIB}
    assert (seat.pages(born), seat.record(born).static_max) == (97 * 256, mib(256))


def test_names_come_when_they_can_be_had() -> None:
    """A domain whose name xenstore could not tell is found by name later."""
    seat = Seat()
    seat.host.create("web", memory=mib(64))
    seat.host.set_xenstore_away(away=True)
    seat.restart()
    assert {instance.name for instance in seat.arbiter.instances} == {None}
    seat.host.heal()
    seat.poll()
    assert {instance.name for instance in seat.arbiter.instances} == {"Domain-0", "web"}


def test_what_the_ledger_refused_is_decided_by_the_next_poll() -> None:
    """A domain whose adoption could not be kept is adopted when it can."""
    seat = Seat().restart()
    web = seat.host.create("web", memory=mib(64))
    seat.memory.fail(LedgerFull("cannot write: full"))
    seat.memory.fail(LedgerFull("cannot write: full"))
    with pytest.raises(LedgerError):
        seat.poll()
    assert seat.arbiter.records.get(seat.uuid(web)) is None
    seat.memory.heal()
    seat.poll()
    assert seat.amounts(web) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}


def test_records_of_the_gone_are_kept_for_a_time() -> None:
    """A record is dropped when its domain has been away for longer than is configured."""
    seat = Seat(keep_gone_s=100)
    web = seat.host.create("web", memory=mib(64), uuid=WEB_UUID)
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    seat.host.destroy(web)
    seat.poll()
    seat.poll(after_s=100)
    assert seat.arbiter.records.get(WEB_UUID) is not None
    before = seat.arbiter.records.generation
    seat.poll(after_s=1)
    assert seat.arbiter.records.get(WEB_UUID) is None
    assert seat.arbiter.records.generation == before + 1
    assert seat.memory.kinds(WEB_UUID)[-1] == "forgotten"
    assert WEB_UUID not in seat.memory.heads


def test_a_domain_that_comes_back_in_time_is_not_forgotten() -> None:
    """The time away is counted from 0 each time; a jump of the wall clock does not count."""
    seat = Seat(keep_gone_s=100)
    web = finish(seat.host.building(web_of(64, 128)))
    seat.restart()
    seat.grant(web, SetMaxMem(mib(96)))
    image = seat.host.save(web)
    seat.poll()
    seat.clock.at_ns += 10 * 365 * 86400 * 10**9
    seat.poll(after_s=99)
    web = seat.host.restore(image)
    seat.poll()
    seat.host.save(web)
    seat.poll(after_s=99)
    seat.poll(after_s=99)
    assert seat.arbiter.records.get(WEB_UUID) is not None


@pytest.mark.parametrize("verb", ["facts", "write"])
def test_xenstores_errors_do_not_stop_a_poll(verb: str) -> None:
    """A poll goes on when one answer of xenstore is an error."""
    seat = Seat()
    seat.host.create("web", memory=mib(64))
    seat.host.fail(verb, EIO, times=1)
    seat.restart()
    assert len(seat.arbiter.records) == 2


def test_a_build_found_at_start_is_not_lowered_even_if_xen_was_away() -> None:
    """After a crash in mid-build, a start that Xen refuses once leaves the build alone."""
    seat = Seat().restart()
    life = seat.host.creating("web", memory=mib(64))
    while next(life).name != "created":
        pass
    seat.poll()
    while next(life).name != "limited":
        pass
    seat.host.fail("domains", EPERM, times=1)
    with pytest.raises(HypervisorError):
        seat.restart()
    seat.poll()
    assert seat.pages(1) == 65 * 256
    finish(life)
    seat.poll()
    assert seat.amounts(1) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}


@pytest.mark.parametrize("crashed", [False, True])
def test_what_was_not_written_yet_is_the_next_lifes(*, crashed: bool) -> None:
    """A limit whose static-max xenstore refused is no contradiction after a reboot."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    seat.host.fail("write", EIO)
    answer = seat.grant(web, SetMaxMem(mib(96)))
    assert answer.push is not None
    assert (answer.push.state, answer.push.effects[0].state) == ("applied", "failed")
    born = seat.host.reboot(web)
    seat.host.heal()
    if crashed:
        seat.restart()
    else:
        seat.poll()
    assert seat.amounts(born) == {"operator/max-mem": 96 * MIB, "toolstack/slack": MIB}
    assert seat.host.nodes.facts(born).static_max == mib(96)
    assert seat.pages(born) == 97 * 256
    seat.host.reboot(born)
    seat.poll()
    assert seat.memory.words("record-replaced") == []


@pytest.mark.parametrize("when", ["limited", "introduced", "handed-over"])
def test_a_decision_during_a_migration_is_not_lost(when: str) -> None:
    """What is decided while the newcomer is built is its own too, and no contradiction."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    life = seat.host.migrating(web)
    while next(life).name != when:
        seat.poll()
    seat.poll(after_s=0)
    seat.grant(seat.uuid(web), SetMaxMem(mib(96)))
    born = finish(life)
    seat.poll()
    assert seat.amounts(born) == {"operator/max-mem": 96 * MIB, "toolstack/slack": MIB}
    assert seat.host.nodes.facts(born).static_max == mib(96)
    assert seat.pages(born) == 97 * 256
    assert seat.memory.words("record-replaced") == []


@pytest.mark.parametrize("noticed", [False, True])
def test_what_the_incoming_half_has_written_is_not_written_again(*, noticed: bool) -> None:
    """Of two instances of a domain the one that ends leaves nothing to a later life."""
    seat = Seat()
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    life = seat.host.migrating(web)
    while next(life).name != "handed-over":
        seat.poll()
    if noticed:
        seat.poll()  # that it runs, before the other half ends
    seat.host.fail("write", EIO, domid=web)
    seat.grant(seat.uuid(web), SetMaxMem(mib(96)))
    born = finish(life)
    seat.host.heal()
    seat.poll()
    seat.grant(born, SetMaxMem(mib(80)))
    again = seat.host.reboot(born)
    seat.poll()
    assert seat.host.nodes.facts(again).static_max == mib(80)
    assert seat.pages(again) == 81 * 256
