"""A ledger to read."""

from pathlib import Path

import pytest

from tests.ledger.lines import AT_NS, OTHER, entry, note, opened, push


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with seven lines, six of them one domain's."""
    found = tmp_path / "ledger.sqlite"
    ledger = opened(found)
    ledger.commit(AT_NS, [entry(1), note(1), entry(1, OTHER), entry(2)], pushes=[push(1)])
    ledger.commit(AT_NS, [entry(3), note(3), note(3)], pushes=[push(3, errno=1)])
    ledger.close()
    return found
