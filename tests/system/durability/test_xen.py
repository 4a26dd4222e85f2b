"""Xen or xenstore refuses, lies, is slow or is down: it is reported, kept, and repaired later."""

from collections.abc import Iterator
from errno import EACCES, EPERM, ESRCH
from pathlib import Path
from typing import Any

import pytest

from maxmemd.arbiter.messages import Granted
from maxmemd.ledger.migrate import migrate
from maxmemd.policy.wishes import SetComponent, SetMaxMem
from maxmemd.units import Memory
from tests.support.audit import audit
from tests.support.figures import figure
from tests.support.ledgers import new_ledger
from tests.support.stand import Stand
from tests.support.until import until
from tests.system.durability.workload import Bench

DM = ("device-model", "rom")
TEN_YEARS_S = 10 * 365 * 86400


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    """Return a daemon that polls often and answers busy after a second, on a host apart."""
    with Stand(3, options=["--poll", "0.1", "--answer-within", "0.8"]) as made:
        made.start()
        yield made


@pytest.fixture
def well(stand: Stand) -> Iterator[Stand]:
    """Return the stand, and see to it that no fault outlives a test."""
    yield stand
    stand.host.call("heal")
    until("Xen agrees", stand.agrees)
    until("health is back", stand.is_ready)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Return an arbiter in this process, on a clock that a test sets."""
    made = Bench(new_ledger(tmp_path / "ledger.sqlite"))
    made.arbiter.start()
    yield made
    made.close()


def state_of(stand: Stand, domid: int) -> Any:
    """Return how far a domain's limit is in force, as the daemon says it."""
    with stand.client() as client:
        return client.ask("GET", f"/v1/domains/{domid}")["push"]


def in_force(stand: Stand, domid: int) -> Any:
    """Return a question: is a domain's limit in force."""
    return lambda: state_of(stand, domid)["state"] in ("applied", "over-limit")


@pytest.mark.parametrize("errno", [EPERM, EACCES, ESRCH])
def test_a_push_that_xen_refuses_is_said_and_retried(well: Stand, errno: int) -> None:
    """202 with the state and Xen's errno; it is in the ledger; once Xen allows it, it is so."""
    well.host.call("fail", "set_max_mem", errno, domid=1)
    with well.client() as client:
        told = client.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 300 * 1024 + errno * 4})
    assert told.status == 202
    assert told["push"]["state"] == "failed"
    assert told["push"]["errno"] == errno
    assert well.kept().records[told["uuid"]].limit.kib == told["limit_kib"]
    well.host.call("heal")
    healed_s = until("it is in force", in_force(well, 1))
    figure("Xen's faults", f"in force after errno {errno} ended", f"{healed_s:.2f} s")
    assert well.host.call("xen.domain", 1).max_pages == told["max_pages"]
    assert well.host.call("store.facts", 1).static_max.kib == 300 * 1024 + errno * 4
    with well.client() as client:
        assert client.ask("GET", "/v1/domains/1")["limit_kib"] == told["limit_kib"]


def test_a_domain_that_xen_still_has_is_not_gone(bench: Bench) -> None:
    """ESRCH for a domain that is there fails; the decision is not taken for a former life's."""
    bench.host.fail("set_max_mem", ESRCH, domid=1)
    (granted,) = bench.turn((bench.uuids[0], SetMaxMem(Memory.of_mib(300))))
    assert (granted.push.state, granted.push.errno) == ("failed", ESRCH)
    for _ in range(3):
        bench.clock.tick(100)
        bench.arbiter.poll()
        assert bench.arbiter.records.get(bench.uuids[0]) == granted.record
    bench.host.heal()
    bench.clock.tick(100)
    bench.arbiter.poll()
    assert bench.agrees()
    assert bench.host.xenstore().facts(1).static_max == Memory.of_mib(300)


def test_a_domain_that_dies_under_the_push_is_gone(bench: Bench) -> None:
    """202's state is gone, its errno ESRCH; the record keeps the decision."""
    set_max_mem = bench.xen.set_max_mem

    def too_late(domid: int, limit: Memory) -> None:
        bench.host.destroy(domid)
        set_max_mem(domid, limit)

    bench.xen.set_max_mem = too_late  # type: ignore[method-assign]
    (granted,) = bench.turn((bench.uuids[0], SetComponent(DM, Memory(kib=4096))))
    assert (granted.push.state, granted.push.errno) == ("gone", ESRCH)
    bench.arbiter.poll()
    assert bench.arbiter.records.get(bench.uuids[0]) == granted.record
    assert audit(bench.ledger._path).records[bench.uuids[0]] == granted.record


def test_a_domain_that_goes_in_between_is_gone(well: Stand) -> None:
    """Its domid means nothing more; the record outlives the instance, and is decided on."""
    domid = well.host.call("create", "short", memory=Memory.of_mib(64), maxmem=Memory.of_mib(128))
    until("it is known", lambda: state_of(well, domid)["state"] == "applied")
    with well.client() as client:
        uuid = client.ask("GET", f"/v1/domains/{domid}")["uuid"]
        client.ask("PUT", f"/v1/domains/{domid}/limit", {"max_mem_kib": 65 * 1024})
        well.host.call("destroy", domid)
        told = client.ask("PUT", f"/v1/domains/{domid}/limit", {"max_mem_kib": 4096})
        assert (told.status, told["code"]) == (404, "unknown-domain")
        told = client.ask("PUT", f"/v1/domains/{uuid}/limit", {"max_mem_kib": 4096})
        assert (told.status, told["domid"], told["for_next_start"]) == (200, None, True)
        shown = client.ask("GET", f"/v1/domains/{uuid}")
        assert (shown["domid"], shown["limit_kib"]) == (None, 5 * 1024)


def test_a_value_that_does_not_read_back_is_mismatched(well: Stand) -> None:
    """202 and mismatched, with what was seen; tried again until Xen holds what was written."""
    well.host.call("lie", 2, -7)
    with well.client() as client:
        told = client.ask("PUT", "/v1/domains/2/limit", {"max_mem_kib": 400 * 1024})
    assert told.status == 202
    assert told["push"]["state"] == "mismatched"
    assert told["push"]["seen_pages"] == told["push"]["max_pages"] - 7
    assert well.kept().records[told["uuid"]].limit.kib == told["limit_kib"]
    well.host.call("heal")
    until("it is in force", in_force(well, 2))
    assert well.host.call("xen.domain", 2).max_pages == told["max_pages"]


def test_a_slow_hypercall_is_busy_and_health_answers(well: Stand) -> None:
    """503 arbiter-busy within its bound, health says who is waited for; the wish is kept."""
    well.host.call("delay", "set_max_mem", 4.0)
    path, body = "/v1/domains/3/components/device-model/rom", {"amount_kib": 8192}
    with well.client() as client:
        busy_s = until("busy", lambda: client.ask("PUT", path, body, key="slow").status == 503)
        assert busy_s < 4.0, "the reply waited for the hypercall"
        health = client.ask("GET", "/v1/health")
        assert health.status == 503
        assert health["parts"]["arbiter"] != "ok"
        well.host.call("heal")
        until("health is back", well.is_ready)
        again = client.ask("PUT", path, body, key="slow")
        assert (again.status, again["replayed"]) == (200, True)
    figure("Xen's faults", "slow hypercall: arbiter-busy after (bound 0.8)", f"{busy_s:.2f} s")


def test_set_xenstore_away_and_back(well: Stand) -> None:
    """What needs xenstore is refused or waits; what does not is decided; both converge."""
    well.host.call("set_xenstore_away", True)
    with well.client() as client:
        refused = client.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 204800})
        assert (refused.status, refused["code"]) == (503, "xenstore-failed")
        part = "/v1/domains/1/components/device-model/rom"
        granted = client.ask("PUT", part, {"amount_kib": 2048})
        assert granted.status == 200
        assert well.host.call("xen.domain", 1).max_pages == granted["max_pages"]
        well.host.call("foreign_write", 2, Memory.of_mib(1))
        until("drift is undone", well.agrees)
        well.host.call("set_xenstore_away", False)
        again = client.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 204800})
        assert again.status == 200
        assert well.host.call("store.facts", 1).static_max.kib == 204800
    assert well.kept().records[again["uuid"]].limit.kib == again["limit_kib"]


def test_xenstore_that_goes_in_between_is_written_later(bench: Bench) -> None:
    """The limit is in force, static-max is failed for itself, and written when xenstore is back."""
    bench.host.fail("write", 111)
    (granted,) = bench.turn((bench.uuids[0], SetMaxMem(Memory.of_mib(300))))
    assert isinstance(granted, Granted)
    assert granted.push is not None
    assert granted.push.state == "applied"  # the limit is not held up by a node
    (effect,) = granted.push.effects
    assert (effect.name, effect.state, effect.errno) == ("static-max", "failed", 111)
    bench.host.heal()
    bench.clock.tick(100)
    bench.arbiter.poll()
    assert bench.agrees()
    assert bench.host.xenstore().facts(1).static_max == Memory.of_mib(300)


def test_no_hypercall_at_all_is_said_and_healed(well: Stand) -> None:
    """While Xen cannot even be asked, health says so and a wish is refused; then it goes on."""
    well.host.call("fail", "domains", EPERM)
    well.host.call("fail", "domain", EPERM)
    with well.client() as client:
        until("health says it", lambda: client.ask("GET", "/v1/health").status == 503)
        assert client.ask("GET", "/v1/health")["parts"]["xen"].startswith("xen-not-permitted")
        refused = client.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 204800})
        assert (refused.status, refused["code"]) == (503, "xen-not-permitted")
        well.host.call("heal")
        until("health is back", well.is_ready)
        assert client.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 204800}).status == 200


@pytest.mark.parametrize("jump_s", [TEN_YEARS_S, -TEN_YEARS_S])
def test_a_clock_that_jumps_ten_years_changes_nothing(tmp_path: Path, jump_s: int) -> None:
    """Nothing is forgotten, a retry comes when it is due, and the history keeps its order."""
    database = tmp_path / "ledger.sqlite"
    migrate(database)
    bench = Bench(database, keep_gone_s=30 * 86400)
    bench.arbiter.start()
    bench.turn((bench.uuids[5], SetComponent(DM, Memory(kib=4096))))  # what is decided is kept
    bench.host.destroy(6)
    bench.arbiter.poll()
    bench.host.fail("set_max_mem", EPERM, domid=1)
    bench.turn((bench.uuids[0], SetComponent(DM, Memory(kib=4096))))

    bench.clock.wall += jump_s * 10**9
    bench.host.heal()
    bench.arbiter.poll()
    assert bench.arbiter.records.get(bench.uuids[5]) is not None
    assert not bench.agrees(), "the retry came before it was due"
    bench.clock.now_s += 3.0
    bench.arbiter.poll()
    assert bench.agrees()
    bench.turn((bench.uuids[1], SetComponent(DM, Memory(kib=8192))))
    bench.close()

    again = Bench(database, bench.host, keep_gone_s=30 * 86400)
    again.arbiter.start()
    assert again.arbiter.records.get(bench.uuids[5]) is not None
    assert again.agrees()
    again.close()
    kept = audit(database)
    assert [line.revision for line in kept.keys.values()] == [2, 2, 2]
