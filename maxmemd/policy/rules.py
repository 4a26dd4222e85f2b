"""What the configuration says of decisions."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from maxmemd.units import Memory


@dataclass(frozen=True, slots=True)
class Rules:
    """What the configuration says of decisions.

    `floor` "target" refuses a max-mem below the balloon target as xl does, "none" does
    not. `slack` is libxl's constant. `dom0_floor` is libxl's LIBXL_MIN_DOM0_MEM. `owners` may
    hold components; `fixed` components are set by the configuration only. `caps` is what all
    components of one owner may sum up to in one domain; an owner without a cap has none.
    """

    floor: str = "target"
    slack: Memory = field(default_factory=lambda: Memory(kib=1024))
    dom0_floor: Memory = field(default_factory=lambda: Memory.of_mib(128))
    owners: frozenset[str] = frozenset({"operator", "toolstack", "device-model"})
    max_components: int = 64
    caps: Mapping[str, Memory] = field(default_factory=dict)
