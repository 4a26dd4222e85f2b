"""Keys and their values: each type, its edges, and what is refused with what to write instead."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from maxmemd.config.file import load, parse
from maxmemd.config.identities import Identity
from maxmemd.config.parsers import PARSERS, RANGE_USER
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
keep_gone_records = 50
keep_gone_per_client = 20
history_keep_days = 30
history_keep_entries = 1000
by_name = ["web", "ci-*", "a b/[1]"]
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
        50,
        20,
        30,
        1000,
        ("web", "ci-*", "a b/[1]"),
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
        ("by_name", "web", "write a list, like"),
        ("by_name", ["web", 5], "5: write a name of a domain, or a pattern"),
        ("by_name", [""], "'': write a name of a domain"),
        ("by_name", ["a\nb"], "write a name of a domain"),
        ("by_name", ["x" * 4097], "1 to 4096 characters"),
        ("slack", 1024, "write a size with its unit"),
        ("slack", "1024", "write a size with its unit"),
        ("slack", "1024KiB", "write a size with its unit"),
        ("slack", "1.5 MiB", "write a size with its unit"),
        ("slack", "-1 MiB", "write a size with its unit"),
        ("slack", "٣ MiB", "write a size with its unit"),
        ("slack", "1 TiB", "write a size with its unit"),
        ("dom0_floor", "4503599627370496 KiB", "it is too large, the most is 4503599627370495 KiB"),
        ("dom0_floor", f"{'9' * 5000} KiB", "it is too large, the most is 4503599627370495 KiB"),
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
    ids=range(73),
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


def test_every_key_has_a_parser() -> None:
    """No key of the configuration is without a parser, and no parser without a key."""
    assert set(PARSERS) == set(Config.__slots__)


def test_two_lists_may_name_one_number() -> None:
    """A uid is not the gid of the same number."""
    assert parse({"admins": ["uid 5"], "observers": ["gid 5"]}, "").roles.users == {5: "admin"}


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


def test_certificates_have_roles() -> None:
    """A subject is given a role as a uid is."""
    files = {"tls_certificate": "/c", "tls_key": "/k", "tls_clients": "/a"}
    found = parse({"listen": "127.0.0.1:1", **files, "toolstacks": ["cert CN=a b,O=c"]}, "")
    assert found.roles.subjects == {"CN=a b,O=c": "toolstack"}
    assert str(found.toolstacks[0]) == "cert CN=a b,O=c"
