"""The program: help, options, exit statuses, and how little it imports."""

# ruff: noqa: ISC004 - rows of a table, not lists of lines
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from maxmemd import __version__
from maxmemd.cli.commands import VERBS, find
from tests.support.bodies import decision
from tests.support.stub import Stub

from .conftest import Ctl

HEAVY = (
    "argparse", "asyncio", "dataclasses", "email", "http", "httpx", "importlib.metadata",
    "inspect", "logging", "pathlib", "pydantic", "ssl", "subprocess", "typing", "urllib", "uuid",
)  # fmt: skip
MEM_MAX = (
    "Usage: maxmemctl [-vtTfN] mem-max"
    " <Domain> <MemMB['b'[bytes]|'k'[KB]|'m'[MB]|'g'[GB]|'t'[TB]]>\n\n"
    "Set the maximum amount reservation for a domain.\n\nOptions:\n\n"
)


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["3", "--h"], ["3", "-h", "-x"]])
def test_help_on_a_verb(words: list[str], ctl: Ctl) -> None:
    """-h prints the verb's help on stdout and exits 0, wherever it stands."""
    status, out, err = ctl("mem-max", *words)
    assert (status, out.startswith(MEM_MAX), err) == (0, True, "")


def test_help_with_a_word(ctl: Ctl) -> None:
    """`help VERB` works too; an unknown verb is reported as xl does it."""
    assert ctl("help", "mem-max")[1].startswith(MEM_MAX)
    assert ctl("help", "reboot") == (2, "", 'command "reboot" not implemented\n')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("mem-max", "'xl mem-max' requires at least 2 arguments.\n\n"),
        ("mem-set 3", "'xl mem-set' requires at least 2 arguments.\n\n"),
        ("domid", "'xl domid' requires at least 1 argument.\n\n"),
        ("explain", "'maxmemctl explain' requires at least 1 argument.\n\n"),
    ],
)
def test_too_few_arguments(words: str, said: str, ctl: Ctl) -> None:
    """Too few arguments: xl's message on stderr, then the help on stdout; exit status 2."""
    status, out, err = ctl(*words.split())
    assert (status, err) == (2, said)
    assert out.startswith("Usage: maxmemctl [-vtT")


@pytest.mark.parametrize(
    ("words", "said", "expected"),
    [
        ("mem-max -q 3 1", "option `q' not supported.\n", 2),
        ("mem-max --quick 3 1", "option `quick' not supported.\n", 2),
        ("mem-max --re", "maxmemctl: option --reason needs a value: TEXT\n", 2),
        ("list -vx", "option `x' not supported.\n", 2),
        ("history -n", "maxmemctl: option --number needs a value: N\n", 2),
        ("-x list", "maxmemctl: invalid option -- 'x'\nunknown global option\n", 1),
        ("--so", "maxmemctl: option --socket needs a value: PATH\n", 1),
        ("-N list", "command does not implement -N (dryrun) option\n", 1),
        ("--dry-run history web", "command does not implement -N (dryrun) option\n", 1),
        (
            "reboot web",
            "maxmemctl: cannot find the verb reboot: maxmemctl --help lists them\n"
            "command not implemented\n",
            1,
        ),
    ],
)
def test_wrong_usage(words: str, said: str, expected: int, ctl: Ctl) -> None:
    """Each mistake is named, in xl's words where xl has them."""
    assert ctl(*words.split()) == (expected, "", said)


def test_every_verb_counts_its_arguments(ctl: Ctl, stub: Stub) -> None:
    """One argument too many, or too few, is wrong usage for every verb; nothing is asked."""
    for verb in VERBS:
        most = 3 if verb.most is None else verb.most
        status, out, err = ctl(verb.name, *["1"] * (most + 1))
        assert (status, out[:6]) == (1 if verb.name == "list" else 2, "Usage:"), verb.name
        assert err or verb.name == "list"
        if verb.least:
            assert ctl(verb.name, *["1"] * (verb.least - 1))[0] == 2
        assert ctl(verb.name, "--nothing")[0] == ctl(verb.name, "-?")[0] == 2
    assert stub.seen == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("help", 0), ("help list", 0), ("help nosuch", 2), ("help list list", 2), ("--help", 0),
        ("", 1), ("nosuch", 1), ("-x", 1), ("history web -n x", 2), ("rollback web x", 2),
        ("rollback web 1 --if-match x", 2), ("component-set web roms 1m", 2),
        ("component-set web a/b +1m", 2), ("component-set web a/b 1q", 2), ("token create x y", 2),
        ("token nothing", 2), ("token create x observer --days 0", 2), ("mem-set 3 +100", 1),
        ("mem-max 3 +1", 1), ("domname x", 1), ("show nosuch", 1),
    ],
)  # fmt: skip
def test_only_success_is_0(words: str, status: int, ctl: Ctl) -> None:
    """Wrong usage is 2, or what it is in xl; whatever is refused is 1; and it is said on stderr."""
    found, _, err = ctl(*words.split())
    assert found == status
    assert err or status == 0 or not words


def test_the_overview_names_every_verb_and_option(ctl: Ctl) -> None:
    """--help exits 0, no verb at all exits 1; both print everything there is."""
    status, out, err = ctl("--help")
    assert (status, err) == (0, "")
    assert ctl() == (1, out, "")
    assert all(f"\n {verb.name} " in out for verb in VERBS)


def test_version(ctl: Ctl) -> None:
    """--version prints the version."""
    assert ctl("--version") == (0, f"maxmemctl {__version__}\n", "")


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_verbs_are_found_by_their_names(verb: object) -> None:
    """A whole name is never ambiguous."""
    assert find(getattr(verb, "name")) is verb  # noqa: B009 - its type is the table's


@pytest.mark.parametrize(
    ("word", "name"), [("mem-m", "mem-max"), ("li", "list"), ("expl", "explain")]
)
def test_verbs_may_be_cut(word: str, name: str) -> None:
    """While only one verb begins so."""
    found = find(word)
    assert found is not None
    assert found.name == name
    assert find("mem") is None


def run(stub: Stub, *words: str, code: str = "") -> "subprocess.CompletedProcess[str]":
    """Run maxmemctl in an interpreter of its own."""
    env = {**os.environ, "MAXMEM_SOCKET": str(stub.server_address)}
    start = ["-c", code] if code else ["-m", "maxmemd.cli"]
    return subprocess.run(
        [sys.executable, *start, *words], env=env, capture_output=True, text=True, check=False
    )


def test_a_decision_imports_little(stub: Stub) -> None:
    """A mem-max that is granted loads no module that is slow to load."""
    stub.replies = {"PUT /v1/domains/3/limit": (200, decision())}
    code = (
        "import json, sys; before = set(sys.modules); from maxmemd.cli import main;"
        "status = main(['mem-max', '3', '512']);"
        "print(json.dumps([status, sorted(set(sys.modules) - before)]))"
    )
    status, loaded = json.loads(run(stub, code=code).stdout)
    assert status == 0
    assert [name for name in loaded if name.partition(".")[0] in HEAVY or name in HEAVY] == []


def test_the_module_runs(stub: Stub) -> None:
    """`python -m maxmemd.cli` exits with the status."""
    done = run(stub, "mem-max", "3", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("invalid memory size: x\n")


def test_a_closed_pipe_is_no_error() -> None:
    """`maxmemctl --help | true` prints no traceback, and exits 1."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "maxmemd.cli", "--help"],
        stdout=writing, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_interrupt_is_130(ctl: Ctl, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shells have it, and without a traceback."""

    def interrupted(argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("maxmemd.cli._run", interrupted)
    assert ctl("list") == (130, "", "")


def test_a_full_disk_behind_stdout() -> None:
    """What cannot be printed is one line on stderr, and says what is certain."""
    command = [sys.executable, "-m", "maxmemd.cli", "--help"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "maxmemctl: cannot print the answer: No space left on device"
        " (the request was carried out)\n",
    )
