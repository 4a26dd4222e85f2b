"""The relay, the real daemon and a xenstored that enforces rights: what a stub domain gets."""

import os
import signal
import subprocess
from typing import Any

import pytest

from maxmemd.units import Memory
from tests.relay.scene import Scene, command_of, uuid_of
from tests.support.stand import Stand
from tests.support.until import until
from tests.support.xenstored import START

PAGES = 1024
SPARE_PAGES = 16


class Pair:
    """A domain on the simulated host, and the stub domain that serves it."""

    def __init__(self, scene: Scene, stand: Stand) -> None:
        self.stand = stand
        self.target = stand.host.call("create", f"hvm{os.urandom(4).hex()}", memory=MIB_64)
        self.stub = self.target + 500
        self.uuid = self.facts().uuid
        scene.stub(self.stub, self.target, self.uuid)

    def facts(self) -> Any:
        """Return what Xen says of the domain."""
        return self.stand.host.call("machine.domain", self.target)

    def history(self) -> list[dict[str, Any]]:
        """Return its history, newest first."""
        with self.stand.client() as client:
            found: list[dict[str, Any]] = client.ask("GET", f"/v1/domains/{self.uuid}/history")[
                "entries"
            ]
        return found

    def granted(self) -> list[dict[str, Any]]:
        """Return the lines of its history that made room."""
        return [line for line in self.history() if line["kind"] == "headroom"]


MIB_64 = Memory.of_mib(64)


@pytest.fixture
def pair(scene: Scene, stand: Stand) -> Pair:
    """Give a domain with a stub domain, and a relay that runs."""
    made = Pair(scene, stand)
    scene.start_relay()
    return made


def test_granted(scene: Scene, pair: Pair) -> None:
    """The maximum rises by what is missing, and the history names the stub domain."""
    held, before = pair.facts().tot_pages, pair.facts().max_pages
    answer = scene.answer(pair.stub, f"a1 headroom {PAGES}")
    assert pair.facts().max_pages == held + PAGES + SPARE_PAGES > before
    assert answer == f"granted {(held + PAGES + SPARE_PAGES) * 4}"
    (line,) = pair.granted()
    assert line["by"]["name"] == f"stub domain {pair.stub}"
    assert line["wish"] == {"pages": PAGES, "reason": f"request a1 of {uuid_of(pair.stub)}"}


def test_the_nodes_and_their_rights(scene: Scene, pair: Pair) -> None:
    """The stub domain may write one node and read both; no other domain may do either."""
    until("the nodes are there", lambda: scene.rights(pair.stub, "reply") is not None)
    reads, writes = ("n0", f"r{pair.stub}"), ("n0", f"b{pair.stub}")
    assert scene.rights(pair.stub, "") == scene.rights(pair.stub, "reply") == reads
    assert scene.rights(pair.stub, "request") == writes
    with pytest.raises(PermissionError):
        scene.guest(pair.stub).write("maxmem/reply", "a1 granted 1")
    with pytest.raises(PermissionError):
        scene.guest(pair.stub).write("maxmem/other", "")
    with pytest.raises(PermissionError):
        scene.guest(pair.stub).permit("maxmem/request", f"w{pair.stub}")


def test_another_guest_cannot_ask(scene: Scene, pair: Pair) -> None:
    """Another stub domain can neither write this one's request nor read its reply."""
    scene.stub(901, 900)
    until("it has nodes of its own", lambda: scene.rights(901, "request") is not None)
    other = scene.guest(901)
    for node in ("request", "reply"):
        with pytest.raises(PermissionError):
            other.write(f"/local/domain/{pair.stub}/maxmem/{node}", "a1 headroom 1024")
    with pytest.raises(PermissionError):
        other.read(f"/local/domain/{pair.stub}/maxmem/reply")
    scene.stays("nothing is asked", lambda: pair.granted() == [])


def test_requests_follow_each_other(scene: Scene, pair: Pair) -> None:
    """Each ID is a request of its own, and each counts."""
    held = pair.facts().tot_pages
    for number in range(1, 5):
        scene.answer(pair.stub, f"r{number} headroom {PAGES * number}")
        assert pair.facts().max_pages == held + PAGES * number + SPARE_PAGES
    assert len(pair.granted()) == 4


def test_the_same_words_again_count_once(scene: Scene, pair: Pair) -> None:
    """A spurious event, or a request that is written twice, asks nothing new."""
    scene.answer(pair.stub, f"a1 headroom {PAGES}")
    before = pair.facts().max_pages
    pair.stand.host.call("machine.populate", pair.target, PAGES)
    for _ in range(3):
        scene.ask(pair.stub, f"a1 headroom {PAGES}")
    scene.fake.fire(f"/local/domain/{pair.stub}/maxmem/request")
    scene.stays("nothing is counted", lambda: pair.facts().max_pages == before)
    assert len(pair.granted()) == 1


def test_a_new_relay_answers_nothing_twice(scene: Scene, pair: Pair) -> None:
    """What was answered is in xenstore: a relay that is restarted leaves it alone."""
    scene.answer(pair.stub, f"a1 headroom {PAGES}")
    pair.stand.host.call("machine.populate", pair.target, PAGES)
    scene.end_relay()
    scene.start_relay()
    scene.stays("nothing is counted", lambda: len(pair.granted()) == 1)
    assert scene.answer(pair.stub, "a2 headroom 1").startswith("granted ")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (f"a1 headroom {2**20}", "above-owner-cap"),
        (f"a1 headroom {2**32}", "request-invalid"),
        ("a1 headroom lots", "request-invalid"),
        ("a1 give 64", "request-invalid"),
    ],
)
def test_refused(scene: Scene, pair: Pair, words: str, code: str) -> None:
    """A refusal has its code, changes nothing, and the next request is served."""
    before = pair.facts().max_pages
    assert scene.answer(pair.stub, words) == f"refused {code}"
    assert pair.facts().max_pages == before
    assert scene.answer(pair.stub, f"a2 headroom {PAGES}").startswith("granted ")


def test_what_has_no_id_is_refused_too(scene: Scene, pair: Pair) -> None:
    """Its author sees that it was not understood."""
    scene.ask(pair.stub, "HEADROOM 64")
    assert scene.reply(pair.stub, "-") == "refused request-invalid"
    assert scene.answer(pair.stub, f"a2 headroom {PAGES}").startswith("granted ")


def test_an_id_that_meant_something_else(scene: Scene, pair: Pair) -> None:
    """An ID is used once; one that comes back with other words is refused by the daemon."""
    scene.answer(pair.stub, f"a1 headroom {PAGES}")
    scene.answer(pair.stub, f"a2 headroom {2 * PAGES}")
    assert scene.answer(pair.stub, "a1 headroom 5") == "refused idempotency-key-reused"


def test_a_domain_that_xen_does_not_have(scene: Scene, stand: Stand) -> None:
    """Xenstore may still name a domain that is gone."""
    scene.stub(951, 950)
    scene.start_relay()
    assert scene.answer(951, "a1 headroom 64") == "refused unknown-domain"


def test_a_domid_that_is_another_domain_by_now(scene: Scene, pair: Pair) -> None:
    """The domid is the other's by the time the daemon decides: nothing of it is touched."""
    until("there is a request node", lambda: scene.rights(pair.stub, "request") is not None)
    pair.stand.host.call("destroy", pair.target)
    pair.stand.host.call("create", "reborn", memory=MIB_64, domid=pair.target)
    before = pair.facts().max_pages
    assert scene.answer(pair.stub, f"a1 headroom {PAGES}") == "refused not-your-domain"
    assert pair.facts().max_pages == before


def test_killed_between_asking_and_replying(scene: Scene, stand: Stand) -> None:
    """The relay dies with the answer in its hand; the next one gives it, and it counts once."""
    pair = Pair(scene, stand)
    first = subprocess.Popen(command_of(scene))
    until("the nodes are there", lambda: scene.rights(pair.stub, "reply") is not None)
    scene.fake.mute.add(START)
    scene.ask(pair.stub, f"a1 headroom {PAGES}")
    until("the daemon has granted it", pair.granted)
    until("the relay wants to write the reply", lambda: scene.fake.asked[-1] == START)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert scene.read(pair.stub, "reply") == ""

    scene.fake.mute.clear()
    limit, held = pair.facts().max_pages, pair.facts().tot_pages
    pair.stand.host.call("machine.populate", pair.target, PAGES)  # so that asking anew would count
    second = subprocess.Popen(command_of(scene))
    try:
        assert scene.reply(pair.stub, "a1") == f"granted {limit * 4}"
        assert limit == pair.facts().max_pages == held + PAGES + SPARE_PAGES
        assert len(pair.granted()) == 1
    finally:
        second.terminate()
        assert second.wait(60) == 0


def test_the_daemon_is_away(scene: Scene, pair: Pair) -> None:
    """A request waits while there is no daemon, and is answered by the one that comes."""
    pair.stand.kill()
    scene.ask(pair.stub, f"a1 headroom {PAGES}")
    scene.stays("nothing is said", lambda: scene.read(pair.stub, "reply") == "")
    pair.stand.start()
    assert scene.reply(pair.stub, "a1").startswith("granted ")
    assert len(pair.granted()) == 1


def test_xenstored_is_restarted(scene: Scene, pair: Pair) -> None:
    """The relay connects again, and sees what was asked meanwhile."""
    scene.answer(pair.stub, f"a1 headroom {PAGES}")
    scene.fake.stop()
    scene.fake.put(f"/local/domain/{pair.stub}/maxmem/request", f"a2 headroom {2 * PAGES}")
    scene.stays("nothing is said", lambda: scene.read(pair.stub, "reply").startswith("a1 "))
    scene.fake.start()
    assert scene.reply(pair.stub, "a2").startswith("granted ")
    scene.fake.cut()
    scene.fake.put(f"/local/domain/{pair.stub}/maxmem/request", f"a3 headroom {3 * PAGES}")
    assert scene.reply(pair.stub, "a3").startswith("granted ")


def test_the_relay_starts_before_xenstored(scene: Scene, stand: Stand) -> None:
    """It is ready all the same, and serves once there is one."""
    pair = Pair(scene, stand)
    scene.fake.stop()
    scene.start_relay()
    scene.fake.start()
    assert scene.answer(pair.stub, f"a1 headroom {PAGES}").startswith("granted ")
