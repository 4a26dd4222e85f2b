"""The models of the discussion: which hold, which do not, and what breaks them.

And docs/why-one-arbiter.md says what was found: it cannot go stale, and leaves nothing out. Both
are in one file, and so in one worker, for each model is explored once in a process.
"""

import json
from dataclasses import replace

import pytest

from models.races import arbiter, properties
from models.races.actors import StepResult
from models.races.check import CRASH, NO, PROPERTIES, Verdict, judge
from models.races.explorer import explore
from models.races.host import ModelHost
from models.races.models import MODELS, Model
from models.races.scenario import Scenario
from tests.system.models import document
from tests.system.models.document import DOCUMENT, REPORT, TOLD, renewed
from tests.system.models.expected import EXPECTED
from tests.system.models.judged import judged


def holds(found: Verdict) -> str:
    """Return a verdict as one line."""
    return " ".join(found.holds(what) for what in PROPERTIES)


@pytest.mark.long
@pytest.mark.parametrize("name", EXPECTED)
def test_the_verdicts(name: str) -> None:
    """Every model has the verdicts that the document argues from."""
    assert holds(judged(name)) == EXPECTED[name]


def test_every_model_has_an_expectation() -> None:
    """No model is left out."""
    assert [model.name for model in MODELS] == list(EXPECTED)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_two_actors_are_enough(model: Model) -> None:
    """Whatever three actors can break, two can: no verdict needs a crowd."""
    assert holds(judge(model, smallest=True)) == EXPECTED[model.name]


def test_the_lost_update() -> None:
    """The history of 2014-15: mem-set and QEMU read, both write, and QEMU's 256 KiB are gone."""
    for name in ("modify", "modify-lock"):
        breach = judged(name).breaches["nothing lost"]
        assert breach.actors == ("xl mem-set 100", "device model (+256)")
        assert breach.finding == "Xen holds 103424: 256 KiB are lost"
        assert breach.crashes == 0
        assert [who.split()[0] for who, _ in breach.steps] == ["xl", "device", "device", "xl", "xl"]


def test_mem_max_drops_the_share_with_no_race() -> None:
    """Whole commands one after the other: mem-max sets outright, and the device model's is gone."""
    modify = next(model for model in MODELS if model.name == "modify")
    scenario = replace(modify.scenario(("bump", "mem-max")), serial=True, may_crash=False)
    found = {properties.find_loss(scenario, end, modify.constant) for end in explore(scenario).ends}
    assert found == {None, "Xen holds 308224: 256 KiB are lost"}


def test_the_crossing_of_5f33fa2bca() -> None:
    """Without libxl's lock the target is one mem-set's, and the maximum the other's."""
    breach = judged("recompute").breaches["any order"]
    assert breach.finding.startswith("maximum 123904, target 102400")


def test_what_the_crash_does_to_a_true_increment() -> None:
    """A delta whose base was not written down is taken again: not sound once processes die."""
    for what in ("nothing lost", "nothing twice"):
        breach = judged("add").breaches[what]
        assert breach.crashes == 1
        assert [words for _, words in breach.steps].count("is killed") == 1


@pytest.mark.parametrize("name", ["modify", "modify-lock", "add", "parts"])
def test_the_restore_that_dies(name: str) -> None:
    """The 4.6 blocker: what a device model added does not travel, and the stream does not fit."""
    breach = judged(name).breaches["migration"]
    assert breach.finding == "the migration has failed"
    assert "over-allocation" in breach.steps[-1][1]


def test_the_limit_that_does_not_travel() -> None:
    """mem-max, then a migration, with no race at all: computed from the target, it is gone."""
    breach = judged("recompute-lock").breaches["migration"]
    assert breach.actors == ("xl mem-max 300", "xl migrate")
    assert [who for who, _ in breach.steps] == ["xl mem-max 300"] * 3 + ["xl migrate"] * 4


class PushesFirst(arbiter.ModelArbiter):
    """An arbiter that sets Xen's maximum before it records."""

    def __call__(self, host: ModelHost) -> StepResult | None:
        """Push what is decided, then record it."""
        if host.doing == "decided" and host.maximum != sum(host.plan) + 1024:
            whole = sum(host.plan) + 1024
            return StepResult("sets the maximum unrecorded", host._replace(xen=(whole,)))
        return super().__call__(host)


class FeedsBack(arbiter.ModelArbiter):
    """An arbiter that takes Xen's sum for the operator's word when it starts again."""

    def __call__(self, host: ModelHost) -> StepResult | None:
        """Start with what Xen holds."""
        if host.doing == "down" and host.maximum:
            shares = (0,) * (len(host.ledger) - 1)
            fed = host._replace(doing="idle", ledger=(host.maximum - 1024, *shares))
            return StepResult("starts with what Xen holds", fed)
        return super().__call__(host)


class Answers(arbiter.ModelArbiter):
    """An arbiter that answers before it has recorded."""

    def __call__(self, host: ModelHost) -> StepResult | None:
        """Answer what is decided, then record it."""
        if host.doing == "decided" and host.asked[0] not in host.answered:
            early = host.answered | {host.asked[0]}
            return StepResult("answers early", host._replace(answered=early))
        return super().__call__(host)


def served_by(server: type[arbiter.ModelArbiter], verbs: tuple[str, ...]) -> Scenario:
    """Return a scenario of the arbiter's model, with another arbiter in it."""
    scenario = MODELS[0].scenario(verbs)
    return replace(scenario, server=server(scenario.actors, None))


@pytest.mark.parametrize("server", [arbiter.ModelArbiter, FeedsBack, Answers])
def test_a_worse_arbiter_is_caught(server: type[arbiter.ModelArbiter]) -> None:
    """An arbiter without one of its rules loses what was confirmed: the model can fail."""
    scenario = served_by(server, ("mem-set", "mem-set", "bump"))
    found = [properties.find_loss(scenario, end, 1024) for end in explore(scenario).ends]
    assert any(found) == (server is not arbiter.ModelArbiter)


@pytest.mark.parametrize("server", [arbiter.ModelArbiter, PushesFirst])
def test_a_push_before_its_record_is_seen_at_a_death(server: type[arbiter.ModelArbiter]) -> None:
    """Of increases Xen never holds more, whenever the arbiter dies, than the ledger has."""
    exploration = explore(served_by(server, ("bump", "bump")))
    dead = [state.host for state in exploration.came_from if state.host.doing == "down"]
    unrecorded = [host for host in dead if host.maximum > sum(host.ledger) + 1024]
    assert dead
    assert bool(unrecorded) == (server is PushesFirst)


def text() -> str:
    """Return the document."""
    return DOCUMENT.read_text(encoding="utf-8")


def test_the_document_is_not_stale() -> None:
    """Table, histories and the real Xen's part are as `make argument` would write them."""
    assert renewed(text()) == text()


def test_every_broken_model_has_a_history() -> None:
    """No model is called broken without a history; but of the two like another with its lock."""
    told = {name for name, _ in TOLD}
    broken = {model.name for model in MODELS if judged(model.name).breaches}
    assert broken - told == {"recompute-two"}


@pytest.mark.parametrize(("name", "what"), TOLD)
def test_what_is_told_is_broken(name: str, what: str) -> None:
    """A history is shown for what does not hold."""
    assert judged(name).holds(what) in (NO, CRASH)


def test_a_changed_number_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another report of the real Xen makes the document stale."""
    report = json.loads(REPORT.read_text(encoding="utf-8"))
    report["facts"]["increases without"]["lost"] += 1
    other = json.dumps(report)

    class Changed:
        def read_text(self, encoding: str) -> str:
            return other

    monkeypatch.setattr(document, "REPORT", Changed())
    assert renewed(text()) != text()


def test_missing_marks_are_named() -> None:
    """A document without the marks cannot be renewed."""
    with pytest.raises(ValueError, match="cannot renew verdicts"):
        renewed("# Why one arbiter\n")


def test_it_is_linked() -> None:
    """README and ARCHITECTURE lead to it."""
    for name in ("README.md", "ARCHITECTURE.md"):
        page = (DOCUMENT.parent.parent / name).read_text(encoding="utf-8")
        assert "](docs/why-one-arbiter.md)" in page
