"""libxl's builds and destructions of domains, in steps, so that tests can interleave anything.

The order is libxl's (tools/libs/light/libxl_create.c, libxl_dom.c): a domain exists with
max_pages 0, gets its maximum, is populated, and only then appears in xenstore; its device model
populates its own pages after that. A limit does not travel: restore and migration compute it again.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EINVAL
from threading import RLock
from typing import Unpack

from maxmemd.errors import DomainGone, HypervisorError
from maxmemd.policy.facts import STATIC_MAX, TARGET, VIDEORAM
from maxmemd.units import Memory
from maxmemd.xen.simulated.config import SLACK, Config, Image, Life, Options, Step, finish
from maxmemd.xen.simulated.domain import Kind
from maxmemd.xen.simulated.guests import Drivers, Guest, Ideal
from maxmemd.xen.simulated.machine import Machine
from maxmemd.xen.simulated.nodes import Nodes

CIRRUS = Memory.of_mib(8)
"""An HVM guest's default video RAM (libxl_create.c)."""

VGA_HOLE_PAGES = 32
"""RAM of an HVM guest that is not populated: the VGA window (xg_dom_x86.c)."""

SPECIAL_PAGES = 8
"""For xenstore, console and the like; as many again for a device model's ioreq server."""

VGA_ROM_PAGES = 16
NIC_ROM_PAGES = 64
"""QEMU's option ROMs, rounded up to a power of two; one for every emulated NIC."""

_SPECIAL: dict[Kind, int] = {"pv": 0, "pvh": SPECIAL_PAGES, "hvm": 2 * SPECIAL_PAGES}
_NONE = Memory(kib=0)


class Builder:
    """Builds and destroys domains on one machine. Any thread may call anything.

    libxl calls `setmaxmem` to set a maximum, and a device model `headroom` before it populates
    pages; replacing them by maxmemd's client models the interposing library.
    """

    def __init__(self, *, total: Memory, dom0: Memory, unique_ids: bool = False) -> None:
        self.lock = RLock()
        self.machine = Machine(total, dom0, self.lock, unique_ids=unique_ids)
        self.nodes = Nodes(self.lock)
        self.drivers = Drivers()
        self.setmaxmem: Callable[[int, Memory], None] = self.foreign_write
        self.headroom: Callable[[int, int], None] = lambda _domid, _pages: None
        self._configs: dict[int, Config] = {}
        self._uuids = 0
        self._introduce_dom0(total, dom0)

    def create(self, name: str, **options: Unpack[Options]) -> int:
        """Create a domain as xl does and return its domid. Raises HypervisorError."""
        return finish(self.creating(name, **options))

    def creating(
        self,
        name: str,
        *,
        memory: Memory,
        kind: Kind = "pv",
        maxmem: Memory | None = None,
        videoram: Memory | None = None,
        uuid: str | None = None,
        guest: Guest | None = None,
        nics: int = 0,
        domid: int | None = None,
        paused: bool = False,
    ) -> Life:
        """Create a domain in the steps of `building`, with xl's defaults.

        `memory` is the target and includes `videoram`; `maxmem` defaults to it.
        """
        default = CIRRUS if kind == "hvm" else _NONE
        config = Config(
            name=name,
            uuid=self._new_uuid() if uuid is None else uuid,
            kind=kind,
            memory=memory,
            maxmem=memory if maxmem is None else maxmem,
            videoram=default if videoram is None else videoram,
            guest=Ideal() if guest is None else guest,
            nics=nics,
        )
        return self.building(config, domid=domid, paused=paused)

    def building(
        self,
        config: Config,
        *,
        image: Image | None = None,
        domid: int | None = None,
        paused: bool = False,
    ) -> Life:
        """Build a domain from its configuration, or from an image.

        The steps: created, named, limited, claimed (not from an image), populated, introduced,
        device-model, and running unless `paused`. A failed step destroys the domain, as in
        libxl; dropping the generator leaves it half built.
        """
        domid = self.machine.create(config.uuid, config.kind, domid)
        try:
            yield from self._build(domid, config, image)
        except Exception:
            with suppress(DomainGone):
                self.destroy(domid)
            raise
        if not paused:
            self.machine.unpause(domid)
            yield Step("running", domid)
        return domid

    def destroy(self, domid: int) -> None:
        """Destroy a domain. Raises DomainGone."""
        finish(self.destroying(domid))

    def destroying(self, domid: int) -> Life:
        """Destroy a domain: nodes-removed, dying, dead (a zombie), released.

        Before all of it the domain is paused (libxl_domain.c:libxl__destroy_domid).
        Raises DomainGone, and HypervisorError (EINVAL) for dom0.
        """
        self.machine.domain(domid)
        if domid == 0:
            raise HypervisorError.of("destroy", domid, EINVAL)
        self.machine.pause(domid)
        with self.lock:
            self.drivers.stop(domid)
            self.nodes.remove(domid)
        yield Step("nodes-removed", domid)

        self.machine.kill(domid)
        yield Step("dying", domid)

        self.machine.bury(domid)
        self.nodes.fire()
        yield Step("dead", domid)

        self.machine.release(domid)
        self._configs.pop(domid, None)
        yield Step("released", domid)
        return domid

    def foreign_write(self, domid: int, limit: Memory) -> None:
        """Set max_pages as another program would; Xen does not record which (A7)."""
        self.machine.set_max(domid, limit.max_pages)

    def plug(self, domid: int, pages: int) -> None:
        """Let the device model make headroom and populate pages, as for a NIC's ROM.

        They are never returned (A8). Raises HypervisorError when they do not fit.
        """
        self.headroom(domid, pages)
        self.populate(domid, pages)

    def populate(self, domid: int, pages: int) -> None:
        """Populate pages that no balloon driver knows of. Raises HypervisorError."""
        with self.lock:
            self.machine.populate(domid, pages)
            self.drivers.shift(domid, pages)

    def _build(self, domid: int, config: Config, image: Image | None) -> Iterator[Step]:
        yield Step("created", domid)

        with self.lock:
            self._configs[domid] = config
            self.nodes.add(domid, config.uuid)
            self.nodes.put(domid, {"name": config.name})
        yield Step("named", domid)

        self.setmaxmem(domid, config.memory + SLACK)
        yield Step("limited", domid)

        yield from self._fill(domid, config, image)
        yield Step("populated", domid)

        target = config.memory - config.fudge
        sizes = {STATIC_MAX: config.maxmem, TARGET: target, VIDEORAM: config.videoram}
        self.nodes.put(domid, {node: str(size.kib) for node, size in sizes.items()})
        self.nodes.fire()
        yield Step("introduced", domid)

        if config.kind == "hvm" and image is None:
            self._start_device_model(domid, config)
        yield Step("device-model", domid)

        self._start_guest(domid, config, target.pages, image)

    def _fill(self, domid: int, config: Config, image: Image | None) -> Iterator[Step]:
        """Populate RAM: a fresh build claims it first, a restore does not."""
        if image is not None:
            self.populate(domid, image.tot_pages)
            return
        ram = config.memory.pages
        if config.kind == "hvm":
            ram -= config.videoram.pages + VGA_HOLE_PAGES
        self.machine.claim(domid, ram)
        yield Step("claimed", domid)

        if config.kind != "pv" and config.maxmem > config.memory:
            self.machine.set_pod_target(domid, ram)
        self.populate(domid, ram + _SPECIAL[config.kind])

    def _start_device_model(self, domid: int, config: Config) -> None:
        """Populate QEMU's blocks: it exits when one does not fit (xen_ram_alloc)."""
        self.plug(domid, config.videoram.pages)
        self.plug(domid, VGA_ROM_PAGES)
        for _ in range(config.nics):
            self.plug(domid, NIC_ROM_PAGES)

    def _start_guest(
        self, domid: int, config: Config, target_pages: int, image: Image | None
    ) -> None:
        """Start the balloon driver; memory/target may have changed since the build."""
        with self.lock:
            holds = self.machine.domain(domid).tot_pages
            offset = holds - target_pages if image is None else image.offset
            self.drivers.start(domid, config.guest, target_pages=target_pages, offset=offset)
            now = self.nodes.facts(domid).target
            self.drivers.aim(domid, target_pages if now is None else now.pages)

    def _introduce_dom0(self, total: Memory, dom0: Memory) -> None:
        self.nodes.add(0, self.machine.domain(0).uuid)
        self.nodes.put(0, {"name": "Domain-0", TARGET: str(dom0.kib), STATIC_MAX: str(total.kib)})
        self.drivers.start(0, Ideal(), target_pages=dom0.pages, offset=0)

    def _new_uuid(self) -> str:
        """Return the next UUID, the same sequence on every host."""
        with self.lock:
            self._uuids += 1
            return f"51a70000-0000-4000-8000-{self._uuids:012x}"
