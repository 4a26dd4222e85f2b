"""xl against maxmemctl, and against xl that asks: like guests, the same numbers, the same words.

Seeded random sequences of mem-max and mem-set go to plain `xl` while the daemon is down, and to
`maxmemctl` and to `xl` with the interposing library on other guests of the same kind while it is
up. Lines of libxl ("libxl: ...") and our own line ("maxmemctl: ...") are each program's own; every
other line must be the same. xl that asks says libxl's sentences too.
"""

import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.dom0 import interposed
from tests.dom0.daemon import Daemon
from tests.dom0.guests import Guest, created
from tests.dom0.interposed import Xl
from tests.dom0.rig import Done, Rig
from tests.support.figures import figure
from tests.support.soak import SOAK

SEQUENCES = {"pv": 80, "pvh": 60, "hvm": 60} if SOAK else {"pv": 24, "pvh": 18, "hvm": 18}
"""200 in all; a short run has the first of each kind, for one takes two seconds."""
BY_XL_THAT_ASKS = 200 if SOAK else 6
"""Of each kind at most."""
LONGEST = 3
PASSING = re.compile(r" +[r-][b-][p-][s-][c-][d-] +\d+\.\d\b")
UNCHANGED = 58  # Name, ID, Mem and VCPUs; then come the state and the CPU time


@dataclass(frozen=True)
class Outcome:
    """What one command left: exit code, xl's lines, max, static-max and target in KiB.

    `libxl` has the sentences of libxl's own lines, for who says them too.
    """

    exit: int | None
    stdout: str
    stderr: str
    numbers: tuple[int | None, int | None, int | None]
    libxl: tuple[str, ...] = field(compare=False)


def sequences(kind: str, most: int = 200) -> Iterator[list[tuple[str, str, str]]]:
    """Return (verb, reference, size) commands; reference "" is the guest's name, "#" its domid."""
    dice = random.Random(f"xl and maxmemctl, {kind}")
    for _ in range(min(most, SEQUENCES[kind])):
        yield [command(dice) for _ in range(dice.randint(1, LONGEST))]


def command(dice: random.Random) -> tuple[str, str, str]:
    """Return one random command, mostly sensible."""
    verb = dice.choice(("mem-max", "mem-set"))
    reference = dice.choices(("", "#", "nosuch", "30999"), (60, 30, 5, 5))[0]
    mib = dice.randint(120, 260)  # a guest that is given much less dies, by either program
    too_little = dice.randint(1, 40) if verb == "mem-max" else mib
    size = dice.choices(
        (
            str(mib),
            f"{mib}m",
            f"{mib}M",
            f"{mib * 1024 + dice.randint(0, 4095)}k",
            f"{mib * 1024 * 1024 + dice.randint(0, 9999)}b",
            "1g",
            str(too_little),
            "9999",
            dice.choice(("abc", "12x", "1.5", "10mm", "0x10")),
        ),
        (40, 10, 5, 15, 5, 3, 8, 6, 8),
    )[0]
    return verb, reference, size


def play(
    kind: str, guest: Guest, run: Callable[[list[str]], Done], most: int = 200
) -> list[Outcome]:
    """Give sequences, `most` at most, to one program and return what each command left."""
    outcomes = []
    domid = guest.domid
    for sequence in sequences(kind, most):
        for verb, reference, size in sequence:
            who = {"": guest.name, "#": str(domid)}.get(reference, reference)
            done = run([verb, who, size])
            numbers = _numbers(guest, domid)
            own = [_own(text, guest, domid) for text in (done.stdout, done.stderr)]
            said = tuple(_sentences(done.stderr, domid))
            outcomes.append(Outcome(done.rc, *own, numbers, said))
    return outcomes


def _numbers(guest: Guest, domid: int) -> tuple[int | None, int | None, int | None]:
    """Return Xen's maximum, static-max and target, asked with as few words as possible."""
    home = f"/local/domain/{domid}/memory"
    nodes = [guest.rig.xenstore("read", f"{home}/{node}") for node in ("static-max", "target")]
    static_max, target = (None if text is None else int(text) for text in nodes)
    return guest.rig.domains()[domid]["maxmem_kb"], static_max, target


def _own(text: str, guest: Guest, domid: int) -> str:
    """Return the lines that xl itself prints, the guest's name and domid made alike.

    Empty lines are libxl's: some of its messages end with a line feed of their own.
    """
    lines = [
        line
        for line in text.splitlines()
        if line and not line.startswith(("libxl: ", "maxmemctl: ", "xencall: "))
    ]
    return "\n".join(lines).replace(f"domid {domid} ", "domid N ").replace(guest.name, "GUEST")


def _sentences(text: str, domid: int) -> Iterator[str]:
    """Return libxl's sentences, without file, line and the errno of before."""
    for line in text.splitlines():
        words = line.split(": ")
        if words[0] == "libxl":
            sentence = re.sub(rf"\b{domid}\b", "N", words[3])
            yield f"{words[1]}: {sentence}"


@dataclass
class Played:
    """What plain xl left after each command, by kind of guest; played once for all tests."""

    rig: Rig
    by_kind: dict[str, list[Outcome]] = field(default_factory=dict)

    def name(self, kind: str) -> str:
        """Return the name of a guest that is not there."""
        return f"{kind}1" if self.rig.named(f"{kind}1") is None else f"{kind}2"

    def by_xl(self, kind: str, daemon: Daemon) -> list[Outcome]:
        """Return what plain xl left, while no daemon was there; it is there again."""
        if kind not in self.by_kind:
            daemon.stop()
            start_s = time.monotonic()
            with created(self.rig, self.name(kind), paused=kind != "pv") as guest:
                done = play(kind, guest, lambda argv: self.rig.run(["xl", *argv]))
            self.rig.say(f"{kind}: {len(done)} commands by xl in {_since(start_s)}")
            self.by_kind[kind] = done
            daemon.start()
        return self.by_kind[kind]


def _since(start_s: float) -> str:
    return f"{time.monotonic() - start_s:.0f} s"


@pytest.fixture(scope="module")
def played(installed: Rig) -> Played:
    """Give what plain xl leaves."""
    return Played(installed)


def compare(kind: str, by_xl: list[Outcome], by_us: list[Outcome]) -> None:
    """Assert that the outcomes of a kind's commands are the same, grants and refusals."""
    commands = [one for sequence in sequences(kind) for one in sequence][: len(by_us)]
    for number, (asked, xl, ours) in enumerate(zip(commands, by_xl, by_us, strict=True)):
        assert ours == xl, f"command {number} of {kind}, {asked}: xl {xl}, ours {ours}"
    refused = sum(outcome.exit != 0 for outcome in by_xl)
    assert 0 < refused < len(by_xl), "the sequences must hold both grants and refusals"


@pytest.mark.parametrize("kind", SEQUENCES)
def test_xl_and_maxmemctl_leave_the_same(daemon: Daemon, played: Played, kind: str) -> None:
    """Exit codes, xl's own lines, max_pages, static-max and target are the same at every step.

    PVH and HVM guests stay paused: one that boots while its populate-on-demand target moves up
    and down may touch more than it has, and Xen kills it, whoever moved it.
    """
    by_xl = played.by_xl(kind, daemon)
    start_s = time.monotonic()
    with created(daemon.rig, played.name(kind), paused=kind != "pv") as guest:
        by_us = play(kind, guest, lambda argv: daemon.ctl(*argv))
    daemon.rig.say(f"{kind}: {len(by_us)} by maxmemctl in {_since(start_s)}")
    assert len(by_us) == len(by_xl)
    compare(kind, by_xl, by_us)
    figure("real Xen", f"{kind}: commands by maxmemctl, like xl", len(by_us))


@pytest.mark.parametrize("kind", SEQUENCES)
def test_xl_that_asks_leaves_the_same(daemon: Daemon, played: Played, kind: str) -> None:
    """The same, and libxl's sentences, and nothing is written but by the daemon."""
    by_xl = played.by_xl(kind, daemon)
    interposed.install(daemon.rig)
    xl = Xl(daemon.rig)
    xl.witness.begin()
    start_s = time.monotonic()
    guest = Guest(daemon.rig, played.name(kind))
    xl.create(guest.name, paused=kind != "pv").check()
    try:
        by_us = play(kind, guest, lambda argv: xl(*argv), BY_XL_THAT_ASKS)
    finally:
        guest.destroy()
    daemon.rig.say(f"{kind}: {len(by_us)} by xl that asks in {_since(start_s)}")
    by_xl = by_xl[: len(by_us)]
    compare(kind, by_xl, by_us)
    assert [ours.libxl for ours in by_us] == [theirs.libxl for theirs in by_xl]
    pushes = xl.witness.only(daemon)
    figure("real Xen", f"{kind}: commands by xl that asks, like plain xl", len(by_us))
    figure("real Xen", f"{kind}: maxima set meanwhile, all by the pusher", pushes)


@pytest.mark.parametrize(
    "argv",
    [
        ["mem-max"],
        ["mem-max", "-h"],
        ["mem-set", "pv1"],
        ["mem-max", "-x", "pv1", "10"],
        ["mem-max", "nosuch", "abc"],
        ["domid"],
        ["domid", "Domain-0"],
        ["domid", "nosuch"],
        ["domname", "0"],
        ["domname", "30999"],
        ["domname", "abc"],
        ["list", "nosuch"],
        ["claims"],
        ["info", "total_memory"],
    ],
    ids=" ".join,
)
def test_messages_are_xls(daemon: Daemon, argv: list[str]) -> None:
    """Usage, refusals and answers are xl's, but for the program's name in usage lines."""
    xl, ours = daemon.rig.run(["xl", *argv]), daemon.ctl(*argv)
    assert ours.rc == xl.rc
    assert _messages(ours) == _messages(xl)


def _messages(done: Done) -> tuple[list[str], list[str]]:
    """Return a program's lines: without libxl's and our own, and without a help's options.

    Of a table's row without the state and the CPU time, which pass while one looks.
    """

    def lines(text: str) -> list[str]:
        kept = []
        for line in text.partition("Options:")[0].splitlines():
            if line.startswith("Usage: "):
                kept.append("Usage")
            elif not line.startswith(("libxl: ", "maxmemctl: ")):
                kept.append(PASSING.sub(" STATE TIME", line))
        return kept

    return lines(done.stdout), lines(done.stderr)


def test_list_has_xls_columns(daemon: Daemon) -> None:
    """Name, ID, Mem and VCPUs are xl list's to the byte; state and time pass while one looks."""
    xl, ours = daemon.rig.run(["xl", "list"]).check(), daemon.ctl("list").check()
    assert ours.stdout.splitlines()[0] == xl.stdout.splitlines()[0]
    cut = [[line[:UNCHANGED] for line in text.stdout.splitlines()] for text in (xl, ours)]
    assert cut[0] == cut[1]
