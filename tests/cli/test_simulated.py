"""Whatever verb is asked of a simulated host, a line on stderr says what that host is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from maxmemd.cli import doctor, main
from maxmemd.cli.commands import VERBS
from tests.support.outside import Outside
from tests.support.stub import Stub

from .conftest import Ctl

SAID = "maxmemctl: this host is simulated: no Xen and no real guest is touched\n"
WORDS = {
    "mem-max": "web 600", "mem-set": "web 500", "list": "", "info": "", "claims": "",
    "domid": "web", "domname": "1", "show": "web", "explain": "web", "history": "web",
    "watch": "--since nonsense", "rollback": "web 1", "drift": "web", "components": "web",
    "component-set": "web a/b 1m", "component-increase": "web a/b 1m",
    "component-remove": "web a/b", "token": "list", "health": "", "doctor": "",
}  # fmt: skip
"""Arguments of each verb; whether it can be done makes no difference."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Give the real daemon on the simulated host."""
    with Outside(tmp_path_factory.mktemp("daemon")) as outside:
        yield outside


@pytest.fixture
def ctl(
    daemon: Outside, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Ctl:
    """Run maxmemctl against that daemon, without looking at this machine's processes."""
    monkeypatch.setenv("MAXMEM_SOCKET", str(daemon.socket))
    monkeypatch.setattr(doctor, "PROC", daemon.socket.parent)

    def run(*words: str) -> tuple[int, str, str]:
        return (main(list(words)), *capsys.readouterr())

    return run


def test_every_verb_is_tried() -> None:
    """The table has every verb that there is."""
    assert set(WORDS) == {verb.name for verb in VERBS}


@pytest.mark.parametrize("verb", WORDS)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_every_verb_says_once_that_the_host_is_simulated(
    verb: str, more: list[str], ctl: Ctl
) -> None:
    """On stderr, first and once; stdout has no word of it but in a body that has the field."""
    _, out, err = ctl(verb, *WORDS[verb].split(), *more)
    assert err.startswith(SAID)
    assert err.count("simulated") == 1
    assert "simulated" not in out or (more and verb in ("info", "health"))
    if more and verb != "watch":
        json.loads(out)


def test_a_refusal_says_it_too(ctl: Ctl) -> None:
    """And so does a verb that is not carried out."""
    status, _, err = ctl("mem-max", "web", "1")
    assert status == 1
    assert err.startswith(SAID)


def test_a_stream_says_it_before_its_first_event(daemon: Outside) -> None:
    """`watch` prints it when the stream begins, not when something happens."""
    environment = {**os.environ, "MAXMEM_SOCKET": str(daemon.socket)}
    command = [sys.executable, "-m", "maxmemd.cli", "watch"]
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as watching:
        assert watching.stderr is not None
        try:
            assert watching.stderr.readline() == SAID
        finally:
            watching.terminate()


def test_a_real_host_says_nothing(
    stub: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply without the header is a real host's."""
    monkeypatch.setenv("MAXMEM_SOCKET", str(stub.server_address))
    stub.replies = {"GET /v1/domains": (200, {"domains": []})}
    assert main(["list"]) == 0
    assert capsys.readouterr().err == ""
