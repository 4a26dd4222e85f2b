"""`make audit`: a library that was not looked up is never reported as sound."""

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

import pytest

from tests.system.package.unpacked import ROOT

PINNED = ["one", "two"]
BAD = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"]}


def _program() -> ModuleType:
    spec = spec_from_file_location("audit", ROOT / "deploy" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDIT = _program()


def looked_up(name: str, *vulns: dict[str, Any]) -> dict[str, Any]:
    """Return what pip-audit writes of a library that was looked up."""
    return {"name": name, "version": "1.0", "vulns": list(vulns)}


SKIPPED = {"name": "two", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("told", "status", "line"),
    [
        ([looked_up("one"), looked_up("two")], 0, "no known vulnerability"),
        ([looked_up("one"), looked_up("two", BAD)], 1, "two 1.0: PYSEC-1 CVE-1, fixed in 1.1"),
        ([looked_up("one"), SKIPPED], 2, "1 of 2 not looked up (not found)"),
        ([looked_up("one", BAD), SKIPPED], 2, "1 of 2 not looked up (not found)"),
        ([looked_up("one")], 2, "1 of 2 not looked up (no answer)"),
        ([], 2, "2 of 2 not looked up (no answer)"),
    ],
)
def test_the_verdict(told: list[dict[str, Any]], status: int, line: str) -> None:
    """It is sound only when each library was looked up and none has a vulnerability."""
    assert AUDIT.verdict({"dependencies": told}, PINNED) == (status, [line])


def test_no_lock_is_no_verdict() -> None:
    """Nothing to look up is nothing that was found sound."""
    assert AUDIT.verdict({"dependencies": []}, [])[0] == 2


def test_every_library_of_the_lock_is_looked_up() -> None:
    """What is compared with pip-audit's answer is the whole lock, by pip-audit's own names."""
    pinned = AUDIT._pinned_names()
    assert {"uvloop", "typing-extensions", "sqlalchemy"} <= set(pinned)
    assert len(pinned) == (ROOT / "requirements.lock").read_text().count("==")


def test_where_nobody_answers() -> None:
    """Without a way to PyPI and OSV it ends with 2 and a sentence, never with 0."""
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "audit.py"],
        env={**nowhere, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("cannot audit requirements.lock: no service knows every")
    assert "pypi: " in done.stderr
