"""What the daemon sees and does by itself, in journald: one message with fields for each."""

import logging
from collections.abc import Mapping

from maxmemd.policy.kinds import EntryKind, PushKind

LOG = logging.getLogger("maxmemd.domains")
_LEVELS: Mapping[str, int] = {
    PushKind.FAILED: logging.ERROR,
    PushKind.MISMATCHED: logging.ERROR,
    EntryKind.DRIFT: logging.WARNING,
    EntryKind.FIGHT_BEGAN: logging.WARNING,
    EntryKind.OVER_LIMIT: logging.WARNING,
    EntryKind.TARGET_ABOVE_LIMIT: logging.WARNING,
    EntryKind.EFFECT_DROPPED: logging.WARNING,
    EntryKind.NODE_UNREADABLE: logging.WARNING,
    EntryKind.FORGOTTEN: logging.WARNING,
}
"""What an administrator should look at; everything else is at level INFO."""


def log_event(uuid: str, kind: EntryKind | PushKind, words: Mapping[str, object]) -> None:
    """Log what happened to a domain; journalctl finds it by MAXMEM_KIND, MAXMEM_UUID and others."""
    level = _LEVELS.get(kind, logging.INFO)
    if words.get("confirmed") is False:
        level = logging.INFO  # nothing that a client was promised is lost
    if LOG.isEnabledFor(level):
        told = ", ".join(f"{name} {value}" for name, value in words.items() if value is not None)
        fields = {"uuid": uuid, "kind": kind, **words}
        LOG.log(level, "%s: %s: %s", uuid, kind, told or "-", extra={"fields": fields})
