"""Create the service's files for its user, check that a file can be trusted, bring it to the disk.

Files may be created by root, who runs a command by hand, and are then opened by the service, which
runs as the user who owns their folder.
"""

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


def open_private(path: Path, flags: int) -> int:
    """Open a file of the service, created with mode 0600 if there is none; return its descriptor.

    Root gives it to the owner of its folder, so that the service can open it as well: a new one,
    and one that root had created. Raises OSError.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.geteuid() == 0:
            _give_to_owner_of_folder(path, descriptor)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _give_to_owner_of_folder(path: Path, descriptor: int) -> None:
    """Change the owner, unless the name may be a link that leads to a file of root's elsewhere."""
    opened, named, folder = os.fstat(descriptor), path.lstat(), path.parent.stat()
    is_itself = os.path.samestat(opened, named) and opened.st_nlink == 1
    if is_itself and stat.S_ISREG(opened.st_mode) and opened.st_uid == 0 != folder.st_uid:
        os.fchown(descriptor, folder.st_uid, folder.st_gid)


def sync(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
