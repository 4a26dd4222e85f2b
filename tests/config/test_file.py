"""The configuration: its keys, its units, and sentences that name what to write instead."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from maxmemd.__main__ import main
from maxmemd.config.file import ConfigFile, load, parse
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError


@pytest.mark.parametrize(
    "written", [b"drift = ", b"\xff", None], ids=["no-toml", "no-text", "no-file"]
)
def test_a_file_that_cannot_be_read(tmp_path: Path, written: bytes | None) -> None:
    """A file that is named must be there and be TOML."""
    path = tmp_path / "m.toml"
    if written is not None:
        path.write_bytes(written)
    with pytest.raises(ConfigError, match=f"cannot read {path}: "):
        load(path)


def test_an_unknown_key() -> None:
    """A key that does not exist is refused, with the one that was meant, and those that exist."""
    for key, meant in (
        ("drfit", ": write drift instead"),
        ("Poll_s", ": write poll_s"),
        ("qq", ""),
    ):
        with pytest.raises(ConfigError, match=f"unknown key '{key}'{meant}.*the keys are admins, "):
            parse({key: "adopt"}, "m.toml")


def test_a_former_key_is_answered_with_its_name_of_today() -> None:
    """The closest key by letters is another one."""
    with pytest.raises(ConfigError, match="unknown key 'others': write default_role instead"):
        parse({"others": "nobody"}, "m.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n# poll_s = 2\npoll_s = true", 3),
        ('drift = "adopt"\n  "poll_s" = "2"', 2),
        ('\ndrfit = "adopt"', 2),
        ("[rates]\nobserver = 0", 2),
        ("rates = { toolstack = 5 }\n[caps]\n\n'device-model' = '1 GB'", 4),
        ("\nrates.observer = 5\nrates.nobody = 5", 3),
        ("[rates]\nobserver = 5\npoll_s = 5", 3),
        ("caps = 5\nowners = []", 1),
        ('admins = [\n  "user root",\n  "usr bob",\n]\nobservers = ["usr bob"]', 1),
        ("\nowners = [\n  'a',\n  'B',\n]", 2),
        ('"admins" = ["uid 1", "usr bob"]\nobservers = [\n"usr bob"]', 1),
        ('owners = [\n  "poll_s"]\npoll_s = 0', 3),
    ],
)
def test_the_line_is_named(tmp_path: Path, text: str, line: int) -> None:
    """A key or value that cannot be used is named with its line; so is what is no TOML."""
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"cannot use {path}:{line}: "):
        load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            'admins = [\n"user root", "usr bob"]',
            "m.toml:1: admins, entry 2: 'usr bob': write \"user",
        ),
        ("hosts = ['a', 'b', 5]", "m.toml:1: hosts, entry 3: 5: write a name or an address"),
        ("[rates]\nobserver = 0", "m.toml:2: rates: observer = 0: write a number of requests"),
    ],
)
def test_an_entry_is_named_and_quoted(tmp_path: Path, text: str, said: str) -> None:
    """The message says which entry of a list or a table is meant, and what it is."""
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(said)):
        load(path)


def test_text_that_is_not_toml_is_named_with_its_line(tmp_path: Path) -> None:
    """The parser's own message has the line."""
    path = tmp_path / "m.toml"
    path.write_text("\n\ndrift = adopt", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"cannot read {path}: .*line 3"):
        load(path)


@pytest.mark.parametrize(
    ("mode", "gid", "said"),
    [
        (0o666, None, "every user can write to it [(]chmod o-w"),
        (0o602, None, "every user can write to it"),
        (0o660, 12345, "group 12345 can write to it [(]chmod g-w"),
    ],
)
def test_a_file_that_others_can_write(
    tmp_path: Path, mode: int, gid: int | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file says who may do what: one that others could have written is not believed."""
    path = tmp_path / "m.toml"
    path.write_text("", encoding="utf-8")
    path.chmod(mode)
    if gid is not None:
        if os.geteuid() != 0:
            pytest.skip("only root can give a file away")
        os.chown(path, -1, gid)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(ConfigError, match=f"cannot trust {name}: {said}"):
            load(name)
        assert main(["check-config", "--config", str(name)]) == 2
    path.chmod(0o644)
    assert load(link) == Config()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_group_of_the_daemon_is_no_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The unit gives the daemon the socket's group: its members may connect, not make roles."""
    path = tmp_path / "m.toml"
    path.write_text("", encoding="utf-8")
    path.chmod(0o660)
    os.chown(path, -1, 12345)
    monkeypatch.setattr("os.getegid", lambda: 12345)
    with pytest.raises(ConfigError, match="group 12345 can write to it"):
        load(path)
    os.chown(path, -1, 0)
    assert load(path) == Config()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can write to it at any time; root's and the daemon's own are believed."""
    path = tmp_path / "m.toml"
    path.write_text("", encoding="utf-8")
    os.chown(path, 1000, -1)
    with pytest.raises(ConfigError, match="it belongs to uid 1000, neither root nor"):
        load(path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert load(path) == Config()


def test_a_key_below_a_table_is_told_where_it_belongs() -> None:
    """TOML takes whatever follows [rates] for an entry of it."""
    text = "[rates]\npoll_s = 5"
    with pytest.raises(ConfigError, match=r"m.toml:2: .*top-level key must come before the first"):
        parse(tomllib.loads(text), "m.toml", text)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    """A FIFO is not waited for, and a file without an end is not read to it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", 2**40)
    for name, why in (("fifo", "it is not a regular file"), ("huge", "it has more than 1048576")):
        with pytest.raises(ConfigError, match=f"cannot read {tmp_path / name}: .*{why}"):
            load(tmp_path / name)


def test_a_message_is_about_the_text_that_was_read(tmp_path: Path) -> None:
    """The file may be another one by then: it is read once."""
    path = tmp_path / "m.toml"
    path.write_text("\n\nlisten = ''\n", encoding="utf-8")
    file = ConfigFile(path)
    file.read()
    path.unlink()
    assert file.location_of("listen") == f"{path}:3"
    assert file.config({"hypervisor": "simulated"}).hypervisor == "simulated"
