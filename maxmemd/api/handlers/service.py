"""What handlers share: the service's parts, and replies."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from maxmemd.api import problems
from maxmemd.api.auth.admission import Admission, AdmissionRules
from maxmemd.api.auth.refusal_log import RefusalLog
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.event_stream import EventStream
from maxmemd.api.health import DiskMonitor, health_parts
from maxmemd.api.request import Request
from maxmemd.api.response import Response, StreamingResponse
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.messages import DomainView, LookAtDomain, Refused
from maxmemd.config.parsers import NONE
from maxmemd.config.settings import Config
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.reader import LedgerReader


@dataclass(slots=True)
class Service:
    """The parts of the daemon that handlers use. `integrity` is the result of the ledger check."""

    mailbox: Mailbox
    reader: LedgerReader
    follower: LedgerFollower
    event_stream: EventStream
    config: Config
    simulated: bool
    disk: DiskMonitor
    tokens: TokenStore
    integrity: str = "being checked"
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog(time.monotonic))
    admission: Admission = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.admission = Admission(
            AdmissionRules(config.roles, config.rates, config.connections),
            tokens=self.tokens,
            hosts=config.hosts,
            has_device_model_socket=config.device_model_socket != NONE,
        )

    def parts(self) -> Mapping[str, str]:
        """Return each part's state."""
        event_stream, disk = self.event_stream.trouble, self.disk.state
        return health_parts(self.mailbox, self.integrity, event_stream, disk)

    def each_second(self) -> None:
        """Run what is due about once a second."""
        self.mailbox.give_up()
        self.disk.each_second()


Handler = Callable[[Service, Request], Awaitable[Response | StreamingResponse]]


async def look(service: Service, ref: str) -> DomainView | Response:
    """Return a domain, or a problem document."""
    answer = await service.mailbox.ask(LookAtDomain(ref))
    return refusal(answer) if isinstance(answer, Refused) else answer


def refusal(refused: Refused) -> Response:
    """Return a refusal as a problem document."""
    status, body = problems.of_refusal(refused)
    return Response(status, body, problems.MEDIA_TYPE, refusal=refused.refusal)


def as_json(body: BaseModel, *, revision: int | None = None) -> Response:
    """Return a reply with this body; `revision` becomes its ETag."""
    return Response(200, body.__pydantic_serializer__.to_json(body), revision=revision)
