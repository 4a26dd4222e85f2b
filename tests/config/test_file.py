"""The configuration: its keys, its units, and sentences that name what to write instead."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from maxmemd.__main__ import main
from maxmemd.config import file
from maxmemd.config.file import load, parse
from maxmemd.config.parsers import PARSERS, RANGE_USER, Identity
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.policy.fights import FightRules
from maxmemd.units import Memory

WHOLE = """
socket = "/run/m.sock"
socket_group = "daemon"
database = "/var/lib/m.sqlite"
hypervisor = "simulated"
pusher = "/run/p.sock"
drift = "adopt"
drift_of = { "web-*" = "restore", "51A70000-0000-4000-8000-0000000000aa" = "alert" }
fight_writes = 3
fight_within_s = 20
fight_quiet_s = 90.5
poll_s = 1
keep_gone_s = 0.5
floor = "none"
slack = "2 MiB"
dom0_floor = "1 GiB"
owners = ["introspection", "vm-2.x_y"]
caps = { device-model = "64 MiB", introspection = "1 GiB" }
admins = ["uid 1001", "user root"]
toolstacks = ["gid 27", "uid 1002"]
observers = ["group root"]
default_role = "nobody"
device_model_base = "uid 300000"
device_model_socket = "/run/closed/m.sock"
rates = { observer = 0.5, admin = 5 }
connections = { toolstack = 2048 }
listen = "[::1]:8443"
tls_certificate = "/etc/maxmemd/tls.crt"
tls_key = "/etc/maxmemd/tls.key"
tls_clients = ""
hosts = ["dom0.example.org", "[::1]"]
"""


def test_every_key(tmp_path: Path) -> None:
    """Each key reads as its type; sizes and durations are values."""
    path = tmp_path / "m.toml"
    path.write_text(WHOLE, encoding="utf-8")
    found = load(path)
    assert found == Config(
        Path("/run/m.sock"),
        "daemon",
        Path("/var/lib/m.sqlite"),
        "simulated",
        Path("/run/p.sock"),
        "adopt",
        {"web-*": "restore", "51A70000-0000-4000-8000-0000000000aa": "alert"},
        3,
        20.0,
        90.5,
        1.0,
        0.5,
        "none",
        Memory.of_mib(2),
        Memory.of_mib(1024),
        ("introspection", "vm-2.x_y"),
        {"device-model": Memory.of_mib(64), "introspection": Memory.of_mib(1024)},
        (Identity("uid", 1001), Identity("uid", 0)),
        (Identity("gid", 27), Identity("uid", 1002)),
        (Identity("gid", 0),),
        "nobody",
        300_000,
        Path("/run/closed/m.sock"),
        {"observer": 0.5, "admin": 5.0},
        {"toolstack": 2048},
        "[::1]:8443",
        Path("/etc/maxmemd/tls.crt"),
        Path("/etc/maxmemd/tls.key"),
        None,
        ("dom0.example.org", "[::1]"),
    )
    assert found.tokens_path == Path("/var/lib/m.sqlite-tokens.json")
    roles = found.roles
    assert roles.users == {1001: "admin", 0: "admin", 1002: "toolstack"}
    assert roles.groups == {27: "toolstack", 0: "observer"}
    assert (roles.base, roles.default) == (300_000, "nobody")
    rules = found.rules
    assert (rules.floor, rules.slack, rules.dom0_floor) == (
        "none",
        Memory(kib=2048),
        found.dom0_floor,
    )
    assert found.fights == FightRules(3, 20.0, 90.5)
    uuid = "51a70000-0000-4000-8000-0000000000aa"
    modes = [found.drift_rules.find(uuid, "web-1")[0], found.drift_rules.find("", "web-1")[0]]
    assert [*modes, found.drift_rules.default] == ["alert", "restore", "adopt"]
    assert rules.caps == found.caps
    assert rules.owners == {"operator", "toolstack", "device-model", *found.owners}


@pytest.mark.parametrize(
    ("poll_s", "within_s", "quiet_s"), [(2.0, 60.0, 300.0), (6.0, 60.0, 300.0), (200.0, 2e3, 400.0)]
)
def test_rare_polls_can_still_see_a_fight(poll_s: float, within_s: float, quiet_s: float) -> None:
    """A poll sees one foreign write at most: a fight's time is never shorter than they take."""
    assert Config(poll_s=poll_s).fights == FightRules(5, within_s, quiet_s)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (
            'drift_of = { "a*" = "adopt", "*b" = "alert" }',
            r"'a\*': a name may match '\*b' as",
        ),
        ('drift_of = { "" = "adopt" }', "a key is a domain's UUID, its name, or a pattern"),
        ('drift_of = { web = "ignore" }', 'write one of "restore", "adopt", "alert"'),
        ('drift_of = "adopt"', "write a table, like"),
        ("fight_writes = 1", "write a whole number from 2 to 1000"),
        ("fight_writes = true", "write a whole number from 2 to 1000"),
        ("fight_quiet_s = 1", "write a number of seconds from 60 to 86400"),
    ],
)
def test_what_cannot_be_said_of_drift(line: str, why: str) -> None:
    """A key that means no domain, modes that contradict each other, numbers out of range."""
    text = f"# first\n{line}\n"
    with pytest.raises(ConfigError, match=why) as raised:
        parse(tomllib.loads(text), "m.toml", text)
    assert "m.toml:2: " in str(raised.value)


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a file the defaults hold; the default file is read where it exists."""
    path = tmp_path / "maxmemd.toml"
    monkeypatch.setattr(file, "DEFAULT_FILE", path)
    assert load(None) == Config() == parse({}, "")
    path.write_text('drift = "alert"', encoding="utf-8")
    assert load(None).drift == "alert"


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


@pytest.mark.parametrize(
    ("key", "value", "instead"),
    [
        ("socket", "m.sock", "write an absolute path"),
        ("socket", 5, "write an absolute path"),
        ("database", "", "write an absolute path"),
        ("socket_group", 5, "write text in quotes"),
        ("hypervisor", "kvm", 'write one of "auto", "xen", "simulated"'),
        ("drift", ["restore"], 'write one of "restore", "adopt", "alert"'),
        ("floor", None, 'write one of "target", "none"'),
        ("poll_s", "2", "write a number of seconds, like"),
        ("poll_s", True, "write a number of seconds, like"),
        ("poll_s", 0.05, "from 0.1 to 3600"),
        ("poll_s", 3601, "from 0.1 to 3600"),
        ("poll_s", float("nan"), "from 0.1 to 3600"),
        ("keep_gone_s", -1, "from 0 to 1e[+]10"),
        ("keep_gone_s", float("inf"), "from 0 to 1e[+]10"),
        ("slack", 1024, "write a size with its unit"),
        ("slack", "1024", "write a size with its unit"),
        ("slack", "1024KiB", "write a size with its unit"),
        ("slack", "1.5 MiB", "write a size with its unit"),
        ("slack", "-1 MiB", "write a size with its unit"),
        ("slack", "٣ MiB", "write a size with its unit"),
        ("slack", "1 TiB", "write a size with its unit"),
        ("dom0_floor", "4503599627370496 KiB", "cannot represent"),
        ("dom0_floor", f"{'9' * 5000} KiB", "Exceeds the limit"),
        ("owners", "introspection", "write a list, like"),
        ("owners", [5], "5: write a name of a-z, 0-9"),
        ("owners", [""], "'': write a name"),
        ("owners", ["ok", "Not"], "'Not': write a name of a-z, 0-9"),
        ("owners", ["a/b"], "'a/b': write a name"),
        ("owners", ["é"], "'é': write a name"),
        ("owners", ["a²"], "'a²': write a name"),
        ("caps", "1 GiB", "write a table, like { device-model ="),
        ("caps", {"device-model": 1024}, "write a size with its unit"),
        ("admins", "root", "write a list, like"),
        ("admins", ["root"], 'write "user NAME", "group NAME", "uid N", "gid N" or "cert'),
        ("admins", [0], 'write "user NAME"'),
        ("admins", ["user no-such-user-here"], "there is no user 'no-such-user-here': create it"),
        ("toolstacks", ["group no-such-group-here"], "there is no group"),
        ("observers", ["uid root"], "'root' is not a uid: write a number below"),
        ("observers", ["uid 4294967295"], "is not a uid: write a number below"),
        ("observers", ["gid 99999999999"], "is not a gid: write a number below"),
        ("observers", ["gid ٣"], "is not a gid: write a number below"),
        ("default_role", "admin", 'write one of "observer", "nobody"'),
        ("device_model_base", "uid 0", "it is never root"),
        ("device_model_base", "uid 1", "some are in use or invalid .below 1000, 65534"),
        ("device_model_base", "uid 999", "some are in use"),
        ("device_model_base", "uid 32783", 'write a free range, like "uid 131072"'),
        ("device_model_base", "uid 65534", "some are in use"),
        ("device_model_base", "uid 4294934544", "some are in use"),
        ("socket_group", "no-such-group-here", "there is no such group: create it"),
        ("device_model_base", "gid 300000", 'write "auto", "none", "user NAME" or "uid N"'),
        ("device_model_base", 300000, 'write "user NAME"'),
        ("rates", {"root": 5}, "'root' is not a role: the roles are admin, toolstack"),
        ("rates", {"observer": 0}, "write a number of requests a second from 0.1 to"),
        ("rates", [5], "write a table, like { observer = 50 }"),
        ("connections", {"observer": 0}, "write a whole number from 1 to 2048"),
        ("connections", {"observer": 2049}, "write a whole number from 1 to 2048"),
        ("connections", {"observer": True}, "write a whole number from 1 to 2048"),
        ("connections", {"observer": 1.5}, "write a whole number from 1 to 2048"),
        ("listen", "8443", 'write "ADDRESS:PORT" in numbers'),
        ("listen", "dom0.example.org:8443", 'write "ADDRESS:PORT" in numbers'),
        ("listen", "192.0.2.7:0", 'write "ADDRESS:PORT" in numbers'),
        ("listen", "192.0.2.7:65536", 'write "ADDRESS:PORT" in numbers'),
        ("listen", 8443, 'write "ADDRESS:PORT" in numbers'),
        ("tls_key", "tls.key", "write an absolute path"),
        ("hosts", "dom0", "write a list, like"),
        ("hosts", ["dom0:8443"], "without a port"),
        ("hosts", [5], "5: write a name or an address, without a port"),
        ("admins", ["cert "], 'write "user NAME"'),
    ],
    ids=range(68),
)
def test_values_that_are_refused(key: str, value: object, instead: str) -> None:
    """A value that cannot be used is refused by file, key, value, and what to write instead."""
    said = rf"cannot use m.toml: {key}(?: = |, entry |: )(?s:.*){instead}"
    with pytest.raises(ConfigError, match=said):
        parse({key: value}, "m.toml")


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("poll_s", 0.1, 0.1),
        ("poll_s", 3600, 3600.0),
        ("slack", "0 KiB", Memory(kib=0)),
        ("owners", [], ()),
        ("socket_group", "", ""),
        ("connections", {"admin": 1}, {"admin": 1}),
        (
            "admins",
            ["uid 4294967294", "user root"],
            (Identity("uid", 4294967294), Identity("uid", 0)),
        ),
        ("device_model_base", "none", None),
        ("device_model_base", "uid 1000", 1000),
        ("device_model_base", "uid 32782", 32782),
        ("device_model_base", "uid 65535", 65535),
        ("device_model_base", "uid 4294934543", 4294934543),
        ("socket_group", "root", "root"),
    ],
)
def test_values_at_their_edges(key: str, value: object, found: object) -> None:
    """The least and the largest values are taken."""
    assert getattr(parse({key: value}, "m.toml"), key) == found


def test_a_former_key_is_answered_with_its_name_of_today() -> None:
    """The closest key by letters is another one."""
    with pytest.raises(ConfigError, match="unknown key 'others': write default_role instead"):
        parse({"others": "nobody"}, "m.toml")


def test_every_key_has_a_parser() -> None:
    """No key of the configuration is without a parser, and no parser without a key."""
    assert set(PARSERS) == set(Config.__slots__)


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


def test_two_lists_may_name_one_number() -> None:
    """A uid is not the gid of the same number."""
    assert parse({"admins": ["uid 5"], "observers": ["gid 5"]}, "").roles.users == {5: "admin"}


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
def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner can write to it at any time; root's and the daemon's own are believed."""
    path = tmp_path / "m.toml"
    path.write_text("", encoding="utf-8")
    os.chown(path, 1000, -1)
    with pytest.raises(ConfigError, match="it belongs to uid 1000, neither root nor"):
        load(path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert load(path) == Config()


def test_the_range_of_device_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of Xen's user where there is one, and no other is guessed."""

    def user(name: str) -> SimpleNamespace:
        if name != RANGE_USER:
            raise KeyError(name)
        return SimpleNamespace(pw_uid=131072)

    monkeypatch.setattr("pwd.getpwnam", user)
    assert Config().device_model_base == parse({"device_model_base": "auto"}, "").roles.base
    assert Config().device_model_base == 131072
    monkeypatch.setattr("maxmemd.config.parsers.RANGE_USER", "no-such-user-here")
    assert Config().device_model_base is None


def test_check_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what is used, key by key; a refusal is one sentence and status 2."""
    shipped = Path(__file__).resolve().parents[2] / "deploy" / "maxmemd.toml"
    database = ["--database", str(tmp_path / "l")]
    assert main(["check-config", "--config", str(shipped), *database]) == 0
    told = capsys.readouterr().out
    assert all(f"{key} = " in told for key in Config.__slots__)
    (tmp_path / "m.toml").write_text("slack = 1024", encoding="utf-8")
    assert main(["check-config", "--config", str(tmp_path / "m.toml")]) == 2
    assert capsys.readouterr().err == (
        f"maxmemd: cannot use {tmp_path}/m.toml:1: slack = 1024: write a size with its unit, like"
        ' "1024 KiB" or "128 MiB"\n'
    )


def test_the_shipped_file_says_the_defaults() -> None:
    """Each key that it shows, with the comment sign taken away, is the default."""
    shipped = Path(__file__).resolve().parents[2] / "deploy" / "maxmemd.toml"
    text = re.sub(r"^#(\w+ = )", r"\1", shipped.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = parse(tomllib.loads(text), "m.toml", text)
    assert found == Config()
    assert set(tomllib.loads(text)) == set(Config.__slots__)


def test_the_page_on_the_configuration_says_the_defaults() -> None:
    """Each row of docs/configuration.md has the default as it is written; none is missing."""
    page = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
    rows = re.findall(r"(?m)^\| `(\w+)` \| `(.+?)` \|", page.read_text(encoding="utf-8"))
    text = "\n".join(f"{key} = {default}" for key, default in rows)
    assert parse(tomllib.loads(text), "page", text) == Config()
    assert [key for key, _ in rows] == list(Config.__slots__)


def test_a_key_below_a_table_is_told_where_it_belongs() -> None:
    """TOML takes whatever follows [rates] for an entry of it."""
    text = "[rates]\npoll_s = 5"
    with pytest.raises(ConfigError, match=r"m.toml:2: .*top-level key must come before the first"):
        parse(tomllib.loads(text), "m.toml", text)


def test_certificates_have_roles() -> None:
    """A subject is given a role as a uid is."""
    files = {"tls_certificate": "/c", "tls_key": "/k", "tls_clients": "/a"}
    found = parse({"listen": "127.0.0.1:1", **files, "toolstacks": ["cert CN=a b,O=c"]}, "")
    assert found.roles.subjects == {"CN=a b,O=c": "toolstack"}
    assert str(found.toolstacks[0]) == "cert CN=a b,O=c"


def test_a_database_that_no_file_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    """A directory as the database is a sentence, and no traceback."""
    assert main(["migrate", "--database", "/"]) == 2
    assert capsys.readouterr().err == "maxmemd: cannot use / as the database: name a file\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_migrates_as_the_ledgers_owner(tmp_path: Path) -> None:
    """What root makes beside the ledger belongs to the daemon's user, who has to write it."""
    os.chown(tmp_path, 12345, 12346)
    source = (
        "import os, sys, pathlib\n"
        "from maxmemd.ledger.lock import become_owner_of\n"
        "become_owner_of(pathlib.Path(sys.argv[1]))\n"
        "print(os.getresuid(), os.getresgid(), os.getgroups())\n"
    )
    command = [sys.executable, "-c", source, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "(12345, 12345, 12345) (12346, 12346, 12346) []\n"
    os.chown(tmp_path, 0, 0)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(0, 0, 0) (0, 0, 0)")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_checks_as_the_daemon_sees_it() -> None:
    """A file that only root may read cannot be used, nor a uid that would be the daemon's."""
    with TemporaryDirectory(prefix="maxmemd-config-") as folder:
        Path(folder).chmod(0o755)
        path, home = Path(folder, "m.toml"), Path(folder, "home")
        home.mkdir()
        os.chown(home, 12345, 12346)
        path.write_text(f'database = "{home}/l.sqlite"\n', encoding="utf-8")
        command = [sys.executable, "-m", "maxmemd", "check-config", "--config", str(path)]

        plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

        def checked() -> tuple[int, str]:
            done = subprocess.run(  # coverage could not write as that user
                command, env=plain, capture_output=True, text=True, check=False
            )
            return done.returncode, done.stderr

        assert checked() == (0, "")
        path.chmod(0o600)
        status, said = checked()
        assert (status, "Permission denied" in said) == (2, True)
        path.chmod(0o644)
        with path.open("a", encoding="utf-8") as file:
            file.write('device_model_base = "uid 12000"\n')
        status, said = checked()
        assert (status, "m.toml:2: device_model_base: the daemon's own uid, 12345" in said) == (
            2, True,
        )  # fmt: skip


def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    """`maxmemd check-config | true` prints no traceback, as programs in a pipe do not."""
    path = tmp_path / "m.toml"
    path.write_text(f'database = "{tmp_path}/ledger.sqlite"\n', encoding="utf-8")
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "maxmemd", "check-config", "--config", str(path)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
