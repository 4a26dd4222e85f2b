"""Which files are believed, and what makes a name durable."""

import os
from pathlib import Path

import pytest

from maxmemd.errors import ConfigError
from maxmemd.files import check_trusted, sync


def stat_of(mode: int, uid: int = 0, gid: int = 0) -> os.stat_result:
    """Return what fstat says of a regular file."""
    return os.stat_result((0o100000 | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_a_file_that_only_root_and_its_group_can_write_is_trusted(mode: int) -> None:
    """Anybody may read a configuration."""
    check_trusted(Path("m.toml"), stat_of(mode))


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (stat_of(0o646), r"every user can write to it \(chmod o-w m.toml\)"),
        (stat_of(0o664, gid=7), r"group 7 can write to it \(chmod g-w m.toml\)"),
        (stat_of(0o644, uid=12), r"belongs to uid 12, .* \(chown root m.toml\)"),
    ],
)
def test_a_file_that_another_user_could_have_written_is_refused(
    found: os.stat_result, why: str
) -> None:
    """The message says who could have, and how to mend it."""
    if os.geteuid() == 12:
        pytest.skip("uid 12 is ours")
    with pytest.raises(ConfigError, match=why):
        check_trusted(Path("m.toml"), found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_secret_that_another_user_could_read_is_refused(mode: int) -> None:
    """Of a secret no bit may be there for others."""
    with pytest.raises(ConfigError, match=rf"its mode is {mode:04o} \(chmod 0600 t\)"):
        check_trusted(Path("t"), stat_of(mode), is_secret=True)
    check_trusted(Path("t"), stat_of(0o600), is_secret=True)


def test_files_and_directories_are_synced_and_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptor that is synced is of that path, and is closed afterwards."""
    synced: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append((fd, os.fstat(fd).st_ino)))
    sync(tmp_path)
    (descriptor, inode) = synced[0]
    assert inode == tmp_path.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
