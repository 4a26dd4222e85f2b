"""The ledger is deleted or replaced under a daemon that serves: it is refused, told and saved."""

from collections.abc import Callable
from pathlib import Path

import pytest

from maxmemd.ledger.backup import backup
from tests.support.audit import audit
from tests.support.http import Answer
from tests.support.stand import Stand
from tests.support.until import until

LEDGER = "ledger"


def put(stand: Stand, name: str) -> Answer:
    """Ask for a component."""
    path = f"/v1/domains/{stand.uuids[0]}/components/device-model/{name}"
    with stand.client() as client:
        return client.ask("PUT", path, {"amount_kib": 4096}, key=name)


def health(stand: Stand) -> tuple[int, str]:
    """Return the status of health, and what it says of the ledger."""
    with stand.client() as client:
        answer = client.ask("GET", "/v1/health")
    return answer.status, answer["parts"][LEDGER]


def delete_all(stand: Stand) -> None:
    """`rm ledger.sqlite*`."""
    for path in stand.directory.glob("ledger.sqlite*"):
        path.unlink()


def restore_backup(stand: Stand) -> None:
    """Rename a backup over it, as a restore under a running daemon does."""
    copy = stand.directory / "backup"
    backup(stand.database, copy)
    copy.rename(stand.database)


@pytest.mark.parametrize("displace", [delete_all, restore_backup])
def test_nothing_is_confirmed_that_no_start_would_find(displace: Callable[[Stand], None]) -> None:
    """The wish is refused, health says what to do, and what to do is enough, without a restart."""
    with Stand(options=["--poll", "0.2"]) as stand:
        stand.start()
        assert put(stand, "before").status == 200
        displace(stand)
        refused = put(stand, "meanwhile")
        assert (refused.status, refused["code"]) == (503, "ledger-moved")
        until("it is saved", lambda: "what it held is in" in health(stand)[1])
        status, said = health(stand)
        assert status == 503
        assert said.startswith("ledger-moved: cannot use the ledger: ")
        rescued = rescued_of(stand)
        assert f"mv {rescued} {stand.database}" in said
        rescued.rename(stand.database)
        until("it goes on", lambda: health(stand) == (200, "ok"))
        assert put(stand, "meanwhile").status == 200
        assert stand.stop() == 0
        kept = audit(stand.database).records[stand.uuids[0]]
        names = {name for owner, name in kept.components if owner == "device-model"}
        assert names == {"before", "meanwhile"}


def test_a_stop_saves_it_too() -> None:
    """A daemon that is stopped right after `rm` leaves a whole ledger under another name."""
    with Stand(options=["--poll", "60"]) as stand:
        stand.start()
        assert put(stand, "before").status == 200
        delete_all(stand)
        assert stand.stop() == 0
        rescued = rescued_of(stand)
        assert str(rescued) in stand.said()
        rescued.rename(stand.database)
        stand.start()
        assert put(stand, "before")["replayed"] is True
        assert stand.agrees()


def rescued_of(stand: Stand) -> Path:
    """Return the copy of a deleted ledger."""
    [found] = stand.directory.glob("ledger.sqlite.rescued-*")
    return found
