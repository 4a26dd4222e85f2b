"""Tokens: only hashes are kept, durably; a file that others could read or write is not believed."""

import json
import os
from pathlib import Path

import pytest

from maxmemd.api.auth.token_store import MOST, PREFIX, TokenStore
from maxmemd.errors import ConfigError, TokensError

ACTOR = '{"name":"root"}'


def created(tokens: TokenStore, name: str, role: str = "observer") -> str:
    """Create a token that can be."""
    secret = tokens.create(name, role, ACTOR, 7)
    assert secret is not None
    return secret


def test_a_life(tmp_path: Path) -> None:
    """Created, found, kept over a restart, revoked, not found."""
    path = tmp_path / "tokens.json"
    tokens = TokenStore(path)
    one, two = created(tokens, "b", "admin"), created(tokens, "a")
    assert one.startswith(PREFIX)
    assert len(one) >= 47
    assert one != two
    for known in (tokens, TokenStore(path)):
        assert [token.name for token in known.all()] == ["a", "b"]
        found = known.find(one)
        assert found is not None
        assert (found.name, found.role, found.created_ns, found.actor) == ("b", "admin", 7, ACTOR)
        assert known.find(one + "x") is known.find("") is known.find(found.sha256) is None
    assert one not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert tokens.revoke("b")
    assert not tokens.revoke("b")
    assert tokens.find(one) is TokenStore(path).find(one) is None
    assert tokens.find(two) is not None


def test_a_change_is_on_the_disk_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before it gets its name, and the folder after: the name survives too."""
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        done.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    def renamed(source: Path, target: Path) -> None:
        replace(source, target)
        done.append(f"rename to {Path(target).name}")

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", renamed)
    tokens = TokenStore(tmp_path / "t")
    durably = ["sync t.new", "rename to t", f"sync {tmp_path.name}"]
    created(tokens, "a")
    assert done == durably
    assert tokens.revoke("a")
    assert done == [*durably, *durably]


def test_a_name_is_used_once(tmp_path: Path) -> None:
    """Another token of a name is not made while there is one."""
    tokens = TokenStore(tmp_path / "t")
    first = created(tokens, "a")
    assert tokens.create("a", "admin", ACTOR, 8) is None
    assert tokens.find(first) is not None
    assert tokens.revoke("a")
    created(tokens, "a")


def test_a_token_that_expires(tmp_path: Path) -> None:
    """It is found until its time and refused from it on, after a restart too; others never are."""
    path = tmp_path / "t"
    tokens = TokenStore(path)
    soon = tokens.create("soon", "observer", ACTOR, 7, expires_ns=100)
    assert soon is not None
    ever = created(tokens, "ever")
    for known in (tokens, TokenStore(path)):
        found = [known.find(secret) for secret in (soon, ever)]
        assert [one and one.expires_ns for one in found] == [100, None]
        for now_ns, expired in ((99, False), (100, True), (10**30, True)):
            assert [one and one.has_expired(now_ns) for one in found] == [expired, False]
    assert ["expires_ns" in one for one in json.loads(path.read_text())["tokens"]] == [True, False]


def test_an_expired_token_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name can be taken again once it has expired, and it counts for nothing; not before."""
    monkeypatch.setattr("maxmemd.api.auth.token_store.MOST", 2)
    tokens = TokenStore(tmp_path / "t")
    old = tokens.create("a", "observer", ACTOR, 7, expires_ns=100)
    assert tokens.create("a", "admin", ACTOR, 99) is None
    again = tokens.create("a", "admin", ACTOR, 100)
    assert again is not None
    assert tokens.create("b", "admin", ACTOR, 100) is not None
    assert tokens.find(str(old)) is None
    assert [token.name for token in TokenStore(tmp_path / "t").all()] == ["a", "b"]


def test_a_time_that_is_none(tmp_path: Path) -> None:
    """A file that says something else than a time is not guessed about."""
    path = tmp_path / "t"
    created(TokenStore(path), "a")
    found = json.loads(path.read_text())
    found["tokens"][0]["expires_ns"] = "soon"
    path.write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="a expires at 'soon'"):
        TokenStore(path)


def test_so_many_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file stays small."""
    monkeypatch.setattr("maxmemd.api.auth.token_store.MOST", 2)
    tokens = TokenStore(tmp_path / "t")
    created(tokens, "a")
    created(tokens, "b")
    with pytest.raises(TokensError, match="cannot keep more than 2 tokens"):
        tokens.create("c", "observer", ACTOR, 8)
    assert MOST == 1000


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written durably is not believed, and the file stays as it was."""
    path = tmp_path / "t"
    tokens = TokenStore(path)
    kept = created(tokens, "a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(TokensError, match=f"cannot write {path}: No space left"):
            tokens.create("b", "observer", ACTOR, 8)
        with pytest.raises(TokensError):
            tokens.revoke("a")
    for known in (tokens, TokenStore(path)):
        assert [token.name for token in known.all()] == ["a"]
        assert known.find(kept) is not None
    created(tokens, "b")


def test_a_link_in_its_place(tmp_path: Path) -> None:
    """The new file is never written through a link that another user put there."""
    (tmp_path / "t.new").symlink_to(tmp_path / "precious")
    created(TokenStore(tmp_path / "t"), "a")
    assert not (tmp_path / "precious").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_use(tmp_path: Path, mode: int) -> None:
    """A user who can write to it could have made tokens; a user who can read it must not."""
    path = tmp_path / "t"
    created(TokenStore(path), "a")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"cannot trust {path}: its mode is {mode:04o} \(chmod"):
        TokenStore(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Its owner could have written it."""
    path = tmp_path / "t"
    created(TokenStore(path), "a")
    os.chown(path, 1000, -1)
    with pytest.raises(ConfigError, match="it belongs to uid 1000"):
        TokenStore(path)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"tokens": [{}]}', '{"tokens": [5]}', '{"tokens": null}', "\udcff"]
)
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    """A file that is not what we wrote stops the start, with what to do."""
    path = tmp_path / "t"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"cannot read {path}: .* create the tokens again"):
        TokenStore(path)


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    """It stops the start as well."""
    os.mkfifo(tmp_path / "t", 0o600)
    with pytest.raises(ConfigError, match="it is not a regular file"):
        TokenStore(tmp_path / "t")


def test_a_role_that_is_none(tmp_path: Path) -> None:
    """A role that a later version may know is not guessed about."""
    path = tmp_path / "t"
    created(TokenStore(path), "a")
    found = json.loads(path.read_text())
    found["tokens"][0]["role"] = "device-model"
    path.write_text(json.dumps(found))
    with pytest.raises(ConfigError, match="a has the role 'device-model'"):
        TokenStore(path)
