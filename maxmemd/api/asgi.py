"""The part of ASGI that we use, as types."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypedDict

from maxmemd.api.auth.peers import Peer

Headers = Sequence[tuple[bytes, bytes]]

Scope = TypedDict(
    "Scope",
    {
        "method": str,
        "path": str,
        "raw_path": bytes,
        "query_string": bytes,
        "headers": Headers,
        "maxmemd.peer": Peer,  # ours: the connection's peer, then the caller
    },
)


class Message(TypedDict, total=False):
    """A message between server and application; `type` says which keys it has."""

    type: str
    status: int
    headers: Headers
    body: bytes
    more_body: bool


Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
