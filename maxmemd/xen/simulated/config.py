"""What a domain is built from, and the steps in which it lives."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple, Required, TypedDict

from maxmemd.units import Memory
from maxmemd.xen.simulated.domain import Kind
from maxmemd.xen.simulated.guests import Guest

SLACK = Memory(kib=1024)
"""What libxl adds to every maximum (LIBXL_MAXMEM_CONSTANT)."""


class Step(NamedTuple):
    """A step of a life that has just been taken, and the domain it was taken on."""

    name: str
    domid: int


Life = Generator[Step, None, int]
"""A life in steps; its value is the domid of the domain it leaves, or that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What xl keeps of a domain beside xenstore. `nics` are emulated, so HVM's only."""

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
        """What memory/target leaves out (libxl_internal.h:libxl__get_targetmem_fudge)."""
        balloons = self.kind == "hvm" and self.maxmem > self.memory
        return self.videoram + (SLACK if balloons else Memory(kib=0))


class Options(TypedDict, total=False):
    """How to create a domain: the keywords of Toolstack.creating."""

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
    """Take all steps that are left; return the domid that the life leaves."""
    while True:
        try:
            next(life)
        except StopIteration as end:
            domid: int = end.value
            return domid
