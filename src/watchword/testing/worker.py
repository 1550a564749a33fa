"""A thread with an event loop of its own, and a way to send requests to an ASGI application through it.

A test may itself run in an event loop or not; what waits for this thread works in both.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

T = TypeVar("T")


class Worker:
    """An event loop in a daemon thread, running while the `with` block does."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="watchword-testing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self) -> None:
        self._loop.run_forever()
        # Here, where no other loop runs: the `with` block may be in a coroutine.
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread and return its result; raise RuntimeError in a forked child, which has no such thread."""
        if self._process != os.getpid():
            coroutine.close()
            raise RuntimeError("the server under test runs in the process that was forked, not in this one")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


class WorkerTransport(httpx.BaseTransport):
    """Answers requests of a synchronous client by an ASGI application in the worker's thread."""

    def __init__(self, worker: Worker, transport: httpx.ASGITransport) -> None:
        self._worker = worker
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = request.read()
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        return self._worker.run(self._answer(sent))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        content = await answer.aread()
        return httpx.Response(answer.status_code, headers=answer.headers, content=content)
