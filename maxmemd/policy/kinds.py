"""The kinds of entries and events, each in the one spelling that is used everywhere.

The history, the events, journald's MAXMEM_KIND and maxmemctl have these words, and so have
programs that filter by them: a kind is never changed, as codes are not.
"""

from enum import StrEnum


class EntryKind(StrEnum):
    """What an entry of the history is."""

    MEM_MAX = "mem-max"
    MEM_SET = "mem-set"
    COMPONENT_SET = "component-set"
    COMPONENT_REMOVED = "component-removed"
    COMPONENT_INCREASED = "component-increased"
    ROLLBACK = "rollback"
    IMPORT = "import"
    BUILD_ANNOUNCED = "build-announced"
    HEADROOM = "headroom"
    ADOPTED = "adopted"
    """The first record of a domain that had none: the maximum that was found."""
    BUILD_FOLLOWED = "build-followed"
    """The record became what the toolstack wrote while it built the domain."""
    RECORD_REPLACED = "record-replaced"
    """An instance was built afresh: what its toolstack wrote took the record's place."""
    LIMITS_TAKEN = "limits-taken"
    """A new domain took over what was decided of the halted one that had its name."""
    REFUSED = "refused"
    UNCHANGED = "unchanged"
    """A wish with an idempotency key was granted, and what it asks for was so already."""
    DRIFT = "drift"
    DRIFT_MODE_SET = "drift-mode-set"
    """A client said what becomes of drift of this domain, for a time or until further notice."""
    DRIFT_MODE_CLEARED = "drift-mode-cleared"
    DRIFT_MODE_ENDED = "drift-mode-ended"
    """The time of a mode that was set is over."""
    FIGHT_BEGAN = "fight-began"
    """Another program writes the maximum again and again; ours is put back less often now."""
    FIGHT_ENDED = "fight-ended"
    OVER_LIMIT = "over-limit"
    RECOVERED = "recovered"
    CONFIRMED_AGAIN = "confirmed-again"
    """An instance goes on with its record: what was last confirmed came back over what its stream,
    or its configuration, had brought."""
    TARGET_ABOVE_LIMIT = "target-above-limit"
    """The balloon target is more than the limit has room for: the guest cannot come to it."""
    EFFECT_DROPPED = "effect-dropped"
    """The domain lives and cannot take what a decision was to write besides its limit."""
    NODE_UNREADABLE = "node-unreadable"
    """A node of its memory in xenstore is there and is no amount."""
    INSTANCE_BEGAN = "instance-began"
    INSTANCE_ENDED = "instance-ended"
    FORGOTTEN = "forgotten"
    LIMITS_GIVEN = "limits-given"
    """The other end of LIMITS_TAKEN: to which domain they went."""
    NAMESAKE_FOUND = "namesake-found"
    """A new domain has the name of a halted one, whose decided limits it did not take over."""

    @property
    def is_decision(self) -> bool:
        """Whether an entry of this kind is there because a record changed.

        Drift is not, though where it is adopted (drift = "adopt") its entry carries a record.
        """
        return self in _DECISIONS


_DECISIONS = frozenset(list(EntryKind)[: list(EntryKind).index(EntryKind.REFUSED)])


class PushKind(StrEnum):
    """What the event of a push is; pushes are not in the history."""

    APPLIED = "push-applied"
    MISMATCHED = "push-mismatched"
    FAILED = "push-failed"


DECISION = "decision"
"""Stands for every kind that is a decision, where events are chosen by kind."""
