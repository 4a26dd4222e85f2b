"""Who lives here: instances by domid, UUID and name, and how they come and go."""

from collections import defaultdict

import pytest

from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.instance_rows import row_of
from maxmemd.arbiter.instances import InstanceTable
from maxmemd.errors import LedgerError
from maxmemd.policy.codec import build_to_text, effects_to_text
from maxmemd.policy.entries import SETTLED_BUILD, BuildState, InstanceRow
from maxmemd.policy.facts import DOM0_UUID, StoreFacts, XenFacts
from maxmemd.policy.reference import Domid, Name, Uuid, parse_reference
from maxmemd.policy.states import BuildPhase, PushState
from maxmemd.policy.verdicts import Effects
from maxmemd.units import Memory

WEB = "51a70000-0000-4000-8000-00000000000a"
DB = "51a70000-0000-4000-8000-00000000000b"


def xen(domid: int, uuid: str = WEB) -> XenFacts:
    """Return a domain that runs."""
    return XenFacts(domid, uuid, 256, 512, cpu_time_ns=1)


def census_of(*facts: XenFacts) -> InstanceTable:
    """Return a census that has seen these domains."""
    instances = InstanceTable(defaultdict[str, int](int).__getitem__, "boot-1")
    instances.compare(facts, 1)
    return instances


def row(domid: int, uuid: str = WEB, *, boot: str = "boot-1") -> InstanceRow:
    """Return what a ledger holds of an instance."""
    return InstanceRow(uuid, domid, 3, boot, 1, None, PushState.APPLIED, 7, None)


def ids(instances: list[Instance]) -> list[tuple[int, str, int]]:
    """Return domid, UUID and incarnation of instances."""
    return [(i.domid, i.uuid, i.incarnation) for i in instances]


def test_newcomers_and_the_gone() -> None:
    """Comparing returns who began and who ended, and knows the others."""
    instances = census_of(xen(1))
    began, ended, _ = instances.compare([xen(2, DB)], 5)
    assert (ids(began), ids(ended)) == ([(2, DB, 1)], [(1, WEB, 1)])
    assert (began[0].began_ns, ended[0].push_state, len(instances)) == (5, "gone", 1)
    assert instances.compare([xen(2, DB)], 6) == ([], [], None)


def test_a_reused_domid_is_another_instance() -> None:
    """A domid that carries another UUID is another instance (A6)."""
    instances = census_of(xen(1, WEB))
    began, ended, _ = instances.compare([xen(1, DB)], 5)
    assert (ids(began), ids(ended)) == ([(1, DB, 1)], [(1, WEB, 1)])
    assert ids(instances.find(parse_reference("1"))) == [(1, DB, 1)]


def test_lives_are_counted() -> None:
    """Each life of a domain has the next incarnation, beyond those that the ledger knows."""
    known = defaultdict(int, {WEB: 4})
    instances = InstanceTable(known.__getitem__, "boot-1")
    assert instances.compare([xen(1)], 1)[0][0].incarnation == 5
    instances.compare([], 2)
    known[WEB] = 5
    assert instances.compare([xen(2)], 3)[0][0].incarnation == 6


def test_a_domain_whose_lives_cannot_be_counted_begins_later() -> None:
    """The others come and go meanwhile, and the trouble is handed on."""
    trouble: list[LedgerError] = [LedgerError("cannot read")]

    def last_incarnation(uuid: str) -> int:
        if trouble and uuid == WEB:
            raise trouble[0]
        return 0

    instances = InstanceTable(last_incarnation, "boot-1")
    began, ended, found = instances.compare([xen(1), xen(2, DB)], 1)
    assert ([each.uuid for each in began], ended, found) == ([DB], [], trouble[0])
    trouble.clear()
    began, ended, found = instances.compare([xen(1)], 2)
    assert ([each.uuid for each in began], [each.uuid for each in ended]) == ([WEB], [DB])
    assert found is None


@pytest.mark.parametrize(
    ("facts", "building"),
    [
        (xen(1), False),
        (xen(1)._replace(paused=True), False),
        (xen(1)._replace(paused=True, cpu_time_ns=0), True),
        (xen(1)._replace(cpu_time_ns=0), False),
    ],
    ids=["runs", "paused", "never-ran", "about-to-run"],
)
def test_what_is_being_built(facts: XenFacts, *, building: bool) -> None:
    """A newcomer that is paused and has used no CPU is being built."""
    assert next(iter(census_of(facts))).building is building


def test_a_domain_without_a_uuid_is_not_managed() -> None:
    """Of the domains without a UUID only dom0 has an instance."""
    instances = census_of(xen(0, DOM0_UUID), xen(5, DOM0_UUID))
    assert [instance.domid for instance in instances] == [0]


def test_an_instance_is_taken_up_again() -> None:
    """What the ledger held open goes on with its state when Xen has it still."""
    instances = InstanceTable(defaultdict(int, {WEB: 3}).__getitem__, "boot-1")
    effects = Effects(target=Memory(kib=4))
    instances.resume(row(1)._replace(effects=effects_to_text(effects)))
    assert instances.compare([xen(1)], 9) == ([], [], None)
    [instance] = instances.find(parse_reference("1"))
    assert (instance.incarnation, instance.settled_revision) == (3, 7)
    assert instance.push_state is PushState.APPLIED
    assert instance.build_phase is BuildPhase.SETTLED
    assert (instance.effects, instance.building) == (effects, False)


@pytest.mark.parametrize(
    "build",
    [
        BuildState(BuildPhase.FOLLOWING),
        BuildState(BuildPhase.ANNOUNCED),
        BuildState(BuildPhase.UNDECIDED, 5, 7),
        SETTLED_BUILD,
    ],
)
def test_a_build_is_taken_up_again(build: BuildState) -> None:
    """What was known of its build is so again, until all is known and it runs."""
    instances = InstanceTable(defaultdict(int, {WEB: 3}).__getitem__, "boot-1")
    instances.resume(row(1)._replace(build=build_to_text(build)))
    [instance] = instances.find(Domid(1))
    assert (instance.build, row_of(instance).build) == (build, build_to_text(build))
    assert instance.building is (build != SETTLED_BUILD)
    instance.on_build_observed(BuildPhase.SETTLED, building=False)
    assert (instance.build, row_of(instance).build) == (SETTLED_BUILD, None)


@pytest.mark.parametrize(
    "held", [row(1, boot="boot-0"), row(1, DB), row(2)], ids=["boot", "uuid", "domid"]
)
def test_an_instance_that_is_not_taken_up(held: InstanceRow) -> None:
    """Another boot, another UUID or no such domid: the old one ended, and one began."""
    instances = InstanceTable(defaultdict(int, {held.uuid: 3}).__getitem__, "boot-1")
    instances.resume(held)
    began, ended, _ = instances.compare([xen(1)], 9)
    assert ids(ended) == [(held.domid, held.uuid, 3)]
    assert [instance.uuid for instance in began] == [WEB]


def test_references() -> None:
    """Digits are a domid, a UUID's form a UUID in either case, all else a name."""
    instances = census_of(xen(1, WEB), xen(2, DB))
    for instance in instances:
        instance.on_nodes_read(0.0, StoreFacts({1: "web", 2: "1"}[instance.domid]))
    assert (
        ids(instances.find(parse_reference("1")))
        == ids(instances.find(parse_reference("web")))
        == ids(instances.find(parse_reference(WEB.upper())))
    )
    assert (
        ids(instances.find(parse_reference("2"))) == ids(instances.find(Uuid(DB))) == [(2, DB, 1)]
    )
    for ref in ("3", "9" * 9, "9" * 10, "²", "", "we", WEB[:-1] + "c"):
        assert instances.find(parse_reference(ref)) == []


def test_two_of_one_name_are_both_found() -> None:
    """Which of two namesakes is meant is for the caller to say."""
    instances = census_of(xen(1, WEB), xen(2, DB))
    for instance in instances:
        instance.on_nodes_read(0.0, StoreFacts("web"))
    assert ids(instances.find(parse_reference("web"))) == [(1, WEB, 1), (2, DB, 1)]


def test_a_local_migration_has_two_lives_of_one_domain() -> None:
    """While both are here the UUID means the elder; then the one that is left."""
    instances = census_of(xen(7, WEB))
    instances.compare([xen(3, WEB), xen(7, WEB)], 2)
    assert ids(instances.of_uuid(WEB)) == [(7, WEB, 1), (3, WEB, 2)]
    assert ids(instances.find(Uuid(WEB))) == [(7, WEB, 1)]
    instances.compare([xen(3, WEB)], 3)
    assert ids(instances.find(Uuid(WEB))) == [(3, WEB, 2)]
    instances.compare([], 4)
    assert instances.of_uuid(WEB) == instances.find(Uuid(WEB)) == []


def test_what_xen_said_of_the_last_push_stays() -> None:
    """A client that asked for the push is answered with it after its domain is gone."""
    table = census_of(xen(7))
    [instance] = table
    instance.on_push_failed(5, "cannot push", 0.0)
    table.remove(instance)
    assert (instance.push_state, instance.errno, instance.error) == ("gone", 5, "cannot push")


def test_removing_twice_does_nothing_more() -> None:
    """An instance may be closed by the first caller that sees that it is gone."""
    instances = census_of(xen(1), xen(2))
    [instance] = instances.find(parse_reference("1"))
    instances.remove(instance)
    instances.remove(instance)
    assert ids(instances.of_uuid(WEB)) == [(2, WEB, 2)]


@pytest.mark.parametrize(
    ("ref", "form"),
    [
        (WEB, True),
        (WEB.upper(), True),
        (WEB + "0", False),
        (WEB[:-1], False),
        (WEB.replace("-", "_"), False),
        (WEB.replace("5", "g"), False),
        (WEB[:-1] + "\n", False),
    ],
    ids=range(7),
)
def test_a_uuids_form(ref: str, *, form: bool) -> None:
    """A UUID is 36 characters of hex and hyphens, in either case."""
    assert parse_reference(ref) == (Uuid(ref.lower()) if form else Name(ref))
