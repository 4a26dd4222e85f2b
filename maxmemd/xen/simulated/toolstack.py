"""Shutdown, reboot, save, restore and migration as xl and libxl do them (A5, A6)."""

from dataclasses import replace
from errno import ESRCH

from maxmemd.errors import HypervisorError
from maxmemd.xen.simulated.builder import Builder
from maxmemd.xen.simulated.config import Config, Image, Life, Step, finish

POWEROFF, REBOOT, SUSPEND, CRASH = 0, 1, 2, 3
"""Shutdown reasons (xen/include/public/sched.h:SHUTDOWN_*)."""


class Toolstack(Builder):
    """xl's operations on domains. Any thread may call anything."""

    def shutdown(self, domid: int, reason: int = POWEROFF) -> None:
        """Shut a guest down; its domain stays until it is destroyed (A5)."""
        self.machine.shut_down(domid, reason)
        self.nodes.fire()

    def reboot(self, domid: int) -> int:
        """Reboot a guest; return its new domid."""
        return finish(self.rebooting(domid))

    def rebooting(self, domid: int, reason: int = REBOOT) -> Life:
        """Reboot a guest: shutdown, then the steps of destroying and of building (A6).

        With another reason it crashed, or its watchdog bit, and xl makes it again all the same
        (on_crash = "restart").
        """
        self.shutdown(domid, reason)
        config = self._retrieve(domid)
        yield Step("shutdown", domid)
        yield from self.destroying(domid)
        return (yield from self.building(config))

    def save(self, domid: int) -> Image:
        """Save a domain and destroy it."""
        image = self.image(domid)
        self.shutdown(domid, SUSPEND)
        self.destroy(domid)
        return image

    def restore(self, image: Image, *, paused: bool = False) -> int:
        """Restore a domain and return its domid; E2BIG if it had more than libxl's new maximum."""
        return finish(self.building(image.config, image=image, paused=paused))

    def migrate_locally(self, domid: int) -> int:
        """Migrate a domain to this same host; return its new domid."""
        return finish(self.migrating(domid))

    def migrating(self, domid: int) -> Life:
        """Migrate locally: the steps of building, suspended, handed-over, those of destroying.

        The new domain has the same UUID, no name at first, then NAME--incoming, paused (A6).
        """
        image = self.image(domid)
        name = image.config.name
        incoming = replace(image.config, name=f"{name}--incoming")
        newcomer = yield from self.building(incoming, image=image, paused=True)
        self.shutdown(domid, SUSPEND)
        yield Step("suspended", domid)

        self.rename(domid, f"{name}--migratedaway")
        self.rename(newcomer, name)
        self.unpause(newcomer)
        yield Step("handed-over", newcomer)

        yield from self.destroying(domid)
        return newcomer

    def pause(self, domid: int) -> None:
        """Pause a guest: its balloon stops."""
        self.machine.pause(domid)

    def unpause(self, domid: int) -> None:
        """Unpause a guest."""
        self.machine.unpause(domid)

    def rename(self, domid: int, name: str) -> None:
        """Rename a domain."""
        with self.lock:
            self._configs[domid] = replace(self._config_of(domid), name=name)
            self.nodes.put(domid, {"name": name})

    def image(self, domid: int) -> Image:
        """Return what a save writes: the configuration of now, and the pages."""
        with self.lock:
            config = self._retrieve(domid)
            holds = self.machine.domain(domid).tot_pages
            return Image(config, holds, self.drivers.offset(domid))

    def _retrieve(self, domid: int) -> Config:
        """Return the configuration for rebuilding a domain, with xenstore's target and static-max.

        Source: libxl_domain.c:libxl_retrieve_domain_configuration.
        """
        config, seen = self._config_of(domid), self.nodes.facts(domid)
        maxmem = config.maxmem if seen.static_max is None else seen.static_max
        now = replace(config, maxmem=maxmem)
        return now if seen.target is None else replace(now, memory=seen.target + config.fudge)

    def _config_of(self, domid: int) -> Config:
        config = self._configs.get(domid)
        if config is None:
            raise HypervisorError.of("find the configuration", domid, ESRCH)
        return config
