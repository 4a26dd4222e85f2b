"""Notes after a commit that failed: each is in the ledger once, whatever the file had kept."""

import pytest

from maxmemd.arbiter.records import Records
from maxmemd.errors import LedgerFull
from maxmemd.policy.entries import InstanceRow, PushRow
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import PushState
from tests.support.fakes import FakeClock, MemoryLedger

UUID = "51a70000-0000-4000-8000-0000000000aa"
DRIFT = EntryKind.DRIFT


def push(revision: int) -> PushRow:
    """Return a push."""
    return PushRow(1, UUID, 1, 1, revision, 256, 256, None)


def row(revision: int) -> InstanceRow:
    """Return an instance as it is at a revision."""
    return InstanceRow(UUID, 1, 1, "boot-1", 1, None, PushState.APPLIED, revision, None)


def noted(records: Records, number: int) -> None:
    """Note one of each."""
    records.note(UUID, DRIFT, {"n": number})
    records.note_push(push(number))
    records.notes.add_rows([row(number)])


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("meanwhile", [(), (2,), (2, 3), (1,)], ids=str)
def test_what_was_noted_after_a_failed_commit_is_written(
    meanwhile: tuple[int, ...], *, kept: bool
) -> None:
    """Only the notes of that commit may be in the file; later ones, even equal ones, are not."""
    memory = MemoryLedger()
    records = Records(memory, FakeClock())
    records.load()
    noted(records, 1)
    memory.fail(LedgerFull("cannot write: full"), kept=kept)
    with pytest.raises(LedgerFull):
        records.flush()
    for number in meanwhile:
        noted(records, number)
    records.make_certain()
    records.flush()
    wanted = [1, *meanwhile]
    assert [words["n"] for words in memory.words(DRIFT)] == wanted
    assert [row.revision for row in memory.rows] == wanted
    assert memory.instances[UUID, 1] == row(wanted[-1])
    assert not records.has_notes


def test_a_commit_that_is_refused_while_in_doubt_is_not_in_doubt() -> None:
    """Until the file has been read again nothing reaches it, so nothing more may be dropped."""
    memory = MemoryLedger()
    records = Records(memory, FakeClock())
    records.load()
    noted(records, 1)
    memory.fail(LedgerFull("cannot write: full"), kept=True)
    for number in (2, 3):
        with pytest.raises(LedgerFull):
            records.flush()
        noted(records, number)
    records.make_certain()
    records.flush()
    assert [words["n"] for words in memory.words(DRIFT)] == [1, 2, 3]
