"""A reply of the daemon, and why there is none."""

TYPE_CHECKING = False  # typing takes a tenth of maxmemctl's start
if TYPE_CHECKING:
    from typing import Any

Body = dict[str, "Any"]
"""A JSON object."""


class Unreachable(Exception):
    """There is no reply: maxmemd is away, silent, or not what answered."""


class Away(Unreachable):
    """Nobody takes the request."""


class Lost(Exception):
    """The connection ended before the reply did."""


class Answer:
    """A reply: HTTP status and JSON body."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: Body) -> None:
        self.status, self.body = status, body

    @property
    def code(self) -> str:
        """The problem's permanent code, "" for a reply that is none."""
        return str(self.body.get("code", "")) if self.status >= 400 else ""
