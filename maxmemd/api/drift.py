"""What becomes of other programs' writes, in replies: modes, fights, and what settles a fight."""

import json
from collections.abc import Sequence
from math import ceil
from typing import Any

from maxmemd.api.times import when
from maxmemd.arbiter.messages import DomainView
from maxmemd.config.settings import Config
from maxmemd.policy.drift import WILDCARD, DriftMode
from maxmemd.policy.fights import Fight
from maxmemd.policy.reference import Name, parse_reference
from maxmemd.wire import daemon_replies, replies

_BECOMES = {
    DriftMode.RESTORE: "undone",
    DriftMode.ADOPT: "taken for max-mem",
    DriftMode.ALERT: "left alone",
}


def drift_fields(view: DomainView) -> dict[str, Any] | None:
    """Return what becomes of drift of a domain; None where nothing is recorded of it."""
    found = view.drift
    if found is None:
        return None
    # where drift is not undone any more a fight is over, though the next poll notes it
    fight = view.fight if found.mode is DriftMode.RESTORE else None
    source = "host" if found.key is None else "domain"
    return {
        "mode": found.mode,
        "source": "set" if found.is_set else source,
        "configured_mode": found.configured,
        "configured_key": found.key,
        "until": None if found.until_ns is None else when(found.until_ns),
        "left_s": None if found.left_s is None else ceil(found.left_s),
        "set_at": None if found.set_ns is None else when(found.set_ns),
        "by": None if found.actor is None else json.loads(found.actor),
        "reason": found.reason,
        "fight": None if fight is None else {"since": when(fight.since_ns), "writes": fight.writes},
    }


def drift(view: DomainView) -> replies.Drift | None:
    """Return the same as a part of a reply."""
    fields = drift_fields(view)
    return None if fields is None else replies.Drift.model_validate(fields)


def drift_reply(view: DomainView) -> replies.DriftReply:
    """Return the same with the domain that it is about."""
    known = drift(view)
    words = {} if known is None else dict(known)
    return replies.DriftReply.model_construct(
        uuid=view.uuid, domid=view.domid, name=view.name, **words
    )


def sentence_on_drift(view: DomainView) -> str:
    """Return what an explanation adds where the mode is not the host's, or there is a fight."""
    found, said = view.drift, []
    if found is not None and found.is_set:
        until = "" if found.until_ns is None else f" until {when(found.until_ns)}"
        said.append(f"What another program writes is {_BECOMES[found.mode]}{until}, as was set.")
    elif found is not None and found.key is not None:
        by = f'drift_of "{found.key}" in the configuration'
        said.append(f"What another program writes is {_BECOMES[found.mode]}, by {by}.")
    if view.fight is not None:
        said.append("Another program writes it again and again: maxmemctl health says what to do.")
    return " ".join(said)


def findings(fights: Sequence[Fight], config: Config) -> list[daemon_replies.Finding]:
    """Return the fights that go on, each with what settles it."""
    return [_finding(fight, config) for fight in fights]


def _finding(fight: Fight, config: Config) -> daemon_replies.Finding:
    called = _key_of(fight)
    table = {key: mode for key, mode in config.drift_of.items() if key != called}
    pairs = [f"{json.dumps(key, ensure_ascii=False)} = {json.dumps(mode)}"
             for key, mode in {**table, called: DriftMode.ADOPT.value}.items()]  # fmt: skip
    return daemon_replies.Finding(
        kind="fight",
        uuid=fight.uuid,
        domid=fight.domid,
        name=fight.name,
        since=when(fight.since_ns),
        detail=f"another program writes the maximum of {fight.name or fight.uuid} again and again"
        " (a memory manager?), and each time it is undone; the guest keeps what its target needs",
        configuration=f"drift_of = {{ {', '.join(pairs)} }}",
        commands=[
            f"maxmemctl drift {fight.uuid} adopt",
            f"maxmemctl drift {fight.uuid} adopt --for 1h",
        ],
    )


def _key_of(fight: Fight) -> str:
    """Return the key that means this domain: its name, unless that would mean others, or none."""
    name = fight.name or ""
    is_plain = name.isprintable() and isinstance(parse_reference(name), Name)
    return name if name and is_plain and WILDCARD not in name else fight.uuid
