"""Announced builds and headroom through the arbiter, on a host whose libxl and QEMU ask first."""

from errno import EIO

import pytest

from maxmemd.arbiter.messages import DecisionRequest
from maxmemd.errors import HypervisorError, LedgerFull
from maxmemd.policy.components import MAX_MEM, POPULATED
from maxmemd.policy.endings import REBOOT
from maxmemd.policy.states import BuildPhase
from maxmemd.policy.wishes import CREATED, LIVES, RESTORED, Build, Headroom, Increase, SetMaxMem
from maxmemd.units import Memory
from maxmemd.xen.simulated import Image, Stuck, finish
from tests.support.seat import ACTOR, DM, MIB, Seat, mib

SHARE = "device-model/populated"


class Interposed(Seat):
    """A seat on a host where every libxl and every device model asks the arbiter."""

    life = CREATED

    def ask_first(self) -> "Interposed":
        """Make the host's libxl and device models clients, from now on."""

        def setmaxmem(domid: int, limit: Memory) -> None:
            self.grant(domid, Build(limit - mib(1), self.life))

        def headroom(domid: int, pages: int) -> None:
            self.grant(domid, Headroom(pages))

        self.host.setmaxmem, self.host.headroom = setmaxmem, headroom
        self.restart()
        return self

    def restore(self, image: Image) -> int:
        """Restore as `xl restore` does."""
        self.life = RESTORED
        try:
            return self.host.restore(image)
        finally:
            self.life = CREATED


@pytest.fixture
def seat() -> Interposed:
    """Give such a seat."""
    return Interposed().ask_first()


def test_six_nics_get_their_room(seat: Interposed) -> None:
    """The slack holds four option ROMs; the others are the device model's own share."""
    with pytest.raises(HypervisorError):
        Seat().host.create("hvm", kind="hvm", memory=mib(128), maxmem=mib(256), nics=6)
    hvm = seat.host.create("hvm", kind="hvm", memory=mib(128), maxmem=mib(256), nics=6)
    share = seat.amounts(hvm)[SHARE]
    assert seat.amounts(hvm) == {
        "operator/max-mem": 128 * MIB,
        "toolstack/slack": MIB,
        SHARE: share,
    }
    fact = seat.host.machine.domain(hvm)
    assert fact.max_pages - fact.tot_pages >= 16
    assert 0 < share <= 3 * 256
    seat.poll()
    assert seat.memory.words("drift") == []
    assert seat.state(hvm) == "applied"


@pytest.mark.parametrize("move", ["restore", "migrate"])
def test_a_device_models_share_moves_with_it(seat: Interposed, move: str) -> None:
    """The share is in force before the stream: what it holds fits, where libxl's sum would not."""
    hvm = seat.host.create("hvm", kind="hvm", memory=mib(128), maxmem=mib(256), nics=6)
    before = seat.amounts(hvm)
    if move == "restore":
        born = seat.restore(seat.host.save(hvm))
    else:
        seat.life = "migrated-in"
        born = seat.host.migrate_locally(hvm)
    seat.poll()
    assert seat.amounts(born) == before
    assert seat.pages(born) == sum(before.values()) // 4
    assert (seat.state(born), seat.memory.words("drift")) == ("applied", [])


def test_a_limit_outlives_a_restore_and_a_reboot(seat: Interposed) -> None:
    """mem-max 512 is still 512 MiB after a save and restore, and after the guest rebooted."""
    web = seat.host.create("web", memory=mib(128), maxmem=mib(256))
    seat.grant(web, SetMaxMem(mib(512)))
    seat.grant(web, Increase(DM, 256))
    restored = seat.restore(seat.host.save(web))
    assert seat.pages(restored) == (513 * MIB + 256) // 4

    reborn = 0
    for step in seat.host.rebooting(restored):
        reborn = step.domid
        seat.poll()
    assert seat.amounts(reborn) == {"operator/max-mem": 512 * MIB, "toolstack/slack": MIB}
    ends = [words.get("shutdown_reason") for words in seat.memory.words("instance-ended")]
    assert ends == [None, REBOOT]


@pytest.mark.parametrize("when", ["shutdown", "dying", "released", "created", "named"])
def test_a_restart_in_the_middle_of_a_reboot(seat: Interposed, when: str) -> None:
    """The reborn domain keeps its limit, wherever between its lives the daemon was restarted."""
    web = seat.host.create("web", memory=mib(128), maxmem=mib(256))
    seat.grant(web, SetMaxMem(mib(512)))
    seen = []
    for step in seat.host.rebooting(web):
        web = step.domid
        seat.poll()
        seen.append(step.name)
        if step.name == when:
            seat.restart()
    assert when in seen
    assert seat.amounts(web) == {"operator/max-mem": 512 * MIB, "toolstack/slack": MIB}
    seat.poll()
    seat.restart()
    assert len(seat.arbiter.lifecycle.endings) == 0


def test_a_reboot_of_the_host_ends_all_reboots(seat: Interposed) -> None:
    """What was between two lives when the host went down is made afresh, as its toolstack says."""
    web = seat.host.create("web", memory=mib(128))
    uuid = seat.uuid(web)
    seat.grant(web, SetMaxMem(mib(512)))
    for step in seat.host.rebooting(web):
        seat.poll()
        if step.name == "released":
            break
    seat.boot = "boot-2"
    seat.restart()
    web = seat.host.create("web", memory=mib(64), uuid=uuid)
    assert seat.amounts(web)["operator/max-mem"] == 64 * MIB


def test_a_new_domain_of_that_uuid_is_created(seat: Interposed) -> None:
    """After a power-off, and after a destroyed instance that had been rebooted, it is afresh."""
    web = seat.host.create("web", memory=mib(128))
    uuid = seat.uuid(web)
    seat.grant(web, SetMaxMem(mib(512)))
    for step in seat.host.rebooting(web):
        web = step.domid
        seat.poll()
    assert seat.record(web).amount(MAX_MEM) == mib(512)
    seat.poll()
    seat.host.destroy(web)
    seat.poll()
    web = seat.host.create("web", memory=mib(64), uuid=uuid)
    assert seat.record(web).amount(MAX_MEM) == mib(64)


@pytest.mark.parametrize("life", LIVES)
def test_an_announced_build_is_left_alone(seat: Interposed, life: str) -> None:
    """It is never lowered while it is built, nor guessed about; when it runs, the record holds."""
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128), guest=Stuck())
    seat.grant(web, SetMaxMem(mib(96)))
    image = seat.host.save(web)
    seat.life = life
    born = 0
    for step in seat.host.building(image.config, image=image):
        born = step.domid
        if step.name == "limited":
            seat.host.foreign_write(born, mib(200))
        if seat.host.machine.domain(born).started:
            break
        seat.poll()
        instance = seat.instance(born)
        if step.name not in ("created", "named"):
            assert seat.pages(born) == mib(200).pages
            assert instance.is_understood
    wanted = mib(65 if life == CREATED else 97).pages
    seat.poll()
    assert (seat.pages(born), seat.record(born).limit.max_pages) == (wanted, wanted)
    assert "build-followed" not in seat.kinds(born)


def test_what_was_owed_is_written_once_it_runs(seat: Interposed) -> None:
    """A static-max that xenstore did not take is the restored instance's, not a created one's."""
    for life, static_max in ((RESTORED, mib(96)), (CREATED, mib(64))):
        web = seat.host.create("web", memory=mib(64))
        seat.host.fail("write", EIO)
        seat.grant(web, SetMaxMem(mib(96)))
        seat.host.heal()
        image = seat.host.save(web)
        seat.poll()
        seat.life = life
        born = finish(seat.host.building(image.config, image=image, paused=True))
        seat.poll()
        assert seat.host.nodes.facts(born).static_max == mib(64)
        seat.host.unpause(born)
        seat.host.tick(2)
        seat.poll()
        seat.poll(60)
        assert seat.host.nodes.facts(born).static_max == static_max
        seat.life = CREATED


def test_headroom_where_there_is_room_costs_nothing(seat: Interposed) -> None:
    """The same revision, no line in the ledger, no push."""
    web = seat.host.create("web", memory=mib(64))
    lines, pushes = len(seat.memory.lines), len(seat.memory.rows)
    answer = seat.grant(web, Headroom(64))
    assert answer.record.revision == seat.record(web).revision
    assert answer.push is not None
    assert answer.push.state == "applied"
    assert (len(seat.memory.lines), len(seat.memory.rows)) == (lines, pushes)


def test_headroom_in_one_batch(seat: Interposed) -> None:
    """Decisions of one batch see each other: an increase before it is room already."""
    web = seat.host.create("web", memory=mib(64))
    wishes = [Increase(DM, 4096), Headroom(1024), Headroom(2048), Increase(DM, 4)]
    answers = seat.arbiter.turn([DecisionRequest(str(web), wish, ACTOR) for wish in wishes])
    assert len(answers) == 4
    fact = seat.host.machine.domain(web)
    assert fact.max_pages == fact.tot_pages + 2048 + 16 + 1
    assert seat.record(web).amount(DM) == Memory(kib=4100)


def test_headroom_beside_an_unannounced_build() -> None:
    """Where only the device model asks, the record follows the toolstack and keeps its share."""
    seat = Seat().restart()
    seat.host.headroom = lambda domid, pages: seat.grant(domid, Headroom(pages)) and None
    hvm = seat.host.create("hvm", kind="hvm", memory=mib(128), maxmem=mib(256), nics=6)
    seat.poll()
    assert seat.record(hvm).amount(MAX_MEM) == mib(128)
    share = seat.record(hvm).amount(POPULATED)
    assert share is not None
    assert seat.pages(hvm) == mib(129).pages + share.pages


def test_a_build_that_is_not_kept_is_not_announced(seat: Interposed) -> None:
    """When the ledger is full nothing was decided; the toolstack hears it and gives up."""
    seat.memory.fail(LedgerFull("cannot write the ledger: full"))
    life = seat.host.creating("web", memory=mib(64))
    web = next(life).domid
    answer = seat.ask(web, Build(mib(64), CREATED))
    assert isinstance(answer, LedgerFull)
    assert seat.instance(web).build_phase is not BuildPhase.ANNOUNCED
    assert seat.pages(web) == 0


def test_a_crash_in_the_middle_of_a_build(seat: Interposed) -> None:
    """A daemon that starts again knows the record, raises nothing too far and lowers nothing."""
    web = 0
    for step in seat.host.creating("web", memory=mib(64), maxmem=mib(128)):
        web = step.domid
        seat.restart()
    seat.poll()
    assert seat.amounts(web) == {"operator/max-mem": 64 * MIB, "toolstack/slack": MIB}
    assert (seat.pages(web), seat.state(web)) == (65 * 256, "applied")
    assert seat.memory.words("drift") == []


def test_a_running_domain_is_not_built(seat: Interposed) -> None:
    """The refusal is in its history, with the code."""
    web = seat.host.create("web", memory=mib(64))
    assert seat.refuse(web, Build(mib(1), CREATED)) == "domain-started"
    assert seat.refuse(0, Build(mib(1), CREATED)) == "domain-started"
    seat.poll()
    assert seat.memory.words("refused")[0]["code"] == "domain-started"
