"""`systemctl reload maxmemd`: the configuration is read again, and nothing stands still for it."""

import logging
from collections.abc import Callable
from dataclasses import replace

from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.handlers.service import Service
from maxmemd.arbiter.settings import Settings
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError

LOG = logging.getLogger("maxmemd")

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
"""What only a restart changes."""


class Reload:
    """Takes the configuration anew when it is called. Belongs to the event loop's thread."""

    def __init__(self, reread: Callable[[], Config], service: Service, front: Dispatcher) -> None:
        self._reread, self._service, self._front = reread, service, front

    def __call__(self) -> None:
        """Take what the file says now; one that cannot be used changes nothing.

        Open connections have the role that it gives them, from their next request on, and a stream
        of events ends whose client has another one now. Limits stay: only what is decided from now
        on follows the new rules.
        """
        try:
            found = self._reread()
        except ConfigError as error:
            LOG.error("the configuration stays as it was: %s", error)  # noqa: TRY400
            return
        now = self._service.config
        for name in FIXED:
            if getattr(found, name) != getattr(now, name):
                LOG.warning("%s stays %r until a restart", name, getattr(now, name))
        taken = replace(found, **{name: getattr(now, name) for name in FIXED})
        self._service.config = taken
        self._front.gate.take(taken.roles, taken.rates, taken.connections)
        self._service.feed.tell()
        settings = Settings(taken.rules, taken.drift, taken.keep_gone_s)
        self._service.mailbox.reconfigure(settings, poll_s=taken.poll_s)
        LOG.info("the configuration was read again; drift is %s", taken.drift)
