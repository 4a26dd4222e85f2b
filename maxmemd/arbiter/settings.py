"""What the configuration tells the arbiter, in one frozen value that a reload replaces whole."""

from dataclasses import dataclass, field

from maxmemd.policy.drift import DriftRules
from maxmemd.policy.fights import FightRules
from maxmemd.policy.rules import Rules


@dataclass(frozen=True, slots=True)
class Settings:
    """How to decide (`rules`), what to do about drift, and how long a record is kept.

    `keep_gone_s` is counted from when the domain was last seen here. `fights` says how much drift
    of one domain is a fight. `by_name` are the names, or patterns of names, of domains whose limits
    go on by name.
    """

    rules: Rules
    drift: DriftRules
    keep_gone_s: float
    fights: FightRules = field(default_factory=FightRules)
    by_name: tuple[str, ...] = ()


@dataclass(slots=True)
class CurrentSettings:
    """The one place that has the settings in force.

    Every part of the arbiter holds this object and none a copy of what is in it, so that a
    reload is one assignment and no part can be left with the old ones.
    """

    value: Settings
