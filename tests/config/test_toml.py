"""check-config prints TOML, and the same configuration is read from it."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from maxmemd.config.file import parse
from maxmemd.config.parsers import PARSERS
from maxmemd.config.settings import Config
from maxmemd.config.toml import to_toml

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
_PATH = _TEXT.map(lambda text: f"/{text}")
_SIZE = st.integers(0, 2**50).map(lambda kib: f"{kib} KiB")
_PEOPLE = st.lists(st.integers(1, 900).map(lambda uid: f"uid {uid}"), unique=True, max_size=3)
_MODE = st.sampled_from(["restore", "adopt", "alert"])
_ROLE = st.sampled_from(["admin", "toolstack", "device-model", "observer"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "socket": _PATH.map(lambda path: f"/a{path}"), "socket_group": st.sampled_from(["", "root"]),
    "database": _PATH.map(lambda path: f"/b{path}"), "pusher": _PATH.map(lambda path: f"/c{path}"),
    "hypervisor": st.sampled_from(["auto", "xen", "simulated"]),
    "drift": _MODE, "drift_of": st.dictionaries(st.text(min_size=1, max_size=9), _MODE, max_size=1),
    "fight_writes": st.integers(2, 1000), "fight_within_s": st.floats(1, 86400),
    "fight_quiet_s": st.floats(60, 86400), "poll_s": st.floats(0.1, 3600),
    "by_name": st.lists(st.sampled_from(["web", "ci-*", 'a "b" [1]', "\N{SNOWMAN}"]), max_size=3),
    "keep_gone_s": st.floats(0, 1e10), "keep_gone_records": st.integers(1, 100_000),
    "keep_gone_per_client": st.integers(1, 100_000), "history_keep_days": st.integers(1, 36_500),
    "history_keep_entries": st.integers(1000, 10**9), "floor": st.sampled_from(["target", "none"]),
    "slack": st.just("64 KiB"), "dom0_floor": _SIZE,
    "owners": st.lists(st.from_regex(r"[a-z0-9._-]+", fullmatch=True), max_size=3),
    "caps": st.dictionaries(st.sampled_from(["operator", "device-model"]), _SIZE),
    "admins": _PEOPLE, "default_role": st.sampled_from(["observer", "nobody"]),
    "toolstacks": st.just(["gid 7"]), "observers": st.just(["uid 950", "gid 8"]),
    "device_model_base": st.sampled_from(["none", "uid 131072"]),
    "device_model_socket": st.one_of(st.sampled_from(["auto", "none"]), st.just("/d/e/f")),
    "rates": st.dictionaries(_ROLE, st.floats(0.1, 1e6)),
    "connections": st.dictionaries(_ROLE, st.integers(1, 2048)),
    "listen": st.just("127.0.0.1:8443"), "tls_certificate": _PATH, "tls_key": _PATH,
    "tls_clients": _PATH, "hosts": st.lists(st.just("dom0.example.org"), max_size=2),
}  # fmt: skip


def test_every_key_is_tried() -> None:
    """A new key has values here."""
    assert VALUES.keys() == PARSERS.keys() == set(Config.__slots__)


@given(st.fixed_dictionaries(VALUES))
def test_what_is_printed_can_be_pasted_back(values: dict[str, Any]) -> None:
    """The printed text is TOML, of every key, and means the same configuration."""
    config = parse(values, "here")
    found = tomllib.loads(to_toml(config))
    assert list(found) == list(Config.__slots__)
    assert parse(found, "there") == config


def test_the_defaults_can_be_pasted_back(tmp_path: Path) -> None:
    """What check-config prints without a file is a file that check-config prints the same of."""
    first = _check(tmp_path)
    (tmp_path / "again.toml").write_text(first)
    assert _check(tmp_path, "again.toml") == first


def _check(place: Path, name: str = "") -> str:
    file = place / (name or "empty.toml")
    if not name:
        file.write_text("")
    command = [sys.executable, "-m", "maxmemd", "check-config", "--config", str(file)]
    command += ["--database", str(place / "ledger.sqlite")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
