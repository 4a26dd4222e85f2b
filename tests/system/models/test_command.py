"""`python -m models.races`, as it is typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.races.check import PROPERTIES
from models.races.main import main
from models.races.models import MODELS
from tests.system.models.expected import EXPECTED

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = [sys.executable, "-m", "models.races", "--model", "parts", "--actors", "2"]


def test_one_table_and_a_history_for_each_broken_model(capsys: pytest.CaptureFixture[str]) -> None:
    """The table comes first, then one history in words for every model but the arbiter."""
    assert main(["--actors", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "model"
    for model, line in zip(MODELS, lines[1:], strict=False):
        assert line.startswith(model.title)
        assert line.removeprefix(model.title).split()[:-1] == EXPECTED[model.name].split()
    told = [line for line in lines if ": not '" in line]
    assert [line.split(": not")[0] for line in told] == [model.title for model in MODELS[1:]]


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as values: verdicts by property, histories with actors, steps and finding."""
    assert main(["--model", "add", "--actors", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["properties"] == list(PROPERTIES)
    (add,) = found["models"]
    assert (add["name"], add["title"]) == ("add", "3 true increment, libxl locks")
    assert " ".join(add["verdicts"].values()) == EXPECTED["add"]
    assert add["states"] > 100
    assert add["scenarios"] > 10
    lost = add["histories"]["nothing lost"]
    assert lost["crashes"] == 1
    assert {"who": "xl mem-set 100", "does": "is killed"} in lost["steps"]
    assert lost["finding"].endswith("KiB are lost")


def test_one_model_tells_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one model every broken property is shown; what one history breaks at once, at once."""
    assert main(["--model", "recompute-lock", "--actors", "2"]) == 0
    text = capsys.readouterr().out
    assert "2 recompute, lock: not 'migration'" in text
    assert "2 recompute, lock: not 'explained' after 1 crash" in text
    assert "4 Xen adds up" not in text


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong word is answered with the right ones."""
    with pytest.raises(SystemExit) as ended:
        main(["--model", "five"])
    assert ended.value.code == 2
    assert "recompute-two-lock" in capsys.readouterr().err


def test_it_runs_as_a_module_and_writes_no_file(tmp_path: Path) -> None:
    """`python -m models.races` needs nothing but the checkout, and leaves nothing behind."""
    plain = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        PROGRAM, cwd=tmp_path, env=plain, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("model ")
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_ends_it_quietly() -> None:
    """`python -m models.races | head -1` prints no traceback, as programs in a pipe do not."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(PROGRAM, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_help_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names every model and option, and shows how to use them."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(model.name in text for model in MODELS)
    assert all(word in text for word in ("--model", "--actors", "--json", "examples:"))
