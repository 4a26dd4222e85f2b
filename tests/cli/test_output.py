"""Output never fails on a name: whatever the locale, the terminal, the pipe and the disk."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from maxmemd.cli.commands import VERBS
from tests.support.bodies import HOST, UUID, decision, domain, problem
from tests.support.stub import Stub

pytestmark = pytest.mark.unmeasured
NAME = "日本 \x1b[31mred\x07\x9b2J\r\nforged \ud800 \udcff\u202e"
"""What xenstore lets a toolstack call a guest, and what JSON lets a reply say."""
ENCODINGS = {
    "UTF-8": {"PYTHONUTF8": "1"},
    "Latin-1": {"PYTHONIOENCODING": "iso-8859-1"},
    "strict ASCII": {"PYTHONIOENCODING": "ascii:strict"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "POSIX": {"LC_ALL": "POSIX"},
    "a locale that is not installed": {"LC_ALL": "de_DE.ISO-8859-1"},
    "unbuffered": {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "ascii"},
}
WORDS = {
    "mem-max": "3 513", "mem-set": "3 513", "list": "", "info": "", "claims": "", "domname": "3",
    "show": "3", "drift": "3", "explain": "3", "history": "3", "components": "3", "rollback": "3 1",
    "component-set": "3 a/b 1m", "component-increase": "3 a/b 1m", "component-remove": "3 a/b",
    "token": "list", "health": "", "doctor": "", "watch": "", "domid": "none",
}  # fmt: skip
ENDS_WITH_1 = {"domid", "watch", "doctor"}
ACTOR = {"name": NAME, "uid": 0, "gid": 0, "pid": 1}


def entry(**more: Any) -> dict[str, Any]:
    """Return an entry of the history, or an event."""
    return {
        "id": "1-0-00000000", "seq": 1, "at": "2026-11-22T21:31:09+00:00", "uuid": UUID,
        "domid": 3, "revision": 1, "kind": "drift", "by": ACTOR, "code": None, "errno": None,
        "wish": {"reason": NAME, "mode": NAME}, "max_mem_kib": 4, "limit_kib": 8, "max_pages": 2,
        "seen_pages": 3, "components": [], "static_max_kib": None, "hash": "", **more,
    }  # fmt: skip


@pytest.fixture
def named(stub: Stub) -> Stub:
    """Give a daemon in whose every reply there are such names."""
    push = {"state": "failed", "max_pages": 1, "seen_pages": None, "errno": 1, "error": NAME}
    drift = {"mode": "adopt", "source": "set", "configured_mode": "alert", "configured_key": NAME,
             "until": None, "left_s": None, "set_at": None, "by": ACTOR, "reason": NAME,
             "fight": None}  # fmt: skip
    finding = {"kind": "fight", "since": "2026-11-22T21:31:09+00:00", "domid": 3, "name": NAME,
               "detail": NAME, "configuration": NAME, "commands": [NAME]}  # fmt: skip
    here = domain() | {"name": NAME, "push": push, "drift": drift}
    part = {"owner": NAME, "name": NAME, "amount_kib": 4, "revision": 1, "at": None, "by": ACTOR,
            "kind": "mem-max", "reason": NAME}  # fmt: skip
    page = {"entries": [entry()], "next_before": None}
    wish = decision() | {"name": NAME, "push": push}
    token = {"name": NAME, "role": NAME, "created": NAME, "expires": None, "by": ACTOR}
    by_path: dict[str, Any] = {
        "GET /v1/domains": {"domains": [here]}, "GET /v1/host": HOST,
        "GET /v1/domains/3": here, f"GET /v1/domains/{UUID}/history?limit=200": page,
        "GET /v1/domains/3/explain": here | {"components": [part], "text": NAME, "tot_pages": 1},
        "GET /v1/domains/3/drift": drift | {"name": NAME, "domid": 3, "uuid": UUID},
        "GET /v1/domains/3/history?limit=20": page, "GET /v1/tokens": {"tokens": [token]},
        "GET /v1/health": {"live": True, "ready": True, "parts": {NAME: NAME},
                           "findings": [finding]},
        "PUT /v1/domains/3/limit": wish, "PUT /v1/domains/3/target": wish,
        "POST /v1/domains/3/rollback": wish, "PUT /v1/domains/3/components/a/b": wish,
        "POST /v1/domains/3/components/a/b/increase": wish,
        "DELETE /v1/domains/3/components/a/b": wish,
    }  # fmt: skip
    stub.replies = {path: (200, body) for path, body in by_path.items()}
    return stub


def run(stub: Stub, *words: str, **streams: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run maxmemctl in an interpreter of its own."""
    env = {**os.environ, "MAXMEM_SOCKET": str(stub.server_address), **streams.pop("env", {})}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, "-m", "maxmemd.cli", *words]
    return subprocess.run(command, env=env, check=False, timeout=60, **streams)


def checked(text: bytes, lines: int | None = None) -> None:
    """Demand text without a traceback, a control character or a line that a name forged."""
    assert b"Traceback" not in text
    assert not [line for line in text.split(b"\n") if line.startswith(b"forged")]
    said = text.decode("utf-8", "replace").replace("\n", "").replace("\t", "")
    assert not [c for c in said if ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e"]
    assert lines is None or text.count(b"\n") == lines


def test_every_verb_is_tried() -> None:
    """The table has every verb that there is."""
    assert set(WORDS) == {verb.name for verb in VERBS}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_verb_prints_every_name(named: Stub, encoding: str) -> None:
    """No verb fails on what a guest, a client or an error is called, in text and as JSON."""
    for verb, words in WORDS.items():
        for more in ([], ["--json"]) if encoding == "strict ASCII" else ([],):
            if verb == "watch":
                continue
            done = run(named, verb, *words.split(), *more, env=ENCODINGS[encoding])
            checked(done.stdout)
            checked(done.stderr)
            assert done.returncode == (verb in ENDS_WITH_1), (verb, done)
            assert done.stdout or done.stderr or verb in ("mem-max", "mem-set")
    done = run(named, "list", env=ENCODINGS[encoding])
    checked(done.stdout, lines=2)


@pytest.mark.parametrize("words", ["list", "show 3", "explain 3", "history 3", "doctor"])
def test_a_terminal_gets_no_escapes(named: Stub, words: str) -> None:
    """On a terminal a name cannot move the cursor or change a colour either."""
    ours, theirs = pty.openpty()
    done = run(named, *words.split(), stdout=theirs)
    os.close(theirs)
    checked(os.read(ours, 65536).replace(b"\r\n", b"\n"))
    os.close(ours)
    assert done.stderr == b""


@pytest.mark.parametrize("verb", [verb for verb in WORDS if verb != "watch"])
@pytest.mark.parametrize("argument", [NAME.encode("utf-8", "replace"), b"\xff\x1b[2J"])
def test_what_was_typed_is_printed_like_a_name(stub: Stub, verb: str, argument: bytes) -> None:
    """An argument that is no text, or that has escapes, is refused without them."""
    words = [os.fsdecode(argument) for _ in WORDS[verb].split()] or [os.fsdecode(argument)]
    done = run(stub, verb, *words)
    checked(done.stderr)
    checked(done.stdout)


def test_refusals_print_names(stub: Stub) -> None:
    """A refusal's sentence, and the errors of its fields, are printed in the same way."""
    told = problem(422, "body-invalid", f"cannot use the body: {NAME!a}")[1]
    told |= {"detail": f"cannot {NAME}: {NAME}", "errors": [{"field": NAME, "message": NAME}]}
    stub.replies = {"PUT /v1/domains/3/limit": (422, told), "GET /v1/domains/3": (200, domain())}
    done = run(stub, "mem-max", "3", "1", env=ENCODINGS["strict ASCII"])
    checked(done.stderr, lines=2)
    assert done.returncode == 1


@pytest.mark.parametrize("encoding", ["UTF-8", "unbuffered"])
@pytest.mark.parametrize("words", ["list", "show 3", "history 3", "--help", "info"])
def test_a_reader_that_is_gone_and_a_full_disk(named: Stub, words: str, encoding: str) -> None:
    """Both end with status 1; only the disk is worth a line, and none is a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    done = run(named, *words.split(), stdout=writing, env=ENCODINGS[encoding])
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
    with Path("/dev/full").open("wb") as full:
        done = run(named, *words.split(), stdout=full, env=ENCODINGS[encoding])
    said = b"maxmemctl: cannot print the answer: No space left on device"
    assert (done.returncode, done.stderr.startswith(said)) == (1, True)
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("words", "closed", "status"),
    [
        ("list", ">&-", 1),
        ("mem-max 3 513", ">&-", 0),
        ("mem-max nosuch 513", "2>&-", 1),
        ("list", "2>&-", 0),
        ("list", "<&- >&-", 1),
        ("nosuch", ">&- 2>&-", 1),
    ],
)
def test_closed_streams(named: Stub, words: str, closed: str, status: int) -> None:
    """A caller that closed a stream gets the status all the same, and no traceback."""
    command = f"exec {sys.executable} -m maxmemd.cli {words} {closed}"
    env = {**os.environ, "MAXMEM_SOCKET": str(named.server_address)}
    done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (status, False)


PROGRAMS = (
    "maxmemd --help", "maxmemd serve --help", "maxmemd relay --help", "maxmemd --version",
    "maxmemd.pusher --help", "maxmemd.pusher --version", "maxmemd check-config",
)  # fmt: skip
"""argparse drops what it cannot print unbuffered, so those lines are not tried so."""


@pytest.mark.parametrize("words", PROGRAMS)
def test_the_other_programs_too(words: str, tmp_path: Path) -> None:
    """maxmemd, its relay and its pusher end in the same way when nobody reads them."""
    module, *rest = words.split()
    command = [sys.executable, "-m", module, *rest]
    if "check-config" in words:
        empty = tmp_path / "empty.toml"
        empty.write_text("")
        command += ["--config", str(empty), "--database", str(tmp_path / "ledger.sqlite")]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    piped = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=env, check=False)
    os.close(writing)
    assert (piped.returncode, piped.stderr) == (1, b"")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, check=False)
    assert done.returncode == 1
    assert b"cannot print the answer: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_log_line_is_one_line() -> None:
    """What a client or a guest is called cannot forge a line of the log, nor colour it."""
    code = (
        "import logging; from maxmemd.systemd import start_logging; start_logging();"
        f"logging.getLogger('x').warning('%s', {NAME!a})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    checked(done.stderr, lines=1)
