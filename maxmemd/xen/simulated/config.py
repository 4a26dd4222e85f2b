"""The configuration that a domain is built from, and the steps of its life."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple, Required, TypedDict

from maxmemd.units import Memory
from maxmemd.xen.simulated.domain import Kind
from maxmemd.xen.simulated.guests import Guest

SLACK = Memory(kib=1024)
"""libxl adds this to every maximum (LIBXL_MAXMEM_CONSTANT)."""


class Step(NamedTuple):
    """A step that has just been taken, and the domain it was taken on."""

    name: str
    domid: int


Life = Generator[Step, None, int]
"""Steps of a domain's life; the value is the domid of the resulting, or destroyed, domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """xl's stored configuration of a domain. `nics` are emulated ones, for HVM only."""

    name: str
    uuid: str
    kind: Kind
    memory: Memory
    maxmem: Memory
    videoram: Memory
    guest: Guest
    nics: int

    @property
    def fudge(self) -> Memory:
        """The part that memory/target excludes (libxl_internal.h:libxl__get_targetmem_fudge)."""
        balloons = self.kind == "hvm" and self.maxmem > self.memory
        return self.videoram + (SLACK if balloons else Memory(kib=0))


class Options(TypedDict, total=False):
    """The keyword arguments of Toolstack.creating."""

    memory: Required[Memory]
    kind: Kind
    maxmem: Memory | None
    videoram: Memory | None
    uuid: str | None
    guest: Guest | None
    nics: int
    domid: int | None
    paused: bool


@dataclass(frozen=True, slots=True)
class Image:
    """A saved domain: its configuration and pages, but not its maximum."""

    config: Config
    tot_pages: int
    offset: int


def finish(life: Life) -> int:
    """Take all remaining steps; return the life's value."""
    while True:
        try:
            next(life)
        except StopIteration as end:
            domid: int = end.value
            return domid
