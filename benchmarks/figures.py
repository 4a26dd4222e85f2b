"""The measurements, each of which returns its rows of the table."""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import servers
from benchmarks.filled import arbiter_on, fill
from benchmarks.load import Generator, Load, median
from benchmarks.ours import apart
from benchmarks.report import CannotMeasure, Row, at_least, at_most, progress
from benchmarks.servers import Server
from maxmemd.xen.simulated import SimulatedHost

ROUNDS = 3
ROUND_S = 2.0
CONNECTIONS = (1, 16, 64)
GUESTS = 64
MANY_DOMAINS, MANY_REVISIONS = 1000, 100_000
STARTS = 5
CLI_RUNS = 25
POLLS = 100


@dataclass(frozen=True, slots=True)
class Bench:
    """What measurements need: a directory of their own on a real disk, and the generator."""

    directory: Path
    generator: Callable[[], Generator]

    def within(self, name: str) -> Path:
        """Return a new directory for one measurement."""
        path = self.directory / name
        path.mkdir()
        return path


Contest = tuple[str, str, int]
"""Server, kind of write, connections."""


def durable(bench: Bench) -> list[Row]:
    """Durable writes against (a) FastAPI without a database, (b) raw ASGI, (c) the ORM."""
    directory = bench.within("durable")
    with ExitStack() as stack:
        contestants = {"ours": stack.enter_context(servers.ours(directory, GUESTS))}
        for kind in ("fastapi", "raw", "orm"):
            contestants[kind] = stack.enter_context(servers.rival(directory, kind))
        writes = [(name, "component") for name in contestants]
        writes += [("ours", "limit"), ("fastapi", "limit")]
        found = _contest(
            bench.generator(),
            contestants,
            [(name, write, count) for count in CONNECTIONS for name, write in writes],
        )
    return [*_speeds(found), *_ratios(found, "component"), *_ratios(found, "limit")]


def _contest(
    generator: Generator, contestants: Mapping[str, Server], contests: list[Contest]
) -> dict[Contest, Load]:
    """Run all contests round by round, so that a slow minute of the machine hits all alike."""
    rounds: dict[Contest, list[Load]] = {contest: [] for contest in contests}
    for number in range(ROUNDS):
        for name, write, connections in contests:
            load = generator.run(
                contestants[name],
                connections=connections,
                seconds=ROUND_S,
                domains=GUESTS,
                write=write,
            )
            rounds[name, write, connections].append(load)
            progress(
                f"round {number + 1}/{ROUNDS}: {name}, {write}, {connections} connections:"
                f" {load.per_s:,.0f}/s, p99 {load.p99:.2f} ms"
            )
    return {contest: median(loads) for contest, loads in rounds.items()}


def _speeds(found: Mapping[Contest, Load]) -> list[Row]:
    rows = [
        Row(
            f"{name}, {write}, {connections} connections",
            load.per_s,
            "/s",
            note=f"p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms, CPU {load.cpu_us:.0f} us a reply",
        )
        for (name, write, connections), load in found.items()
    ]
    errors = sum(load.errors for load in found.values())
    return [*rows, at_most("replies that are not 2xx", errors, 0, unit="")]


def _ratios(found: Mapping[Contest, Load], write: str) -> list[Row]:
    rows = []
    for connections in CONNECTIONS:
        mine, plain = found["ours", write, connections], found["fastapi", write, connections]
        what = f"{write} / (a) FastAPI, no database, {connections} connections"
        ratio = mine.per_s / plain.per_s
        slower = mine.p99 / plain.p99
        worst = f"p99 of {what}"
        if connections == 1:
            rows += [Row(what, ratio, "x"), Row(worst, slower, "x")]
        else:
            rows.append(at_least(what, ratio, 0.75 if connections == 16 else 1.0))
            rows.append(at_most(worst, slower, 1.5))
        if write == "limit":
            continue
        raw, orm = found["raw", write, connections], found["orm", write, connections]
        rows.append(
            Row(f"{write} / (b) raw ASGI, {connections} connections", mine.per_s / raw.per_s, "x")
        )
        what = f"{write} / (c) ORM commit a request, {connections} connections"
        ratio = mine.per_s / orm.per_s
        rows.append(Row(what, ratio, "x") if connections == 1 else at_least(what, ratio, 8.0))
    return rows


def flat(bench: Bench) -> list[Row]:
    """Decisions do not become slower with the number of domains known."""
    sizes = (10, 100, 1000)
    with ExitStack() as stack:
        daemons = {
            size: stack.enter_context(servers.ours(bench.within(f"flat-{size}"), size))
            for size in sizes
        }
        speeds: dict[int, list[Load]] = {size: [] for size in sizes}
        for number in range(ROUNDS):
            for size, daemon in daemons.items():
                load = bench.generator().run(
                    daemon,
                    connections=16,
                    seconds=ROUND_S,
                    domains=size,
                    write="component",
                )
                speeds[size].append(load)
                progress(f"round {number + 1}/{ROUNDS}: {size} domains: {load.per_s:,.0f}/s")
    found = {size: median(loads) for size, loads in speeds.items()}
    rows = [
        Row(f"component, 16 connections, {size} domains known", load.per_s, "/s")
        for size, load in found.items()
    ]
    slower = found[10].per_s / found[1000].per_s
    return [*rows, at_most("10 domains / 1,000 domains", slower, 1.2)]


def separate(bench: Bench) -> list[Row]:
    """Find what it costs that another process holds Xen's handle."""
    with ExitStack() as stack:
        enter = stack.enter_context
        contestants = {
            "one process": enter(servers.ours(bench.within("together"), GUESTS)),
            "two": enter(servers.ours(bench.within("apart"), GUESTS, separate=True)),
        }
        contests = [(name, "component", count) for count in CONNECTIONS for name in contestants]
        found = _contest(bench.generator(), contestants, contests)
    rows = []
    for count in CONNECTIONS:
        two, one = (found[name, "component", count] for name in ("two", "one process"))
        note = f"{two.per_s:,.0f}/s against {one.per_s:,.0f}/s; p99 {two.p99:.2f}, {one.p99:.2f} ms"
        what = f"pushing from a process of its own / from the daemon's, {count} connections"
        rows.append(Row(what, two.per_s / one.per_s, "x", note=note))
    pusher = apart(MANY_DOMAINS)
    pusher.domains()
    asked = statistics.median(_timed_ms(pusher.domains) for _ in range(POLLS))
    pusher.close()
    return [*rows, Row(f"{MANY_DOMAINS:,} domains asked of a process of its own", asked, "ms")]


def poll(bench: Bench) -> list[Row]:
    """One comparison of Xen with the ledger, where nothing differs."""
    host = SimulatedHost.with_guests(MANY_DOMAINS)
    arbiter = arbiter_on(bench.within("poll") / "ledger.sqlite", host)
    hypervisor = host.hypervisor()
    gc.collect()
    gc.freeze()
    polls, asked, cpu = [], [], []
    for _ in range(POLLS):
        host.tick(1.0)  # guests use CPU time, so that every fact is read afresh
        asked.append(_timed_ms(hypervisor.domains))
        host.tick(1.0)
        before_s = time.thread_time()
        polls.append(_timed_ms(arbiter.poll))
        cpu.append((time.thread_time() - before_s) * 1e3)
    gc.unfreeze()
    whole, share = statistics.median(polls), statistics.median(asked)
    what = f"a drift poll of {MANY_DOMAINS:,} domains"
    note = (
        f"of which the simulated host's answer {share:.2f} ms; CPU {statistics.median(cpu):.2f} ms"
    )
    return [at_most(what, whole, 5.0, unit="ms", note=note)]


def _timed_ms(step: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    step()
    return (time.perf_counter() - began_s) * 1e3


def large(bench: Bench) -> list[Row]:
    """Resident memory, and the time to be ready, with many domains and a long history."""
    directory = bench.within("large")
    progress(f"filling a ledger: {MANY_DOMAINS:,} domains, {MANY_REVISIONS:,} revisions")
    fill(directory / "ledger.sqlite", domains=MANY_DOMAINS, revisions=MANY_REVISIONS)
    ready = []
    for number in range(STARTS):
        with servers.ours(directory, MANY_DOMAINS) as server:
            ready.append(server.ready_s)
            progress(f"start {number + 1}/{STARTS} on it: ready after {server.ready_s:.2f} s")
    size = f"{MANY_DOMAINS:,} domains, {MANY_REVISIONS:,} revisions"
    with servers.ours(directory, MANY_DOMAINS) as server:
        _write_some(bench.generator(), server)
        _await_check(server)
        resident, most = server.resident_mb(), server.resident_mb("VmHWM")
    note = f"after its check of the whole chain and some thousand writes; most ever {most:.0f} MB"
    return [
        at_most(f"resident memory, {size}", resident, 120, unit="MB", note=note),
        _ready(f"ready, {size}", ready),
    ]


def _write_some(generator: Generator, server: Server) -> None:
    load = generator.run(
        server, connections=16, seconds=1.0, domains=MANY_DOMAINS, write="component"
    )
    if load.errors:
        raise CannotMeasure(f"cannot trust this run: {load.errors} replies were not 2xx")


def _await_check(server: Server) -> None:
    """Wait until the daemon has checked its whole ledger: that is when it holds most."""
    until_s = time.monotonic() + servers.PATIENCE_S
    while server.get("/v1/health")[1]["parts"]["integrity"] != "ok":
        if time.monotonic() > until_s:
            raise CannotMeasure("cannot wait longer for the daemon's check of its ledger")
        time.sleep(0.1)


def start(bench: Bench) -> list[Row]:
    """From exec of `maxmemd serve` to the first 200 of /v1/health, with a new database."""
    ready = []
    for number in range(STARTS):
        directory = bench.within(f"start-{number}")
        path = directory / "maxmemd.sock"
        words: list[object] = ["maxmemd.__main__", "serve", "--hypervisor", "simulated"]
        words += ["--socket", path, "--database", directory / "ledger.sqlite"]
        with servers.running(directory, path, words, "/v1/health") as server:
            ready.append(server.ready_s)
            progress(f"start {number + 1}/{STARTS}: ready after {server.ready_s:.2f} s")
    return [_ready("ready, a new database", ready)]


def _ready(what: str, ready: list[float]) -> Row:
    note = f"median of {len(ready)}, worst {max(ready):.2f} s"
    return at_most(what, statistics.median(ready), 1.0, unit="s", note=note)


def cli(bench: Bench) -> list[Row]:
    """`maxmemctl mem-max` from exec to exit, against an interpreter that does nothing."""
    directory = bench.within("cli")
    with servers.ours(directory, GUESTS) as server:
        options = ["--socket", str(server.path)]
        command = [*_maxmemctl(), *options, "mem-max", "guest-0001", "128"]
        nothing = [sys.executable, "-c", "pass"]
        progress(f"running maxmemctl mem-max {CLI_RUNS} times")
        pairs = [(_process_ms(command), _process_ms(nothing)) for _ in range(CLI_RUNS)]
    ours, bare = (statistics.median(times) for times in zip(*pairs, strict=True))
    note = f"{ours:.1f} ms against {bare:.1f} ms, medians of {CLI_RUNS}"
    return [at_most("maxmemctl mem-max / python3 -c pass", ours / bare, 4.0, note=note)]


def _maxmemctl() -> list[str]:
    """Return the installed program, or the module where a checkout is not installed."""
    installed = Path(sys.executable).with_name("maxmemctl")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "maxmemd.cli"]


def _process_ms(command: list[str]) -> float:
    """Return how long a process takes. Raises CannotMeasure when it fails."""
    began_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took_ms = (time.perf_counter() - began_s) * 1e3
    if done.returncode != 0:
        raise CannotMeasure(f"cannot time {command[0]}: it said {done.stderr.strip()!r}")
    return took_ms


FIGURES: Mapping[str, Callable[[Bench], list[Row]]] = {
    "durable": durable,
    "separate": separate,
    "flat": flat,
    "poll": poll,
    "large": large,
    "cli": cli,
    "start": start,
}
