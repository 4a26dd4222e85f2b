"""The models of the discussion, each with its variants, as a list of scenarios to explore.

The numbers are those of the mail of 2015-06-08 (docs/why-one-arbiter.md): 1 one entity decides,
2 several recompute, 3 several change in isolation, 4 Xen adds up.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

from models.races import arbiter, clients, libxl
from models.races.actors import ModelActor
from models.races.host import BUILT_WITH, CONSTANT, ModelHost
from models.races.libxl import Setting
from models.races.scenario import Scenario

UPDATES, MOVES, LIMITS = "updates", "moves", "limits"
"""What a scenario is about: plain changes, a migration beside changes, or what may be granted."""

_MIB = 1024
_AMOUNTS = {
    "mem-set": (100 * _MIB, 120 * _MIB, 64 * _MIB),
    "mem-max": (300 * _MIB, 400 * _MIB, 500 * _MIB),
    "bump": (256, 512, 2048),
}


@dataclass(frozen=True, slots=True)
class Model:
    """One way to set a maximum. `setting` is None for the arbiter; `verbs` are who changes it."""

    name: str
    title: str
    setting: Setting | None
    verbs: tuple[str, ...] = ("mem-set", "mem-max", "bump")

    @property
    def constant(self) -> int:
        """Return what the libxl that built the domain says it needs beside its RAM (KiB)."""
        return CONSTANT if self.setting is None else self.setting.constants[-1]

    def explains(self, host: ModelHost) -> frozenset[int]:
        """Return what everything that is stored accounts for."""
        if self.setting is None:
            return frozenset({sum(host.ledger) + CONSTANT})
        if self.setting.way == "parts":
            return frozenset({host.maximum})
        nodes = (host.target or 0, host.static_max or 0)
        words = (host.base,) if self.setting.way == "add" else nodes
        readers = [{word + c for word in words} for c in self.setting.constants]
        return frozenset(set.intersection(*readers))

    def scenarios(self, *, smallest: bool = False) -> Iterator[tuple[str, Scenario]]:
        """Give every scenario of two and three actors, with what it is about."""
        sizes = (2,) if smallest else (2, 3)
        for size in sizes:
            for verbs in combinations_with_replacement(self.verbs, size):
                yield UPDATES, self.scenario(verbs)
            for verbs in combinations_with_replacement(self.verbs, size - 1):
                yield UPDATES, self.scenario(("build", *verbs))
                yield MOVES, self.scenario((*verbs, "migrate"))
        yield from ((LIMITS, scenario) for scenario in self._limits())

    def scenario(
        self, verbs: tuple[str, ...], *, ceiling: int | None = None, lower: int = BUILT_WITH
    ) -> Scenario:
        """Return these actors in one host; `lower` is the target that it starts with."""
        amounts = [_AMOUNTS[verb][verbs[:n].count(verb)] for n, verb in _changing(verbs)]
        return self.with_amounts(verbs, iter(amounts), ceiling=ceiling, target=lower)

    def with_amounts(
        self, verbs: tuple[str, ...], amounts: Iterator[int], *, ceiling: int | None, target: int
    ) -> Scenario:
        """Return the scenario of these verbs, with an amount for each that has one."""
        parts = (0,) * len(verbs) if self._has_parts else ()
        start = ModelHost((target + self.constant, *parts), target=target, base=target)
        if "build" in verbs:
            start = start._replace(xen=(0, *parts), target=None, static_max=None)
        actors = tuple(
            self._actor(verb, number, next(amounts) if verb in _AMOUNTS else 0, ceiling)
            for number, verb in enumerate(verbs)
        )
        if self.setting is not None:
            return Scenario(start, actors, ceiling=ceiling)
        start = start._replace(ledger=(start.target or 0, *(0 for _ in verbs)))
        server = arbiter.ModelArbiter(actors, ceiling)
        return Scenario(start, actors, server, arbiter.NAME, ceiling)

    @property
    def _has_parts(self) -> bool:
        return self.setting is not None and self.setting.way == "parts"

    def _actor(self, verb: str, number: int, amount: int, ceiling: int | None) -> ModelActor:
        if self.setting is None:
            return _asking(verb, amount)
        setting = replace(self.setting, ceiling=ceiling)
        if verb == "build":
            return libxl.build(setting, number)
        if verb == "migrate":
            return libxl.migrate(setting, number)
        make = {"mem-set": libxl.mem_set, "mem-max": libxl.mem_max, "bump": libxl.bump}[verb]
        return make(setting, number, amount)

    def _limits(self) -> Iterator[Scenario]:
        """Give what must not all be granted: above a ceiling, or a target above static-max."""
        target, room = 100 * _MIB, 110 * _MIB
        crossing = iter([BUILT_WITH, room])
        yield self.with_amounts(("mem-set", "mem-max"), crossing, ceiling=None, target=target)
        whole = BUILT_WITH + CONSTANT
        up_to = iter([BUILT_WITH, BUILT_WITH])
        yield self.with_amounts(("mem-max", "mem-set"), up_to, ceiling=whole, target=target)
        if "bump" in self.verbs:
            yield self.scenario(("bump", "bump"), ceiling=whole + 512)
            yield self.scenario(("mem-set", "bump"), ceiling=whole)


def _changing(verbs: tuple[str, ...]) -> list[tuple[int, str]]:
    return [(number, verb) for number, verb in enumerate(verbs) if verb in _AMOUNTS]


def _asking(verb: str, amount: int) -> ModelActor:
    if verb == "build":
        return clients.build()
    if verb == "migrate":
        return clients.migrate()
    if verb == "bump":
        return clients.bump(amount)
    return clients.word(verb, amount)


_WORDS = ("mem-set", "mem-max")
_TWO = (CONSTANT, 2 * CONSTANT)

MODELS: tuple[Model, ...] = (
    Model("arbiter", "1 one arbiter", None),
    Model("recompute", "2 recompute, no lock", Setting("recompute"), _WORDS),
    Model("recompute-lock", "2 recompute, lock", Setting("recompute", locks=True), _WORDS),
    Model("recompute-two", "2 two constants, no lock", Setting("recompute", _TWO), _WORDS),
    Model(
        "recompute-two-lock", "2 two constants, lock", Setting("recompute", _TWO, locks=True),
        _WORDS,
    ),
    Model("modify", "3 read-modify-write, no lock", Setting("modify")),
    Model("modify-lock", "3 read-modify-write, libxl locks", Setting("modify", locks=True)),
    Model("add", "3 true increment, libxl locks", Setting("add", locks=True)),
    Model("parts", "4 Xen adds up, libxl locks", Setting("parts", locks=True)),
)  # fmt: skip
"""Every model, in the order of the mail."""
