"""doctor: find programs that bypass the daemon, limits that were changed so, and bad nodes."""

import sys
from pathlib import Path

from maxmemd.cli.entries import newest_entries
from maxmemd.cli.format import aligned
from maxmemd.cli.invocation import Invocation, print_refused
from maxmemd.cli.options import Stop
from maxmemd.rest.reply import Body
from maxmemd.rest.text import plain

PROC = Path("/proc")
LIBRARY = "libmaxmem-interpose.so"
WRITERS = ("libxenctrl.so", "libxenctrl-")
"""A process with libxenctrl can set a maximum; Debian's file is called libxenctrl.so.4.17."""

HARMLESS = frozenset({"xenstored", "oxenstored", "xenconsoled", "xenwatchdogd"})
"""Xen's own programs that use libxenctrl on every host but set no maximum (tools/ of xen.git)."""

LINES = 200
"""Entries of each domain's history that are searched for drift."""


def doctor(call: Invocation) -> int:
    """Print every process that bypasses the daemon, every foreign maximum, and what is amiss."""
    processes = _processes()
    drifts, namesakes = _findings(call)
    health = call.read("health").body
    conditions, service = health.get("conditions") or [], health.get("service") or []
    status = 1 if processes["loose"] or drifts or conditions or service else 0
    if call.wants_json:
        domains = {"drifts": drifts, "namesakes": namesakes, "conditions": conditions}
        said = {"service": service, "history": health.get("history")}
        call.print_json({**processes, **domains, **said})
        return status

    _print_processes(processes)
    lines = [_drift_line(each) for each in drifts] or ["No foreign maximum in the newest history."]
    lines += [
        f"{each['name'] or each['uuid']}: {each['kind']}: {each['detail']}" for each in conditions
    ] or ["No domain's target or memory nodes are out of order."]
    lines += [_namesake_line(each) for each in namesakes]
    lines += [f"{each['kind']}: {each['detail']}" for each in service]
    proved = health.get("history") or "being checked, or not whole: see maxmemctl health"
    for line in (*lines, f"The history is {proved}."):
        print(plain(line))
    return status


def _print_processes(processes: Body) -> None:
    titles = {
        "loose": f"These processes use libxenctrl without {LIBRARY} (see docs/interpose.md):",
        "outdated": f"These run with an earlier {LIBRARY} until they are restarted:",
        "harmless": "These use libxenctrl as well; they are Xen's own and set no maximum:",
    }
    if not processes["loose"]:
        seen = processes["processes_seen"]
        print(f"No process sets maxima without {LIBRARY} ({seen} could be inspected).")
    for kind, title in titles.items():
        if found := processes[kind]:
            print(title)
            rows = [["PID", "PROGRAM"], *([str(each["pid"]), each["program"]] for each in found)]
            sys.stdout.write(aligned(rows, frozenset({0}), "  "))


def _is_harmless(process: Body) -> bool:
    return Path(str(process["program"]).partition(" ")[0]).name in HARMLESS


def _drift_line(drift: Body) -> str:
    return (
        f"{drift['name']}: {drift['times']} foreign maximum{'s' if drift['times'] > 1 else ''},"
        f" the last at {str(drift['at'])[:19].replace('T', ' ')}Z: {drift['seen_pages']} pages"
        f" instead of {drift['wanted_pages']} ({drift['mode']})"
    )


def _namesake_line(found: Body) -> str:
    return (
        f"{found['name']}: limits of {found['from']}, a halted domain of the same name,"
        f" were not taken over: {found['advice']}"
    )


def _processes() -> Body:
    """Sort the processes that can set a maximum and do not ask as they should.

    `loose` have no library of ours, `outdated` one that was replaced since they started, and
    `harmless` are Xen's own without it; `processes_seen` is how many could be inspected.
    """
    found: dict[str, list[Body]] = {"loose": [], "outdated": [], "harmless": []}
    seen = 0
    for pid in sorted(int(each.name) for each in PROC.iterdir() if each.name.isdigit()):
        try:
            maps = (PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended, or we may not read it
            continue
        seen += 1
        if not any(writer in maps for writer in WRITERS):
            continue
        process = {"pid": pid, "program": _program(pid)}
        if LIBRARY not in maps:
            found["harmless" if _is_harmless(process) else "loose"].append(process)
        elif f"{LIBRARY} (deleted)" in maps:
            found["outdated"].append(process)
    return {**found, "processes_seen": seen}


def _program(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes()[:4096].split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words[:3]).decode(errors="replace").strip() or "?"


def _findings(call: Invocation) -> tuple[list[Body], list[Body]]:
    """Return the domains with foreign maxima, and those whose limits another record still has."""
    answer = call.read("domains")
    if answer.status != 200:
        print_refused(call, answer, "list the domains", "")
        raise Stop(1)
    drifts: list[Body] = []
    namesakes: list[Body] = []
    for domain in answer.body["domains"]:
        if domain["managed"]:
            answer = newest_entries(call, domain["uuid"], LINES, page=LINES)
            entries = answer.body.get("entries", ())
            drifts += _drifts_in(domain, entries)
            if domain["domid"] is not None:
                namesakes += _namesakes_in(domain, entries)
    return drifts, namesakes


def _drifts_in(domain: Body, entries: list[Body]) -> list[Body]:
    lines = [each for each in entries if each["kind"] == "drift"]
    if not lines:
        return []
    last = lines[0]
    words = {key: last["wish"].get(key) for key in ("seen_pages", "wanted_pages", "mode")}
    name = domain["name"] or domain["uuid"]
    return [{"name": name, "uuid": domain["uuid"], "times": len(lines), "at": last["at"], **words}]


def _namesakes_in(domain: Body, entries: list[Body]) -> list[Body]:
    found = [each["wish"] for each in entries if each["kind"] == "namesake-found"]
    return [{"uuid": domain["uuid"], **wish} for wish in found[:1]]


HANDLERS = {"doctor": doctor}
