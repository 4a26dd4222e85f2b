"""Settings that are valid alone but not in combination."""

import re
from pathlib import Path

import pytest

from maxmemd.__main__ import main
from maxmemd.config.file import load, parse
from maxmemd.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "line", "instead"),
    [
        ('admins = ["uid 5"]\n\nobservers = ["uid 5"]', 3, "uid 5 is in admins already"),
        ('observers = ["uid 5", "uid 5"]', 1, "uid 5 is in observers already"),
        ('toolstacks = ["user root"]', 1, "root is always admin: remove it here"),
        (
            'device_model_base = "uid 9000"\nadmins = ["uid 9005"]',
            2,
            "uid 9005 is in the device models' range",
        ),
        ('\ncaps = { bios = "1 MiB" }', 2, "'bios' is not an owner: add it to owners"),
        ('caps = { toolstack = "1 KiB" }', 1, "write 1024 KiB or more, or a lower slack"),
        ('listen = "0.0.0.0:1"\ntls_key = "/k"', 1, "TCP needs TLS: write tls_certificate as well"),
        ('\ntls_key = "/k"', 2, "nothing is served over TCP: write listen as well"),
        ('hosts = ["a"]', 1, "nothing is served over TCP: write listen as well"),
        ('observers = ["cert CN=a"]', 1, "cert CN=a: clients' certificates are not checked"),
        ('socket = "/a"\ndatabase = "/a"', 1, "/a is the database: write another path"),
        ('database = "/a"\nsocket = "/a-wal"', 2, "a file that belongs to the database"),
        ('database = "/a"\nsocket = "/a-tokens.json"', 2, "a file that belongs to the database"),
        ('pusher = "/a/s"\nsocket = "/a/s"', 1, "/a/s is what socket says: write another path"),
        ('database = "/a"\npusher = "/a-shm"', 2, "a file that belongs to the database"),
        ('database = "/b/a"\ndevice_model_socket = "/b/a"', 2, "/b/a is the database"),
        ('database = "/b/a"\ndevice_model_socket = "/b/a-wal"', 2, "belongs to the database"),
        ('pusher = "/b/a"\ndevice_model_socket = "/b/a"', 2, "/b/a is what pusher says"),
        ('pusher = "/b/a"\ndevice_model_socket = "/b/c"', 2, "and the pusher's socket is in it"),
        ('socket = "/b/a"\ndevice_model_socket = "/b/c"', 2, "and the API's socket is in it"),
        ('observers = [\n  "uid 7",\n  "uid 0",\n]', 1, "observers, entry 2: root is always admin"),
        ('\nobservers = [\n  "user root",\n]', 2, "observers, entry 1: root is always admin"),
        ('admins = ["uid 7", "uid 8", "uid 7"]', 1, "admins, entry 3: uid 7 is in admins already"),
        (
            'observers = [\n  "user root",\n]\nadmins = [\n  "uid 0",\n]',
            1,
            "uid 0 is in admins already",
        ),
        ('[caps]\noperator = "1 MiB"\nbios = "1 MiB"', 3, "'bios' is not an owner"),
        (
            'slack = "2 MiB"\ncaps = { toolstack = "1 MiB" }',
            2,
            "write 2048 KiB or more, or a lower",
        ),
    ],
)
def test_contradictions(tmp_path: Path, text: str, line: int, instead: str) -> None:
    """What each for itself could be used, and together cannot, is refused by file and line."""
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"cannot use {path}:{line}: .*{re.escape(instead)}"):
        load(path)


def test_the_daemon_is_no_device_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device model that had the daemon's uid would be admin, and its master."""
    monkeypatch.setattr("os.geteuid", lambda: 300_007)
    with pytest.raises(ConfigError, match="device_model_base: the daemon's own uid, 300007"):
        parse({"device_model_base": "uid 300000"}, "m.toml")
    parse({"device_model_base": "uid 300008"}, "m.toml")


def test_tls_files_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """check-config says what is not there, before a restart does."""
    path = tmp_path / "m.toml"
    (tmp_path / "crt").write_text("")
    text = f'listen = "127.0.0.1:1"\ntls_certificate = "{tmp_path}/crt"\ntls_key = "/no/key"\n'
    path.write_text(text, encoding="utf-8")
    asked = ["check-config", "--config", str(path), "--database", str(tmp_path / "l")]
    assert main(asked) == 2
    said = "cannot use tls_key /no/key: No such file or directory: write a file that the daemon"
    assert f"maxmemd: {said} may read ({path}:3)\n" == capsys.readouterr().err
