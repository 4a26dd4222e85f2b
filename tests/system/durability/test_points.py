"""The daemon dies at a named point, each of them: nothing confirmed is lost, and Xen agrees."""

import random
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from alembic import command

from maxmemd.ledger.migrate import HEAD, revision_of
from maxmemd.ledger.schema import engine
from tests.ledger.test_migrate import config_of
from tests.support.figures import figure
from tests.support.preload import built
from tests.support.soak import SOAK
from tests.support.stand import Stand
from tests.support.until import until
from tests.system.durability.dying import POINTS
from tests.system.durability.test_kill import AGREED_WITHIN_S, Load, compare, retry

TIMES = 20 if SOAK else 1
FEW = ("before COMMIT", "after COMMIT", "after the hypercall", "before the answers leave")
MOST = 40
"""The last time that a point is met; under load some are met several times in a batch."""
DIES_WITHIN_S = 60.0
OLD = "0001"


@pytest.fixture
def stand() -> Iterator[Stand]:
    """Give a host with guests, and no daemon yet."""
    with Stand(3, options=["--poll", "0.2"]) as made:
        yield made


def loaded_until_dead(stand: Stand, dice: random.Random) -> Load:
    """Ask without pause until the daemon has killed itself; return what was told."""
    load = Load(stand, dice, count(dice.randrange(2**40)))
    assert stand.process is not None
    load.begin()
    try:
        assert stand.process.wait(DIES_WITHIN_S) == -signal.SIGKILL, "it did not die by itself"
    finally:
        stand.kill()
        load.end()
    return load


def healed(stand: Stand, load: Load) -> None:
    """Start a daemon that does not die, and demand that all that was confirmed is kept."""
    stand.start()
    until("Xen agrees", stand.agrees, within_s=AGREED_WITHIN_S if SOAK else 30.0)
    kept = stand.kept()
    compare(load.confirmed, kept)
    retry(stand, load.unsure, kept)
    until("Xen agrees", stand.agrees)
    stand.kill()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("point", POINTS if SOAK else FEW)
def test_a_death_at_a_point(stand: Stand, point: str) -> None:
    """Confirmed is kept, unanswered is absent or replayed, whatever was half done."""
    dice, confirmed = random.Random(f"dies {point}"), 0
    stand.start()
    stand.kill()  # the first start is not what is looked at: there is a ledger
    for _ in range(TIMES):
        stand.serving = ["tests.system.durability.dying", point, str(dice.randint(8, MOST))]
        stand.spawn()
        until("it listens", lambda: stand.socket.exists() and _answers(stand))
        load = loaded_until_dead(stand, dice)
        stand.serving = ["tests.support.serve"]
        healed(stand, load)
        confirmed += len(load.confirmed)
    figure("death at a point", f"{point}: deaths, confirmed, lost", f"{TIMES}, {confirmed}, 0")


def _answers(stand: Stand) -> bool:
    if stand.running.poll() is not None:
        return True  # a poll or two of an idle daemon may meet a point already
    try:
        stand.client().close()
    except OSError:
        return False
    return True


@pytest.mark.soak
@pytest.mark.needs("gcc", "libc6-dev")
@pytest.mark.timeout(3600)
def test_a_death_in_a_checkpoint(stand: Stand, tmp_path: Path) -> None:
    """A database file that is half written from its WAL is whole once it is opened again."""
    dice, library, deaths = random.Random("dies in a checkpoint"), built("dieatwrite", tmp_path), 0
    stand.start()
    stand.kill()
    for _ in range(TIMES):
        at = dice.randint(1, 20)
        died_in = {"DIE_IN": str(stand.database), "DIE_AT_WRITE": str(at)}
        stand.before = _with(library, died_in)
        stand.spawn()
        until("it listens", lambda: _answers(stand))
        load = loaded_until_dead(stand, dice)
        stand.before = []
        healed(stand, load)
        deaths += 1
    figure("death at a point", "in a checkpoint: deaths, lost", f"{deaths}, 0")


def _with(library: Path, variables: dict[str, str]) -> list[str]:
    return ["env", f"LD_PRELOAD={library}", *(f"{k}={v}" for k, v in variables.items())]


@pytest.mark.soak
def test_a_death_in_a_migration(stand: Stand) -> None:
    """It is all or nothing; the next start migrates, and what was there is there."""
    stand.start()
    with stand.client() as client:
        path = f"/v1/domains/{stand.uuids[0]}/components/device-model/rom"
        assert client.ask("PUT", path, {"amount_kib": 4096}, key="before").status == 200
    assert stand.stop() == 0
    _take_back(stand.database)
    stand.serving = ["tests.system.durability.dying", "before COMMIT", "1"]
    stand.spawn()
    assert stand.ended(DIES_WITHIN_S) == -signal.SIGKILL
    assert revision_of(stand.database) == OLD
    stand.serving = ["tests.support.serve"]
    stand.start()
    assert revision_of(stand.database) == HEAD
    assert stand.kept().keys["before"].uuid == stand.uuids[0]
    assert revision_of(stand.database.with_name(f"ledger.sqlite.before-{HEAD}-at-{OLD}")) == OLD


def _take_back(database: Path) -> None:
    """Take a database back to the first revision of its tables."""
    with engine(database).begin() as connection:
        command.downgrade(config_of(connection), OLD)
