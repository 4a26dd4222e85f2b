"""What a running daemon takes of a configuration that was read again (SIGHUP)."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from maxmemd.api.aside import Aside
from maxmemd.api.auth.admission import AdmissionRules
from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.handlers.service import Service
from maxmemd.arbiter.settings import Settings
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError

LOG = logging.getLogger("maxmemd")
READ_WITHIN_S = 10.0
"""How long a configuration may take to be read again."""
REMOTE = ("listen", "tls_certificate", "tls_key", "tls_clients", "hosts")
FIXED = (
    "socket",
    "socket_group",
    "device_model_socket",
    "database",
    "hypervisor",
    "pusher",
    *REMOTE,
)
"""Keys that only a restart changes."""


def settings_of(config: Config) -> Settings:
    """Return what the arbiter is to know of the configuration."""
    return Settings(
        config.rules,
        config.drift_rules,
        config.gone,
        config.fights,
        config.by_name,
        config.retention,
    )


class Reload:
    """Called on SIGHUP, in the event loop's thread: takes what the configuration says now."""

    def __init__(
        self, reread: Callable[[], Config], service: Service, dispatcher: Dispatcher
    ) -> None:
        self._reread, self._service, self._dispatcher = reread, service, dispatcher
        self._aside = Aside(1, READ_WITHIN_S)
        self._reading: asyncio.Task[None] | None = None
        self._is_wanted = False

    def __call__(self) -> None:
        """Read the configuration again, once more if that is going on already."""
        self._is_wanted = True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        """Read it; what cannot be used, or does not come in time, changes nothing.

        A file system or a name service that hangs holds up neither requests nor a later stop.
        """
        while self._is_wanted:
            self._is_wanted = False
            try:
                self._take(await self._aside.call(self._reread))
            except ConfigError as error:
                LOG.error("the configuration stays as it was: %s", error)  # noqa: TRY400
            except TimeoutError:
                LOG.error(  # noqa: TRY400
                    "the configuration stays as it was: cannot read it within %.0f s"
                    " (its file system, or the name service for its users and groups, hangs, or"
                    " an earlier reading of it still does)",
                    READ_WITHIN_S,
                )
            except Exception:
                LOG.exception("the configuration stays as it was")

    def _take(self, found: Config) -> None:
        """Apply a configuration.

        Open connections get their new role with the next request, and event streams of clients
        whose role changed end. Limits stay: new rules apply to new decisions.
        """
        now = self._service.config
        for name in FIXED:
            if getattr(found, name) != getattr(now, name):
                LOG.warning("%s stays %r until a restart", name, getattr(now, name))
        taken = replace(found, **{name: getattr(now, name) for name in FIXED})
        self._service.config = taken
        rules = AdmissionRules(taken.roles, taken.rates, taken.connections)
        self._dispatcher.admission.reconfigure(rules)
        self._service.event_stream.notify()
        settings = settings_of(taken)
        self._service.mailbox.reconfigure(settings, poll_s=taken.poll_s)
        LOG.info("the configuration was read again; drift is %s", taken.drift)
