"""Records of domains that are not here: how many there are, and what is refused or dropped."""

import itertools
import json

import pytest

from maxmemd.arbiter.messages import DecisionRequest, Refused
from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.facts import DOM0_UUID
from maxmemd.policy.wishes import Import, SetComponent, SetMaxMem
from maxmemd.units import Memory
from maxmemd.xen.simulated import finish
from tests.support.seat import DM, WEB_UUID, Seat, mib, web_of

XAPI, ROOT = '{"name":"xapi","uid":7,"gid":7,"pid":%d}', '{"name":"root","uid":0,"gid":0,"pid":%d}'
RECORD = Import({MAX_MEM: mib(64)}, None)
_pids = itertools.count(1)


def uuid_of(number: int) -> str:
    """Return a UUID that no domain has."""
    return f"51a70000-0000-4000-8000-{number:012x}"


def request(number: int, actor: str = XAPI, **more: object) -> DecisionRequest:
    """Return an import of a record ahead of its domain, by a new process of a client."""
    return DecisionRequest(uuid_of(number), RECORD, actor % next(_pids), **more)  # type: ignore[arg-type]


def codes(seat: Seat, *asks: DecisionRequest) -> list[str]:
    """Ask in one batch; return the codes of the refusals, "granted" for the others."""
    answers = seat.arbiter.turn(asks)
    return [each.refusal.code if isinstance(each, Refused) else "granted" for each in answers]


@pytest.mark.parametrize("batched", [False, True])
def test_one_client_imports_up_to_its_bound(*, batched: bool) -> None:
    """The next is refused with the numbers, of another process too; another client goes on."""
    seat = Seat(keep_gone=(10, 3)).restart()
    asks = [request(number) for number in range(1, 5)]
    if batched:
        assert codes(seat, *asks) == ["granted"] * 3 + ["too-many-records"]
    else:
        assert [codes(seat, ask)[0] for ask in asks] == ["granted"] * 3 + ["too-many-records"]
    assert codes(seat, request(5, ROOT)) == ["granted"]
    answer = seat.arbiter.turn([request(6)])[0]
    assert isinstance(answer, Refused)
    assert answer.refusal.numbers == {"records": 3, "at_most": 3}
    assert "xapi (uid 7), at most 3 are kept" in answer.refusal.detail
    assert "raise keep_gone_per_client" in answer.refusal.detail


def test_all_clients_together_import_up_to_the_bound() -> None:
    """Whichever client is next is refused, and told the key that bounds all."""
    seat = Seat(keep_gone=(3, 2)).restart()
    assert codes(seat, request(1), request(2), request(3, ROOT)) == ["granted"] * 3
    answer = seat.arbiter.turn([request(4, ROOT)])[0]
    assert isinstance(answer, Refused)
    assert answer.refusal.numbers == {"records": 3, "at_most": 3}
    assert "of all clients, at most 3 are kept" in answer.refusal.detail
    assert "raise keep_gone_records" in answer.refusal.detail


def test_what_is_refused_changes_nothing() -> None:
    """No record, no history, no row: neither of too many records nor of another refusal."""
    seat = Seat(keep_gone=(1, 1)).restart()
    assert codes(seat, request(1)) == ["granted"]
    seat.arbiter.poll()
    before = len(seat.memory.lines)
    refused = DecisionRequest(uuid_of(2), Import({DM: mib(1)}, None), XAPI % 1)
    assert (
        codes(seat, request(2), request(3, ROOT, dry_run=True), refused) == ["too-many-records"] * 3
    )
    seat.arbiter.reconfigure(seat.arbiter.settings.value)
    seat.poll()
    assert len(seat.memory.lines) == before
    assert seat.arbiter.refusals["too-many-records"] == 3
    seat.arbiter.flush()
    assert {entry.uuid for entry in seat.memory.lines if entry.uuid == uuid_of(2)} == set()


def test_an_import_that_is_refused_otherwise_has_no_history_either() -> None:
    """A client that invents UUIDs makes no entry with what is refused for its content."""
    seat = Seat().restart()
    before = len(seat.memory.lines)
    for number in range(1, 50):
        ask = DecisionRequest(uuid_of(number), Import({DM: mib(1)}, None), XAPI % 1)
        assert codes(seat, ask) == ["component-required"]
    seat.poll()
    assert len(seat.memory.lines) == before


def test_a_record_that_is_there_can_be_imported_again() -> None:
    """The bound is on new records: those that are there, or whose domain lives, can be written."""
    seat = Seat(keep_gone=(1, 1))
    web = finish(seat.host.building(web_of(64, 128)))
    seat.restart()
    assert codes(seat, request(1), request(1)) == ["granted"] * 2
    assert codes(seat, DecisionRequest(WEB_UUID, RECORD, XAPI % 1)) == ["granted"]
    assert seat.record(web).amount(MAX_MEM) == mib(64)


def test_room_comes_back_when_the_domain_comes() -> None:
    """A record whose domain lives counts no more."""
    seat = Seat(keep_gone=(9, 1)).restart()
    assert codes(seat, DecisionRequest(WEB_UUID, RECORD, XAPI % 1), request(2)) == [
        "granted",
        "too-many-records",
    ]
    finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    assert codes(seat, request(2)) == ["granted"]


def test_the_counts_are_the_same_after_a_restart() -> None:
    """Who decided last on a record is read from the ledger."""
    seat = Seat(keep_gone=(9, 2)).restart()
    assert codes(seat, request(1), request(2)) == ["granted"] * 2
    seat.restart()
    assert codes(seat, request(3), request(3, ROOT)) == ["too-many-records", "granted"]


def test_whose_a_record_is_moves_with_the_last_decision() -> None:
    """A record that another client decided on counts as that client's."""
    seat = Seat(keep_gone=(9, 1)).restart()
    assert codes(seat, request(1)) == ["granted"]
    seat.arbiter.turn([DecisionRequest(uuid_of(1), SetComponent(DM, mib(1)), ROOT % 1)])
    assert codes(seat, request(2)) == ["granted"]
    assert codes(seat, request(3, ROOT)) == ["too-many-records"]


def gone_by_one(seat: Seat, count: int) -> list[str]:
    """Have domains created, decided on and destroyed, one after the other; return their UUIDs."""
    for number in range(count):
        uuid = uuid_of(number)
        web = seat.host.create("web", memory=mib(64), uuid=uuid)
        seat.poll()
        seat.grant(web, SetMaxMem(mib(96)))
        seat.host.destroy(web)
        seat.poll()
    return [uuid_of(number) for number in range(count)]


def test_of_too_many_gone_domains_the_longest_gone_are_dropped() -> None:
    """With an entry that says so; what was decided of the others stays."""
    seat = Seat(keep_gone=(3, 9)).restart()
    uuids = gone_by_one(seat, 5)
    assert [uuid for uuid in uuids if seat.arbiter.records.get(uuid)] == uuids[2:]
    said = [json.loads(line.wish) for line in seat.memory.lines if line.kind == "forgotten"]
    assert said == [{"confirmed": True, "surplus": True}] * 2


def test_after_a_restart_with_a_lower_bound_those_recorded_first_are_dropped() -> None:
    """No record says since when its domain is gone; the order of the ledger stands in for it."""
    seat = Seat(keep_gone=(9, 9)).restart()
    uuids = gone_by_one(seat, 5)
    seat.keep_gone = (2, 9)
    seat.restart()
    assert [uuid for uuid in uuids if seat.arbiter.records.get(uuid)] == uuids[3:]


def test_a_living_domain_is_never_dropped() -> None:
    """However many domains live here, and however many are gone."""
    seat = Seat(keep_gone=(1, 1)).restart()
    for number in range(5):
        seat.host.create(f"web{number}", memory=Memory.of_mib(64), uuid=uuid_of(100 + number))
    gone_by_one(seat, 3)
    assert len(seat.arbiter.records) == 5 + 1 + 1  # these, dom0, and one that is gone


def test_a_start_drops_those_that_have_been_away_longest() -> None:
    """Not a guest that ran until the host went down, though its record is the oldest."""
    seat = Seat(keep_gone=(3, 9)).restart()
    db = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.grant(db, SetMaxMem(mib(200)))
    assert codes(seat, *(request(number) for number in range(1, 4))) == ["granted"] * 3
    seat.host.destroy(db)
    seat.restart()
    kept = set(seat.arbiter.records.uuids())
    assert kept - {DOM0_UUID} == {WEB_UUID, uuid_of(2), uuid_of(3)}
