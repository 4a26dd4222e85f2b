"""Which files are believed, and what makes a name durable."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from maxmemd.errors import ConfigError
from maxmemd.files import check_trusted, need_safe_folders, open_regular, sync


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


OTHER = 4711
"""A user, and a group, that are not ours."""


def made(path: Path, mode: int = 0o755, uid: int = -1, gid: int = -1) -> Path:
    """Make a folder."""
    path.mkdir()
    os.chown(path, uid, gid)
    path.chmod(mode)
    return path


def linked(path: Path, target: Path | str, uid: int = -1) -> Path:
    """Make a link."""
    path.symlink_to(target)
    os.chown(path, uid, -1, follow_symlinks=False)
    return path


SAFE: dict[str, Callable[[Path], Path]] = {
    "ours": lambda top: made(top / "a"),
    "below a sticky one": lambda top: made(made(top / "a", 0o1777) / "b"),
    "a sticky one itself": lambda top: made(top / "a", 0o1777),
    "written by root's group": lambda top: made(top / "a", 0o775, gid=0),
    "by a link": lambda top: linked(top / "l", made(top / "a")),
    "by a link up and down": lambda top: linked(
        made(top / "a") / "l", f"../{made(top / 'b').name}"
    ),
    "by a link to a link": lambda top: linked(top / "k", linked(top / "l", made(top / "a"))),
    "by a link in a sticky one": lambda top: linked(made(top / "a", 0o1777) / "l", made(top / "b")),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("way", SAFE.values(), ids=SAFE)
def test_a_path_that_no_other_user_can_change(tmp_path: Path, way: Callable[[Path], Path]) -> None:
    """Root's or ours, and where others may write it is sticky."""
    need_safe_folders(way(tmp_path) / "sock", "listen")


UNSAFE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "everybody writes": (lambda top: made(top / "a", 0o777), r"every user may write to .*/a "),
    "everybody writes above": (
        lambda top: made(made(top / "a", 0o777) / "b"), r"every user .*/a \(chmod o-w .*/a\)",
    ),
    "a group writes": (
        lambda top: made(top / "a", 0o775, gid=OTHER), r"group 4711 may write to .*\(chmod g-w",
    ),
    "a group writes above": (
        lambda top: made(made(top / "a", 0o770, gid=OTHER) / "b"), "group 4711 may write",
    ),
    "another's": (lambda top: made(top / "a", uid=OTHER), r"belongs to uid 4711.*\(chown root"),
    "another's above": (lambda top: made(made(top / "a", uid=OTHER) / "b"), "belongs to uid 4711"),
    "another's sticky one": (lambda top: made(top / "a", 0o1777, uid=OTHER), "belongs to uid 4711"),
    "another's in a sticky one": (
        lambda top: made(made(top / "a", 0o1777) / "b", uid=OTHER), "/a/b belongs to uid 4711",
    ),
    "another's link": (
        lambda top: linked(made(top / "a", 0o1777) / "l", made(top / "b"), uid=OTHER),
        "/a/l belongs to uid 4711",
    ),
    "a link to where everybody writes": (
        lambda top: linked(top / "l", made(made(top / "a", 0o777) / "b")), "every user may write",
    ),
    "a link by way of a link there": (
        lambda top: linked(top / "k", linked(made(top / "a", 0o777) / "l", made(top / "b"))),
        "every user may write",
    ),
    "a link through there and back": (
        lambda top: linked(top / "l", made(made(top / "a", 0o777) / "b") / ".." / ".." / "."),
        "every user may write",
    ),
    "a link to itself": (lambda top: linked(top / "l", "l"), "Too many levels"),
    "nothing": (lambda top: top / "nothing", "No such file"),
}  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize(("way", "why"), UNSAFE.values(), ids=UNSAFE)
def test_a_way_that_another_user_can_change(
    tmp_path: Path, way: Callable[[Path], Path], why: str
) -> None:
    """It is refused at whichever folder or link, with what mends it."""
    path = way(tmp_path) / "sock"
    with pytest.raises(ConfigError, match=f"cannot listen: .*{why}"):
        need_safe_folders(path, "listen")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_way_of_a_daemon_that_is_not_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own folders are as good as root's."""
    path = made(made(tmp_path / "a", uid=OTHER) / "b") / "sock"
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    need_safe_folders(path, "listen")


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "link to a fifo"])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """A FIFO without a writer would never open."""
    path = tmp_path / "file"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo") if "link" in kind else os.mkfifo(path)
    with pytest.raises(OSError, match=r"not a regular file|No such device"):
        open_regular(path)


def test_a_regular_file_is_opened(tmp_path: Path) -> None:
    """By whichever name."""
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"text"
