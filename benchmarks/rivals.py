"""The servers that the daemon is compared with: `python -m benchmarks.rivals KIND SOCKET DB`.

All three have the daemon's uvicorn, event loop, HTTP parser and settings of the garbage collector,
and reply to the same requests with the same form.
"""

import gc
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from fastapi import Path as InPath
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from starlette.types import ASGIApp, Receive, Scope, Send

from maxmemd.policy.states import PushState
from maxmemd.wire import replies, requests

DOMAINS = 64
COMPONENT = "/v1/domains/{ref}/components/{owner}/{name}"
LIMIT = "/v1/domains/{ref}/limit"
Name = Annotated[str, InPath(pattern=requests.NAME)]


def reply_to(ref: str, kib: int, revision: int) -> replies.DecisionReply:
    """Return a reply of the form and size of the daemon's."""
    pages = kib // 4
    return replies.DecisionReply(
        uuid=f"51a70000-0000-4000-8000-{int(ref):012x}",
        domid=int(ref),
        name=f"guest-{int(ref):04}",
        revision=revision,
        max_mem_kib=kib,
        limit_kib=kib,
        max_pages=pages,
        unlimited=False,
        push=replies.Push(state=PushState.APPLIED, max_pages=pages, seen_pages=pages),
    )


def fastapi(_: Path) -> ASGIApp:
    """Rival (a): FastAPI routes with the daemon's models, which do nothing."""
    app = FastAPI()

    @app.put(COMPONENT, response_model=replies.DecisionReply)
    async def component(
        ref: str, owner: Name, name: Name, body: requests.AmountRequest
    ) -> replies.DecisionReply:
        return reply_to(ref, body.amount_kib, 1 + len(owner) + len(name))

    @app.put(LIMIT, response_model=replies.DecisionReply)
    async def limit(ref: str, body: requests.LimitRequest) -> replies.DecisionReply:
        return reply_to(ref, body.max_mem_kib, 1)

    return app


def raw(_: Path) -> ASGIApp:
    """Rival (b): the same bytes for every request: the most that an ASGI server can do."""
    body = reply_to("1", 1048576, 1).model_dump_json().encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


class Base(DeclarativeBase):
    """The ORM's tables."""


class Domain(Base):
    """A domain and its limit."""

    __tablename__ = "domain"

    domid: Mapped[int] = mapped_column(primary_key=True)
    kib: Mapped[int]
    revision: Mapped[int]


class Decision(Base):
    """One decision."""

    __tablename__ = "decision"

    id: Mapped[int] = mapped_column(primary_key=True)
    at_ns: Mapped[int]
    domid: Mapped[int]
    revision: Mapped[int]
    kib: Mapped[int]
    actor: Mapped[str]


def orm(database: Path) -> ASGIApp:
    """Rival (c): the ORM commits each request in FastAPI's thread pool, as durable as ours."""
    sessions = _sessions(database)
    app = FastAPI()

    @app.put(COMPONENT, response_model=replies.DecisionReply)
    def component(
        ref: str, owner: Name, name: Name, body: requests.AmountRequest
    ) -> replies.DecisionReply:
        with sessions() as session, session.begin():
            return _decide(session, ref, body.amount_kib, f"{owner}/{name}")

    @app.put(LIMIT, response_model=replies.DecisionReply)
    def limit(ref: str, body: requests.LimitRequest) -> replies.DecisionReply:
        with sessions() as session, session.begin():
            return _decide(session, ref, body.max_mem_kib, "operator/max-mem")

    return app


def _decide(session: Session, ref: str, kib: int, actor: str) -> replies.DecisionReply:
    domain = session.get_one(Domain, int(ref))
    domain.kib, domain.revision = kib, domain.revision + 1
    session.add(
        Decision(
            at_ns=time.time_ns(), domid=int(ref), revision=domain.revision, kib=kib, actor=actor
        )
    )
    return reply_to(ref, kib, domain.revision)


def _sessions(database: Path) -> sessionmaker[Session]:
    arguments = {"check_same_thread": False, "timeout": 60}
    engine = sa.create_engine(
        f"sqlite:///{database}", connect_args=arguments, pool_size=40, pool_timeout=60
    )

    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    Base.metadata.create_all(engine)
    made = sessionmaker(engine, expire_on_commit=False)
    with made() as session, session.begin():
        session.add_all(Domain(domid=n, kib=0, revision=0) for n in range(1, DOMAINS + 1))
    return made


KINDS: dict[str, Callable[[Path], ASGIApp]] = {"fastapi": fastapi, "raw": raw, "orm": orm}


def main(kind: str, socket: str, database: str) -> None:
    """Serve one of them until SIGTERM or SIGINT."""
    app = KINDS[kind](Path(database))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 1000)
    uvicorn.run(
        app,
        uds=socket,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
