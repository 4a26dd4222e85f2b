"""A reply of the daemon, and the reasons for none."""

TYPE_CHECKING = False  # typing takes a tenth of maxmemctl's start
if TYPE_CHECKING:
    from typing import Any

Body = dict[str, "Any"]
"""A JSON object."""


HOST_HEADER = "Maxmem-Host"
"""The header that every reply has where the host is no real Xen: SIMULATED."""
SIMULATED = "simulated"


class Unreachable(Exception):
    """There is no reply: maxmemd is away or silent, or something else answered."""


class Away(Unreachable):
    """Nothing accepts the connection: the request was not sent."""


class Lost(Exception):
    """The connection ended before the reply did."""


class Answer:
    """A reply: HTTP status and JSON body."""

    __slots__ = ("body", "status")

    def __init__(self, status: int, body: Body) -> None:
        self.status, self.body = status, body

    @property
    def code(self) -> str:
        """The permanent code of a problem, "" for any other reply."""
        return str(self.body.get("code", "")) if self.status >= 400 else ""
