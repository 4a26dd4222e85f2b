"""What a history must never show: a decision that is undone, and no entry that says why."""

import json
from collections.abc import Iterable

from maxmemd.arbiter.entries import DAEMON
from maxmemd.policy.components import SLACK, STATIC_MAX
from maxmemd.policy.entries import Entry

Numbers = dict[str, int | None]


def undone(lines: Iterable[Entry]) -> list[str]:
    """Return each number that a client decided and that maxmemd changed by itself, without a why.

    A toolstack that announces a created domain is a client. Drift that is adopted is an entry of
    its own, which names the mode.
    """
    decided: dict[str, Numbers] = {}
    found = []
    for line in lines:
        if line.kind == "forgotten":
            if json.loads(line.wish).get("confirmed") is False and decided.get(line.uuid):
                found.append(f"{line.uuid}: forgotten as undecided, with {decided[line.uuid]}")
            decided.pop(line.uuid, None)
        if line.state is None:
            continue
        state = json.loads(line.state)
        before, now = decided.get(line.uuid, {}), _decided(state)
        words = json.loads(line.wish)
        says_why = "why" in words or words.get("mode") == "adopt"
        if line.actor == DAEMON and not says_why:
            lost = {name: kib for name, kib in before.items() if now.get(name) != kib}
            found += [f"{line.uuid}: {line.kind} of {name} {kib}" for name, kib in lost.items()]
        decided[line.uuid] = now
    return found


def _decided(state: dict[str, object]) -> Numbers:
    """Return the numbers of a state that a client decided, by name."""
    observed = {tuple(key) for key in state.get("observed", ())}  # type: ignore[attr-defined]
    numbers: Numbers = {
        f"{owner}/{name}": kib
        for owner, name, kib, _ in state["components"]  # type: ignore[attr-defined]
        if (owner, name) not in {*observed, SLACK}
    }
    static_max = state["static_max_kib"]
    if static_max is not None and STATIC_MAX not in observed:
        numbers["static-max"] = static_max  # type: ignore[assignment]
    if "target_kib" in state:
        numbers["target"] = state["target_kib"]  # type: ignore[assignment]
    return numbers
