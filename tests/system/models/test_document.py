"""docs/why-one-arbiter.md says what was found: it cannot go stale, and leaves nothing out."""

import json

import pytest

from models.races.check import CRASH, NO
from models.races.models import MODELS
from tests.system.models import document
from tests.system.models.document import DOCUMENT, REPORT, TOLD, renewed
from tests.system.models.judged import judged


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
