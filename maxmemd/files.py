"""Create the service's files for its user, check that files can be trusted, bring them to the disk.

Files may be created by root, who runs a command by hand, and are then opened by the service, which
runs as the user who owns their folder.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from maxmemd.errors import ConfigError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The errors of a full file system or an exhausted quota."""
SIMULATED = Path("/run/maxmemd-simulated")
OWN_FOLDERS = {
    Path("/run/maxmemd"): 0o755,
    Path("/run/maxmemd-device-model"): 0o700,
    Path("/var/lib/maxmemd"): 0o700,
    SIMULATED: 0o700,
}
"""The folders that the package, or a unit, makes as well, and their modes."""
MOST_LINKS = 40
"""Links on the way to a folder, as for the kernel."""
USER = "maxmemd"
"""The service's user, who owns its state."""
STATE = Path("/var/lib/maxmemd")


def check_trusted(path: Path, found: os.stat_result, *, is_secret: bool = False) -> None:
    """Raise ConfigError for a file that other users can write, or a secret that they can read.

    `found` is fstat of the open file, so that the file that is read is the one that was checked.
    """
    mode = stat.S_IMODE(found.st_mode)
    if is_secret and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"cannot trust {path}: its mode is {mode:04o} (chmod 0600 {path})")
    if mode & stat.S_IWOTH:
        raise ConfigError(f"cannot trust {path}: every user can write to it (chmod o-w {path})")
    owners = {0, os.geteuid()}
    if is_secret and os.geteuid() == 0:
        owners.add(path.parent.stat().st_uid)  # the service's user, in whose folder root works
    if found.st_uid not in owners:
        detail = f"cannot trust {path}: it belongs to uid {found.st_uid}"
        hint = "" if is_secret else f" (chown root {path})"  # the daemon has to read its secrets
        raise ConfigError(f"{detail}, neither root nor the daemon's user{hint}")
    if mode & stat.S_IWGRP and found.st_gid != 0:
        detail = f"cannot trust {path}: group {found.st_gid} can write to it"
        raise ConfigError(f"{detail} (chmod g-w {path})")


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raises OSError.

    Anything else is refused before it is waited for: to open a FIFO takes until there is a writer.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def need_safe_folders(path: Path, what: str) -> None:
    """Raise ConfigError if another user could put something else where `path` is.

    That is, as for sshd and systemd, unless every folder on the way belongs to root or to us, and
    to write to it is ours alone or it is sticky, so that others can replace nothing in it. A link
    on the way counts as well, and so does the way that it leads. `what` was to be done.
    """
    try:
        for step in _way_to(path.absolute().parent):
            found = step.lstat()
            if found.st_uid not in (0, os.geteuid()):
                why = f"{step} belongs to uid {found.st_uid}, who could replace what is in it"
                raise ConfigError(f"cannot {what}: {why} (chown root {step})")
            if stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX:
                continue
            if found.st_mode & stat.S_IWOTH:
                detail = f"cannot {what}: every user may write to {step} (chmod o-w {step})"
                raise ConfigError(detail)
            if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
                why = f"group {found.st_gid} may write to {step}"
                raise ConfigError(f"cannot {what}: {why} (chmod g-w {step})")
    except OSError as error:
        raise ConfigError(f"cannot {what}: {error.filename}: {error.strerror}") from error


def _way_to(folder: Path) -> Iterator[Path]:
    """Yield every folder and link that the kernel passes on the way to a folder. Raises OSError."""
    at, left, links = Path("/"), list(reversed(folder.parts[1:])), 0
    yield at
    while left:
        name = left.pop()
        if name == "..":
            at = at.parent
            continue
        yield at / name
        try:
            target = (at / name).readlink()
        except OSError as error:
            if error.errno != errno.EINVAL:  # not a link
                raise
            at /= name
            continue
        links += 1
        if links > MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))
        if target.is_absolute():
            at = Path("/")
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def need_folder(path: Path, what: str) -> None:
    """Raise ConfigError if the folder of `path` is not there: a typing error makes no folders.

    The service's own folders are made, since a package or a unit would have. `what` was to be done.
    """
    folder = path.parent
    try:
        if folder in OWN_FOLDERS or folder.name == SIMULATED.name:
            folder.mkdir(mode=OWN_FOLDERS.get(folder, 0o700))
            if folder == STATE and os.geteuid() == 0:
                _give_state_to_service(folder)
    except FileExistsError:
        pass  # a link to a folder is as good
    except OSError as error:
        raise ConfigError(f"cannot {what}: cannot make {folder}: {error.strerror}") from error
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        detail = f"cannot {what}: {folder} is not there"
        raise ConfigError(f"{detail} (make the folder, or correct the path)") from None
    except OSError as error:
        raise ConfigError(f"cannot {what}: {folder}: {error.strerror}") from error
    if not is_folder:
        raise ConfigError(f"cannot {what}: {folder} is not a folder")


def _give_state_to_service(folder: Path) -> None:
    try:
        user = pwd.getpwnam(USER)
    except KeyError:  # not installed as a service: root's
        return
    os.chown(folder, user.pw_uid, user.pw_gid)


def why_unusable(path: Path) -> str:
    """Return what keeps us from a file that is there, and what to do, in parentheses; else ""."""
    try:
        found = path.stat()
    except OSError:
        return ""
    if os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return ""
    # By number: the arbiter asks for this, and must not wait for a name service.
    owner = f"uid {found.st_uid}" if found.st_uid else "root"
    return f" ({path} belongs to {owner}: chown {os.geteuid() or 'root'} {path})"


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


def give_existing(paths: Iterable[Path]) -> None:
    """As root, give files that root created to the owner of their folder. Raises OSError."""
    if os.geteuid() != 0:
        return
    for path in paths:
        if stat.S_ISREG(path.lstat().st_mode):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                _give_to_owner_of_folder(path, descriptor)
            finally:
                os.close(descriptor)


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
