"""A client that a generator makes of the OpenAPI document reads every reply of the daemon."""

import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from maxmemd.api.pages import OPENAPI
from maxmemd.api.routes import ROUTES
from tests.support.outside import Outside
from tests.support.process import ROOT
from tests.support.soak import SOAK

LOCK = ROOT / "requirements-generator.lock"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maxmemd"
CALLER = Path(__file__).with_name("generated_calls.py")


@pytest.fixture(scope="module")
def generator() -> Path:
    """Give the folder of the generator's programs, which `make soak` installs."""
    made = CACHE / f"generator-{sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    if not (made / "complete").exists():
        if not SOAK:
            pytest.skip("no openapi-python-client: make soak installs it")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(made)], check=True)
        pip = [str(made / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes"]
        subprocess.run([*pip, "-r", str(LOCK)], check=True)
        (made / "complete").touch()
    return made / "bin"


@pytest.mark.soak
def test_a_generated_client_reads_every_reply(
    generator: Path, daemon: Outside, tmp_path: Path
) -> None:
    """One call of each operation, granted or refused: each reply becomes a value of a model."""
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run
    make = ["generate", "--path", OPENAPI, "--meta", "none", "--output-path", tmp_path / "client"]
    made = run(
        [generator / "openapi-python-client", *make], check=True, capture_output=True, text=True,
        env={**os.environ, "PATH": f"{generator}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert "warning" not in (made.stdout + made.stderr).lower()
    called = run(
        [generator / "python", CALLER, daemon.socket], check=False, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert called.returncode == 0, called.stderr
    names = {route.handler.__name__ for route in ROUTES}
    assert {line.split()[0] for line in called.stdout.splitlines()} == names - {"events"}
