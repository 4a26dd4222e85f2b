"""How many decisions a second: beside other servers, with many domains, with a pusher process."""

import statistics
from collections.abc import Mapping
from contextlib import ExitStack

from benchmarks import servers
from benchmarks.bench import GUESTS, MANY_DOMAINS, POLLS, ROUND_S, ROUNDS, Bench, time_ms
from benchmarks.load import Generator, Load, median
from benchmarks.ours import pusher_process
from benchmarks.report import Row, at_least, at_most, progress
from benchmarks.servers import Server

CONNECTIONS = (1, 16, 64)

Contest = tuple[str, str, int]
"""A server, a kind of write, and a number of connections."""


def durable(bench: Bench) -> list[Row]:
    """Compare durable writes with (a) FastAPI without a database, (b) raw ASGI, (c) the ORM."""
    directory = bench.make_directory("durable")
    with ExitStack() as stack:
        contestants = {"ours": stack.enter_context(servers.ours(directory, GUESTS))}
        for kind in ("fastapi", "raw", "orm"):
            contestants[kind] = stack.enter_context(servers.rival(directory, kind))
        writes = [(name, "component") for name in contestants]
        writes += [("ours", "limit"), ("fastapi", "limit")]
        found = _run_contests(
            bench.generator(),
            contestants,
            [(name, write, count) for count in CONNECTIONS for name, write in writes],
        )
    return [*_speeds(found), *_ratios(found, "component"), *_ratios(found, "limit")]


def _run_contests(
    generator: Generator, contestants: Mapping[str, Server], contests: list[Contest]
) -> dict[Contest, Load]:
    """Run all contests round by round, so that a slow minute of the machine affects all alike."""
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
    """Compare the speed of decisions with few and with many known domains."""
    sizes = (10, 100, 1000)
    with ExitStack() as stack:
        daemons = {
            size: stack.enter_context(servers.ours(bench.make_directory(f"flat-{size}"), size))
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
    """Measure what the pusher costs as a process of its own."""
    with ExitStack() as stack:
        enter = stack.enter_context
        contestants = {
            "one process": enter(servers.ours(bench.make_directory("together"), GUESTS)),
            "two": enter(servers.ours(bench.make_directory("separate"), GUESTS, separate=True)),
        }
        contests = [(name, "component", count) for count in CONNECTIONS for name in contestants]
        found = _run_contests(bench.generator(), contestants, contests)
    rows = []
    for count in CONNECTIONS:
        two, one = (found[name, "component", count] for name in ("two", "one process"))
        note = f"{two.per_s:,.0f}/s against {one.per_s:,.0f}/s; p99 {two.p99:.2f}, {one.p99:.2f} ms"
        what = f"pusher as a process / in the daemon, {count} connections"
        rows.append(Row(what, two.per_s / one.per_s, "x", note=note))
    pusher = pusher_process(MANY_DOMAINS)
    pusher.domains()
    asked = statistics.median(time_ms(pusher.domains) for _ in range(POLLS))
    pusher.close()
    return [*rows, Row(f"reading {MANY_DOMAINS:,} domains from a pusher process", asked, "ms")]
