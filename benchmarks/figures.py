"""The measurements of `make bench`, each of which returns its rows of the table."""

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import allowed, servers, throughput
from benchmarks.bench import GUESTS, MANY_DOMAINS, POLLS, ROUND_S, Bench, time_ms
from benchmarks.filled import arbiter_on, fill
from benchmarks.load import Generator
from benchmarks.report import CannotMeasure, Row, at_most, progress
from benchmarks.servers import Server
from maxmemd.xen.simulated import SimulatedHost

MANY_REVISIONS = 100_000
STARTS = 5
CLI_RUNS = 25


def poll(bench: Bench) -> list[Row]:
    """Measure one comparison of Xen with the ledger, without a difference."""
    host = SimulatedHost.with_guests(MANY_DOMAINS)
    arbiter = arbiter_on(bench.make_directory("poll") / "ledger.sqlite", host)
    hypervisor = host.hypervisor()
    gc.collect()
    gc.freeze()
    polls, asked, cpu = [], [], []
    for _ in range(POLLS):
        host.tick(1.0)  # guests use CPU time, so that no facts are cached
        asked.append(time_ms(hypervisor.domains))
        host.tick(1.0)
        before_s = time.thread_time()
        polls.append(time_ms(arbiter.poll))
        cpu.append((time.thread_time() - before_s) * 1e3)
    gc.unfreeze()
    whole, share = statistics.median(polls), statistics.median(asked)
    what = f"a drift poll of {MANY_DOMAINS:,} domains"
    note = f"of which the simulated host {share:.2f} ms; CPU {statistics.median(cpu):.2f} ms"
    return [at_most(what, whole, 5.0, unit="ms", note=note)]


def large(bench: Bench) -> list[Row]:
    """Measure memory and the time to start with many domains and a long history."""
    directory = bench.make_directory("large")
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
    note = f"after the check of its chain and some thousand writes; peak {most:.0f} MB"
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
    """Wait until the daemon has checked its whole ledger, which takes the most memory."""
    until_s = time.monotonic() + servers.PATIENCE_S
    while server.get("/v1/health")[1]["parts"]["integrity"] != "ok":
        if time.monotonic() > until_s:
            raise CannotMeasure("cannot wait longer for the daemon's check of its ledger")
        time.sleep(0.1)


def start(bench: Bench) -> list[Row]:
    """Measure from exec of `maxmemd serve` to the first 200 of /v1/health, with a new database."""
    ready = []
    for number in range(STARTS):
        directory = bench.make_directory(f"start-{number}")
        path = directory / "maxmemd.sock"
        command: list[object] = ["maxmemd.__main__", "serve", "--hypervisor", "simulated"]
        command += ["--socket", path, "--database", directory / "ledger.sqlite"]
        with servers.running(directory, path, command, "/v1/health") as server:
            ready.append(server.ready_s)
            progress(f"start {number + 1}/{STARTS}: ready after {server.ready_s:.2f} s")
    return [_ready("ready, a new database", ready)]


def allowed_load(bench: Bench) -> list[Row]:
    """Compare others' p99 beside allowed requests that are dear with their p99 without."""
    rows = []
    for domains in (20, 300):
        with allowed.daemon(bench.make_directory(f"allowed-{domains}"), domains) as server:
            for harm in allowed.measure(server, list(allowed.DEAR), ROUND_S):
                what = f"allowed load, {domains} domains, {harm.what}: worst p99 / quiet"
                rows.append(Row(what, max(harm.ratios.values()), "x", note=harm.note))
    return rows


def _ready(what: str, ready: list[float]) -> Row:
    note = f"median of {len(ready)}, worst {max(ready):.2f} s"
    return at_most(what, statistics.median(ready), 1.0, unit="s", note=note)


def cli(bench: Bench) -> list[Row]:
    """Compare `maxmemctl mem-max`, from exec to exit, with an interpreter that does nothing."""
    directory = bench.make_directory("cli")
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
    """Return the installed program, or the module in a checkout that is not installed."""
    installed = Path(sys.executable).with_name("maxmemctl")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "maxmemd.cli"]


def _process_ms(command: list[str]) -> float:
    """Return how long a process takes. Raises CannotMeasure when it fails."""
    began_s = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took_ms = (time.perf_counter() - began_s) * 1e3
    if done.returncode != 0:
        raise CannotMeasure(f"cannot time {command[0]}: it wrote {done.stderr.strip()!r}")
    return took_ms


FIGURES: Mapping[str, Callable[[Bench], list[Row]]] = {
    "durable": throughput.durable,
    "separate": throughput.separate,
    "flat": throughput.flat,
    "poll": poll,
    "large": large,
    "allowed": allowed_load,
    "cli": cli,
    "start": start,
}
