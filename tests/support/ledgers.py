"""Ledgers to begin with: migrated once, then copied. What migrates one has tests of its own."""

import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from maxmemd.files import open_private
from maxmemd.ledger.migrate import migrate


def new_ledger(path: Path) -> Path:
    """Make a ledger without an entry there, as a first start does, unless there is one."""
    if not path.exists():
        with open(open_private(path, os.O_WRONLY), "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(_empty())
    return path


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        migrate(path)
        return path.read_bytes()
