"""A build that fails uses nothing up: the next one is judged as if it had not been."""

import pytest

from maxmemd.policy.components import MAX_MEM, POPULATED
from maxmemd.policy.endings import SUSPEND
from maxmemd.policy.wishes import CREATED, RESTORED, Build, Headroom, SetMaxMem
from maxmemd.xen.simulated import finish
from maxmemd.xen.simulated.toolstack import Image
from tests.support.seat import Seat, kib_of, mib, web_of


def built(
    seat: Seat, image: Image, life: str | None, until: str = "", *, restarted: bool = False
) -> int:
    """Build an instance as xl does, announced if `life` is given; destroy it at the step `until`.

    The daemon is started afresh just before, where `restarted`.
    """
    stream = image if life == RESTORED else None
    domid = 0
    for step in seat.host.building(image.config, image=stream):
        domid = step.domid
        if step.name == "created" and life is not None:
            seat.grant(domid, Build(image.config.memory, life, image.config.maxmem))
        seat.poll()
        if step.name == until:
            if restarted:
                seat.restart()
            seat.host.destroy(domid)
            break
    seat.poll()
    return domid


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("step", ["created", "populated", "device-model"])
def test_a_restore_that_fails_leaves_what_its_stream_holds(step: str, *, restarted: bool) -> None:
    """The device model's pages are in the stream still: the next restore needs their room."""
    seat = Seat().restart()
    web = finish(seat.host.building(web_of(128, 256)))
    seat.poll()
    seat.grant(web, Headroom(500))
    before, uuid = seat.record(web), seat.uuid(web)
    image = seat.host.image(web)
    seat.host.shutdown(web, SUSPEND)
    seat.poll()
    seat.host.destroy(web)
    seat.poll()
    for _ in range(2):
        built(seat, image, RESTORED, step, restarted=restarted)
        assert seat.arbiter.records.get(uuid) is not None
    assert seat.memory.words("instance-ended")[-1]["never_ran"] is True
    born = built(seat, image, RESTORED)
    assert seat.amounts(born) == kib_of(before)
    assert POPULATED in seat.record(born).components


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("life", [None, CREATED])
def test_a_start_that_fails_leaves_what_was_decided_for_it(
    life: str | None, *, restarted: bool
) -> None:
    """The instance that runs at last has the limit that was decided while the domain was away."""
    seat = Seat().restart()
    web = finish(seat.host.building(web_of(128, 256)))
    seat.poll()
    seat.grant(web, SetMaxMem(mib(200)))
    image, uuid = seat.host.image(web), seat.uuid(web)
    seat.host.destroy(web)
    seat.poll()
    seat.grant(uuid, SetMaxMem(mib(300)))
    built(seat, image, life, "populated", restarted=restarted)
    born = built(seat, image, life)
    assert seat.record(born).amount(MAX_MEM) == mib(300)
    assert seat.memory.words("record-replaced") == []
