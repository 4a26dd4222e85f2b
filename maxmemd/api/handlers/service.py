"""What handlers share: the service's parts, and replies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from pydantic import BaseModel

from maxmemd.api import domain_json, metrics, problems
from maxmemd.api.auth.admission import Admission, AdmissionRules
from maxmemd.api.auth.refusal_log import RefusalLog
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.event_stream import EventStream
from maxmemd.api.health import DiskMonitor, health_parts
from maxmemd.api.loop_watch import LoopWatch
from maxmemd.api.reading.pool import ReadPools
from maxmemd.api.reading.shared import SharedAnswer
from maxmemd.api.request import Request
from maxmemd.api.response import Response, StreamingResponse
from maxmemd.arbiter.mailbox import Mailbox
from maxmemd.arbiter.messages import DomainView, LookAtDomain, LookAtDomains, Refused
from maxmemd.config.parsers import NONE
from maxmemd.config.settings import Config
from maxmemd.ledger.follow import LedgerFollower
from maxmemd.ledger.reader import LedgerReader


@dataclass(slots=True)
class Service:
    """The parts of the daemon that handlers use.

    `integrity` is the result of the ledger check, and `proved` says from which entry on the chain
    was found whole. `all_domains`, and `metrics` by whether they are in the plain format, are for
    all who ask.
    """

    mailbox: Mailbox
    reader: LedgerReader
    follower: LedgerFollower
    event_stream: EventStream
    config: Config
    simulated: bool
    disk: DiskMonitor
    tokens: TokenStore
    integrity: str = "being checked"
    proved: str | None = None
    refusals: RefusalLog = field(default_factory=lambda: RefusalLog(time.monotonic))
    loop_watch: LoopWatch = field(default_factory=LoopWatch)
    reads: ReadPools = field(default_factory=ReadPools)
    admission: Admission = field(init=False)
    all_domains: SharedAnswer = field(init=False)
    metrics: Mapping[bool, SharedAnswer] = field(init=False)

    def __post_init__(self) -> None:
        config = self.config
        self.admission = Admission(
            AdmissionRules(config.roles, config.rates, config.connections),
            tokens=self.tokens,
            hosts=config.hosts,
            has_device_model_socket=config.device_model_socket != NONE,
        )
        self.share_answers()

    def share_answers(self) -> None:
        """Begin to share answers; none that was made before is given any more."""
        self.all_domains = SharedAnswer(self._list, lambda: self.mailbox.status.mark)
        self.metrics = {
            plain: SharedAnswer(partial(self._scrape, plain=plain), self._counted)
            for plain in (True, False)
        }

    def parts(self) -> Mapping[str, str]:
        """Return each part's state."""
        event_stream, disk = self.event_stream.trouble, self.disk.state
        return health_parts(self.mailbox, self.loop_watch.state, self.integrity, event_stream, disk)

    async def _look_at_all(self) -> list[DomainView]:
        """Return all domains; between the parts of many the arbiter decides what waits."""
        part = await self.mailbox.ask(LookAtDomains())
        views = list(part)
        while part.more is not None:
            part = await self.mailbox.ask(part.more)
            views += part
        return views

    async def _list(self) -> bytes:
        """Return all domains as JSON."""
        views = await self._look_at_all()
        return await self.reads.shared.run("", lambda reading: domain_json.domains(views, reading))

    async def _scrape(self, *, plain: bool) -> bytes:
        """Return the metrics as text."""
        views = await self._look_at_all()
        if self.disk.space is None:
            await self.disk.look()
        scene = metrics.Scene(
            self.mailbox,
            views,
            self.parts(),
            self.event_stream.streams,
            self.disk.space,
            Counter(self.refusals.counts),
            self.simulated,
            self.loop_watch.longest_s,
        )
        return await self.reads.shared.run(
            "", lambda reading: metrics.to_text(scene, reading, plain=plain)
        )

    def _counted(self) -> object:
        """Return what is another value after each change that the metrics tell of."""
        status, refused = self.mailbox.status, self.refusals.counts.total()
        refusals = 0 if status.figures is None else sum(status.figures.refusals.values())
        return (
            status.mark,
            refused,
            refusals,
            self.event_stream.streams,
            tuple(self.parts().items()),
        )

    def each_second(self) -> None:
        """Run what is due about once a second."""
        self.mailbox.give_up()
        self.disk.each_second()

    def on_stop(self) -> None:
        """End what would not end by itself: streams, dear reads, and the check of the chain."""
        self.event_stream.close()
        self.reads.close()
        self.reader.end_check()


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
    return Response(200, to_bytes(body), revision=revision)


def to_bytes(body: BaseModel) -> bytes:
    """Return a reply's body as JSON."""
    return body.__pydantic_serializer__.to_json(body)
