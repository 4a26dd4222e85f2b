"""Check that a file can be trusted, and bring files to the disk."""

import os
import stat
from pathlib import Path

from maxmemd.errors import ConfigError


def check_trusted(path: Path, found: os.stat_result, *, is_secret: bool = False) -> None:
    """Raise ConfigError for a file that other users can write, or a secret that they can read.

    `found` is fstat of the open file, so that the file that is read is the one that was checked.
    """
    mode = stat.S_IMODE(found.st_mode)
    if is_secret and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"cannot trust {path}: its mode is {mode:04o} (chmod 0600 {path})")
    if mode & stat.S_IWOTH:
        raise ConfigError(f"cannot trust {path}: every user can write to it (chmod o-w {path})")
    if found.st_uid not in (0, os.geteuid()):
        detail = f"cannot trust {path}: it belongs to uid {found.st_uid}"
        hint = "" if is_secret else f" (chown root {path})"  # the daemon has to read its secrets
        raise ConfigError(f"{detail}, neither root nor the daemon's user{hint}")
    if mode & stat.S_IWGRP and found.st_gid != 0:
        detail = f"cannot trust {path}: group {found.st_gid} can write to it"
        raise ConfigError(f"{detail} (chmod g-w {path})")


def sync(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
