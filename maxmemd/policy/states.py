"""The states of an instance, in the words of the ledger and of the API."""

from enum import StrEnum


class PushState(StrEnum):
    """How far a limit is in force."""

    PENDING = "pending"
    APPLIED = "applied"
    MISMATCHED = "mismatched"
    """What we pushed read back otherwise."""
    FAILED = "failed"
    OVER_LIMIT = "over-limit"
    GONE = "gone"


class BuildPhase(StrEnum):
    """What an instance that is being built has to do with its domain's record."""

    UNDECIDED = "undecided"
    FOLLOWING = "following"
    ANNOUNCED = "announced"
    SETTLED = "settled"
