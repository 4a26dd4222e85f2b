"""What the configuration tells the arbiter, in one frozen value that a reload replaces whole."""

from dataclasses import dataclass, field

from maxmemd.policy.drift import DriftRules
from maxmemd.policy.fights import FightRules
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.retention import Retention
from maxmemd.policy.rules import Rules


@dataclass(frozen=True, slots=True)
class Settings:
    """How to decide (`rules`), what to do about drift, and which records of gone domains are kept.

    `fights` says how much drift of one domain is a fight. `by_name` are the names, or patterns of
    names, of domains whose limits go on by name. `retention` is how much history is kept.
    """

    rules: Rules
    drift: DriftRules
    gone: GoneRules = field(default_factory=GoneRules)
    fights: FightRules = field(default_factory=FightRules)
    by_name: tuple[str, ...] = ()
    retention: Retention = field(default_factory=Retention)


@dataclass(slots=True)
class CurrentSettings:
    """The one place that has the settings in force.

    Every part of the arbiter holds this object and none a copy of what is in it, so that a
    reload is one assignment and no part can be left with the old ones.
    """

    value: Settings
