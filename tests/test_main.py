"""The command `maxmemd`: check-config and migrate, as root and as the ledger's owner."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from maxmemd.__main__ import main
from maxmemd.config.settings import Config
from tests.ledger.lines import AT_NS, entry, opened


def test_check_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what is used, key by key; a refusal is one sentence and status 2."""
    shipped = Path(__file__).resolve().parents[1] / "deploy" / "maxmemd.toml"
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


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says up to which entry all is whole, and from where that is proved, or what is damaged."""
    database = tmp_path / "l.sqlite"
    ledger = opened(database)
    ledger.commit(AT_NS, [entry(1), entry(2)])
    ledger.close()
    assert main(["verify", "--database", str(database)]) == 0
    assert capsys.readouterr().out == (
        f"{database}: all entries up to 2 are as they were written,"
        " proved from its first entry on\n"
    )
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE history SET wish = 'x' WHERE seq = 1")
        connection.commit()
    assert main(["verify", "--database", str(database)]) == 1
    assert "entry 1 is not as it was written" in capsys.readouterr().err


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
