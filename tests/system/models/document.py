"""The parts of docs/why-one-arbiter.md that are found, not written: `python -m ...` renews them."""

import json
import sys
from pathlib import Path
from typing import Any

from models.races.check import PROPERTIES, Verdict
from models.races.models import MODELS
from models.races.report import history
from tests.system.models.judged import judged

DOCS = Path(__file__).resolve().parents[3] / "docs"
DOCUMENT = DOCS / "why-one-arbiter.md"
REPORT = DOCS / "real-xen-report.json"

TOLD = (
    ("recompute", "any order"),
    ("recompute-lock", "explained"),
    ("recompute-lock", "migration"),
    ("recompute-two-lock", "nothing lost"),
    ("modify", "nothing lost"),
    ("modify-lock", "nothing lost"),
    ("add", "nothing lost"),
    ("add", "migration"),
    ("parts", "migration"),
    ("parts", "admission"),
)
"""The breaches that the document tells: the model, and the property that does not hold."""


def verdicts() -> str:
    """Return the table of verdicts."""
    head = f"| model | {' | '.join(PROPERTIES)} |\n|---|{'---|' * len(PROPERTIES)}\n"
    found = [judged(model.name) for model in MODELS]
    rows = "".join(_row(verdict) for verdict in found)
    scenarios, states = sum(v.scenarios for v in found), sum(v.states for v in found)
    return f"{head}{rows}\n{scenarios} scenarios, {states:,} states.\n"


def _row(verdict: Verdict) -> str:
    cells = [verdict.holds(what).replace("no", "**no**") for what in PROPERTIES]
    return f"| {verdict.model.title} | {' | '.join(cells)} |\n"


def histories() -> str:
    """Return the shortest histories, one under the other."""
    told = []
    for name, what in TOLD:
        verdict = judged(name)
        lines = "\n".join(history(verdict.breaches[what]))
        when = " once a process is killed" if verdict.breaches[what].crashes else ""
        title = f'*{verdict.model.title}*, not "{what}"{when}:'
        told.append(f"{title}\n\n```text\n{lines}\n```\n")
    return "\n".join(told)


def real_xen() -> str:
    """Return what the real Xen showed, from the report of its suite."""
    report: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8"))
    facts, machine = report["facts"], report["machine"]
    limit, kept = facts["a limit without"], facts["a limit with maxmemd"]
    nics, fed = facts["six NICs without"], facts["six NICs with maxmemd"]
    bumped = facts["six NICs by QEMU itself"]
    races, asked = facts["increases without"], facts["increases with maxmemd"]
    shares = ", ".join(f"{name} {kib}" for name, kib in fed["components_kib"].items())
    lives = ", ".join(kept["builds"][1:])
    after = ", ".join(f"**{kib}** after {how}" for how, kib in limit["after_kib"].items())
    died = nics["device_model"].split(": ", 1)[1]
    version = machine["qemu"].removeprefix("QEMU emulator version ").split()[0]
    return f"""Xen {machine["xen"]}, dom0 Linux {machine["dom0"]}, QEMU {version}; KiB.

| | unmodified | with maxmemd |
|---|---|---|
| `xl mem-max {limit["limit_mib"]}`, then another life | {limit["before_kib"]}, then {after} \
| {kept["max_kib"]} after each of: {lives} (a reboot from inside) |
| an HVM guest with six emulated NICs | `xl create` exits {nics["exit"]}: `{died}` | starts: \
{shares}; {fed["restored_max_kib"]} after a restore and a live migration |
| the same, QEMU raising the maximum by itself | starts: {bumped["max_kib"]}; `xl restore` exits \
{bumped["exit"]}: `{bumped["xen"]}` | |
| many programs change maxima at once | {races["writers"]} processes, {races["increases"]} \
read-modify-writes: **{races["lost"]} lost** | {asked["writers"]} programs, {asked["calls"]} \
calls: {asked["lost"]} lost; all {asked["pushes"]} maxima were set by the process that pushes |
"""


def renewed(text: str) -> str:
    """Return the document with the results between its marks replaced."""
    for name, part in (("verdicts", verdicts), ("histories", histories), ("real-xen", real_xen)):
        begin, end = f"<!-- found: {name} -->\n", f"<!-- end: {name} -->\n"
        before, _, rest = text.partition(begin)
        _, mark, after = rest.partition(end)
        if not mark:
            raise ValueError(f"cannot renew {name}: its marks are not there")
        text = f"{before}{begin}\n{part()}\n{end}{after}"
    return text


def main() -> int:
    """Renew the document."""
    DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(DOCUMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
