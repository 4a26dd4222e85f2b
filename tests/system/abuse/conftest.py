"""The real daemon, as in tests/api, and the demand that an attack leaves nothing behind."""

from tests.api.conftest import bounded, daemon, room

__all__ = ["bounded", "daemon", "room"]
