"""What stands behind the front: FastAPI, which describes our routes and answers for all others."""

import asyncio
from typing import Any

from maxmemd.api.dispatch import Dispatcher
from maxmemd.api.handlers.service import Service
from maxmemd.api.routes import ROUTES


def make_app(service: Service) -> Dispatcher:
    """Return the application that the server runs."""
    behind = Behind()
    behind.front = front = Dispatcher(service, ROUTES, behind)
    return front


class Behind:
    """FastAPI, made for the first request that needs it: to load it is almost half of a start."""

    front: Dispatcher

    def __init__(self) -> None:
        self._made: Any = None
        self._making = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        await (await self.app())(scope, receive, send)

    async def app(self) -> Any:
        """Return the FastAPI application."""
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
        return self._made

    def _make(self) -> Any:
        from maxmemd.api.openapi import described_by

        return described_by(self.front)
