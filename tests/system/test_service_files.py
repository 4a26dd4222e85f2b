"""Every file of the service is its user's alone, whichever command created it, run by whom."""

import json
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maxmemd.ledger.migrate import HEAD, migrate
from tests.support.http import UnixConnection
from tests.support.outside import open_folder
from tests.support.process import ROOT
from tests.support.until import until

SERVICE, OTHER = 12345, 23456
"""Coverage could not write its file as another user, and would say so on stderr."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def home() -> Iterator[Path]:
    """Give a folder of the service's user, below folders that every user may enter."""
    with open_folder() as above:
        folder = above / "home"
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(folder, SERVICE, SERVICE)
        yield folder


def words(uid: int, verb: str, home: Path, *more: str) -> list[str]:
    """Return a command of maxmemd, as a user, on the ledger there, of a simulated host."""
    options = ["--hypervisor", "simulated", "--database", str(home / "l.sqlite")]
    program = [sys.executable, "-m", "tests.support.as_uid", str(uid)]
    return [*program, verb, *options, *more]


def run(uid: int, verb: str, home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end as a user."""
    return subprocess.run(
        words(uid, verb, home, *more), cwd=ROOT, check=False, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip


def serve(uid: int, home: Path) -> None:
    """Serve as a user; create a token and revoke another; look at the files; stop."""
    where = home.parent / f"run-{uid}"
    where.mkdir(mode=0o755, exist_ok=True)
    os.chown(where, uid, uid)
    process = subprocess.Popen(
        words(uid, "serve", home, "--socket", str(where / "s")), cwd=ROOT,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:

        def is_up() -> bool:
            with socket.socket(socket.AF_UNIX) as probe:
                listens = probe.connect_ex(str(where / "s")) == 0
            return listens or process.poll() is not None

        until("it listens", is_up)
        assert process.poll() is None, process.communicate()[1]
        connection = UnixConnection(where / "s")
        connection.ask("DELETE", f"/v1/tokens/of-{uid}")  # of a daemon before
        for name in (f"of-{uid}", f"gone-{uid}"):
            body = {"name": name, "role": "observer"}
            assert connection.ask("POST", "/v1/tokens", body)[0] == 200
        assert connection.ask("DELETE", f"/v1/tokens/gone-{uid}")[0] == 200
        assert connection.ask("PUT", "/v1/domains/1/limit", {"max_mem_kib": 700 * 1024})[0] == 200
        connection.close()
        assert_private(home)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def owners(home: Path) -> dict[str, tuple[int, int, int]]:
    """Return each file's uid, gid and mode."""
    found = {path.name: path.stat() for path in home.iterdir()}
    return {name: (one.st_uid, one.st_gid, one.st_mode & 0o777) for name, one in found.items()}


def assert_private(home: Path) -> None:
    """Check that each file is the folder's owner's, and no other user's to read."""
    found = owners(home)
    assert found
    folder = home.stat()
    assert set(found.values()) == {(folder.st_uid, folder.st_gid, 0o600)}, found


COMMANDS: dict[str, Callable[[int, Path], object]] = {
    "serve": serve,
    "migrate": lambda uid, home: run(uid, "migrate", home).check_returncode(),
    "check-config": lambda uid, home: run(uid, "check-config", home).check_returncode(),
    "backup": lambda uid, home: (
        run(uid, "migrate", home).check_returncode(),
        run(uid, "backup", home, str(home / "copy")).check_returncode(),
    ),
}


@as_root
@pytest.mark.parametrize("by", [0, SERVICE])
@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_creates_is_the_services(home: Path, command: str, by: int) -> None:
    """The service opens all of it afterwards, writes to it and creates tokens."""
    COMMANDS[command](by, home)
    if command != "check-config":
        assert_private(home)
    serve(SERVICE, home)
    tokens = json.loads((home / "l.sqlite-tokens.json").read_text())["tokens"]
    assert {f"of-{SERVICE}"} <= {one["name"] for one in tokens}


@as_root
def test_root_serves_the_services_tokens(home: Path) -> None:
    """By hand or by systemd: the tokens are the same."""
    serve(SERVICE, home)
    serve(0, home)
    tokens = json.loads((home / "l.sqlite-tokens.json").read_text())["tokens"]
    assert {one["name"] for one in tokens} == {f"of-{SERVICE}", "of-0"}


@as_root
def test_what_root_had_created_is_given_to_the_service(home: Path) -> None:
    """A former maxmemd that root had started left files that the service could not open."""
    COMMANDS["migrate"](SERVICE, home)
    for path in home.iterdir():
        os.chown(path, 0, 0)
    serve(0, home)
    assert run(SERVICE, "migrate", home).returncode == 0


@as_root
@pytest.mark.parametrize("name", ["l.sqlite", "l.sqlite.lock", "l.sqlite-tokens.json"])
def test_a_file_of_roots_is_named_with_what_to_do(home: Path, name: str) -> None:
    """Who owns it, and the command; a file is never to be removed."""
    serve(SERVICE, home)
    os.chown(home / name, 0, 0)
    done = run(SERVICE, "serve", home, "--socket", str(home.parent / "run-12345" / "s"))
    assert done.returncode in (1, 2)
    assert f"{home / name} belongs to root: chown {SERVICE} {home / name}" in done.stderr
    assert "remove" not in done.stderr
    assert "Traceback" not in done.stderr


@as_root
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_gives_away_no_file_of_roots(home: Path, link: Callable[..., None]) -> None:
    """The service's user may write to its folder, and must not get what root owns elsewhere."""
    secret = home.parent / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    link(secret, home / "l.sqlite.lock")
    run(0, "migrate", home)
    serve(0, home) if run(SERVICE, "migrate", home).returncode == 0 else None
    assert (secret.stat().st_uid, secret.read_text()) == (0, "root's")


@as_root
@pytest.mark.parametrize("verb", ["migrate", "backup"])
def test_another_user_can_do_nothing(home: Path, verb: str) -> None:
    """A sentence, and the files are as they were."""
    COMMANDS["migrate"](SERVICE, home)
    before = owners(home)
    more = ["/tmp/never"] if verb == "backup" else []
    done = run(OTHER, verb, home, *more)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("maxmemd: cannot ")
    assert owners(home) == before
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize(
    ("verb", "more", "what"),
    [
        ("serve", ["--socket", "{}/s"], "listen on {}/s: {} is not there"),
        ("serve", ["--database", "{}/l"], "use {}/l as the database: {} is not there"),
        ("serve", ["--config", "{}/m.toml"], "read {}/m.toml: "),
        ("migrate", ["--database", "{}/l"], "use {}/l as the database: {} is not there"),
        ("backup", ["{}/copy"], " up to {}/copy: {} is not there"),
        ("check-config", ["--config", "{}/m.toml"], "read {}/m.toml: "),
    ],
)
@pytest.mark.parametrize("where", ["nonexistent", "nonexistent/deep"])
def test_a_typing_error_makes_no_folder(
    tmp_path: Path, where: str, verb: str, more: list[str], what: str
) -> None:
    """Whichever path it is in, and whoever asks."""
    migrate(tmp_path / "l.sqlite")
    before = sorted(tmp_path.iterdir())
    missing = tmp_path / where
    given = [word.format(missing) for word in more]
    own = [] if "--socket" in given or verb != "serve" else ["--socket", str(tmp_path / "s")]
    done = run(os.geteuid(), verb, tmp_path, *own, *given)
    assert done.returncode in (1, 2)
    assert what.format(*[missing] * what.count("{}")) in done.stderr
    assert [path for path in sorted(tmp_path.iterdir()) if path.suffix != ".lock"] == before


def test_a_socket_for_device_models_makes_no_folder(tmp_path: Path) -> None:
    """Nor does a path in the configuration."""
    file = tmp_path / "m.toml"
    file.write_text(f'device_model_socket = "{tmp_path}/nonexistent/s"\n')
    own = ["--socket", str(tmp_path / "s")]
    done = run(os.geteuid(), "serve", tmp_path, "--config", str(file), *own)
    assert done.returncode == 2
    assert f"{tmp_path}/nonexistent is not there (make the folder" in done.stderr


def test_a_backup_is_whole_and_private(tmp_path: Path) -> None:
    """Whatever the umask; a second one to the same file is refused, and the first stays."""
    migrate(tmp_path / "l.sqlite")
    before = os.umask(0)
    try:
        done = run(os.geteuid(), "backup", tmp_path, str(tmp_path / "copy"))
    finally:
        os.umask(before)
    assert (done.returncode, done.stderr) == (0, "")
    copy = tmp_path / "copy"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert migrate(copy) == f"{copy} is at revision {HEAD} already"
    kept = copy.read_bytes()
    done = run(os.geteuid(), "backup", tmp_path, str(copy))
    assert (done.returncode, copy.read_bytes()) == (1, kept)
    assert "there is such a file (name a new one)" in done.stderr


def test_the_services_user_is_named(tmp_path: Path) -> None:
    """The package's sysusers file has the user that the state's folder is made for."""
    conf = (ROOT / "deploy" / "systemd" / "sysusers.conf").read_text()
    assert any(line.split()[1:2] == ["maxmemd"] for line in conf.splitlines() if line)
    assert pwd.getpwuid(os.geteuid()).pw_name
