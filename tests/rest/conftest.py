"""maxmemctl against a stub daemon: what it shares with the relay is tested through it."""

from tests.cli.conftest import ctl, stub

__all__ = ["ctl", "stub"]
