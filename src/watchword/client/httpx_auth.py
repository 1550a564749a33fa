"""A token source as the `auth` of clients of httpx, and of httpx2 (its continuation by others, which the MCP Python SDK uses).

Both have the same classes, but neither accepts those of the other. httpx2 need not be installed, and is never imported here.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import httpx

from watchword.client.credential import Source
from watchword.client.parts import check_source
from watchword.client.proofs import is_elsewhere

TRIES = 3  # as sent, with a nonce, with another token
P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    import httpx2

    class _Auth(httpx.Auth, httpx2.Auth):  # type: ignore[misc]  # each has requests of its own
        pass
else:
    _Auth = httpx.Auth


class HttpxAuth(_Auth):
    """Adds a token from a source to every request to its API; a request to any other address raises WrongAddress."""

    if not TYPE_CHECKING:

        @property
        def __class__(self) -> type:
            """Pass for an `Auth` of httpx2, which checks by `isinstance` whether an `auth` is one, a function or a password."""
            return _of_httpx2("Auth") or HttpxAuth

    def __init__(self, source: Source) -> None:
        check_source(source)
        self._source = source
        # Not a WeakKeyDictionary: a lock that was waited for holds a reference to its loop.
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    def __reduce__(self) -> str:
        """Raise TypeError with the reason: it cannot be pickled or copied, being tied to its source and this process's event loops."""
        raise TypeError(
            "an HttpxAuth cannot be copied or pickled: create one, and its source, in each process"
        )

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """Present a token; retry where the answer shows that another nonce, clock or token may help."""
        told: Callable[[str, Any], object] | None = request.extensions.get("trace")

        def trace(event: str, about: Any) -> None:
            _drop_stray_proof(event, about)
            if told is not None:
                told(event, about)

        given = request
        try:
            for left in reversed(range(TRIES)):
                request.headers.update(self._source.present(request.method, str(request.url)))
                _follow(request, trace)
                response = yield request
                if not self._heard(response) or not left:
                    return
                request = response.request
        finally:
            _leave(given, told)

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """Do the same, waiting for the authorization server in a thread, one task at a time; raise RuntimeError without asyncio."""
        _check_loop()
        told: Callable[[str, Any], Awaitable[object]] | None = request.extensions.get("trace")

        async def trace(event: str, about: Any) -> None:
            _drop_stray_proof(event, about)
            if told is not None:
                await told(event, about)

        given = request
        try:
            for left in reversed(range(TRIES)):
                request.headers.update(await self._presented(request))
                _follow(request, trace)
                response = yield request
                if response.status_code == 401:
                    again = await self._in_thread(self._heard, response)
                else:
                    again = self._heard(response)
                if not again or not left:
                    return
                request = response.request
        finally:
            _leave(given, told)

    async def _presented(self, request: httpx.Request) -> dict[str, str]:
        method, address = request.method, str(request.url)
        self._source.check(address)
        if self._source.is_ready():
            return self._source.present(method, address)
        return await self._in_thread(self._source.present, method, address, time.monotonic())

    async def _in_thread(self, ask: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Run what may wait for the authorization server in a thread, one at a time for this event loop.

        A cancelled task leaves its thread waiting, and the lock held until that ends. Without the lock, many such threads would use up
        the loop's thread pool, and the program could not even resolve a host name.
        """
        lock = self._lock()
        await lock.acquire()
        asking = asyncio.ensure_future(asyncio.to_thread(ask, *given, **named))
        asking.add_done_callback(lambda done: _ended(done, lock))
        return await asyncio.shield(asking)

    def _lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if loop not in self._locks:
            for other in tuple(self._locks):
                if other.is_closed():
                    self._locks.pop(other, None)
        return self._locks.setdefault(loop, asyncio.Lock())

    def _heard(self, response: httpx.Response) -> bool:
        # The answer may come from the end of a redirect: what counts is the last request.
        request, address = response.request, str(response.request.url)
        sent = request.headers.get("authorization")
        if sent is None:  # the redirect led to another origin, and httpx removed the token
            return False
        better = self._source.heard(address, response.status_code, response.headers, sent)
        moved = response.status_code == 401 and is_elsewhere(request.headers.get("dpop"), address)
        return (better or moved) and _can_go_again(request.stream)


def _of_httpx2(name: str) -> Any:
    """Return a class of httpx2, None in a program that does not use it."""
    return getattr(sys.modules.get("httpx2"), name, None)


def _ended(asking: asyncio.Future[Any], lock: asyncio.Lock) -> None:
    lock.release()
    if not asking.cancelled():
        asking.exception()  # retrieved here, or asyncio logs it when the waiting task has gone


def _check_loop() -> None:
    """Raise RuntimeError on an event loop other than asyncio's, with the first request and not when a token has to be renewed."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "HttpxAuth in an AsyncClient needs the event loop of asyncio, not one such as trio's"
        ) from None


def _follow(request: httpx.Request, trace: Callable[[str, Any], object]) -> None:
    if "dpop" in request.headers:
        request.extensions["trace"] = trace


def _leave(request: httpx.Request, told: Callable[[str, Any], object] | None) -> None:
    """Restore the `trace` of the program's request: it may be sent again many times, and each of our hooks would call the one before."""
    if told is not None:
        request.extensions["trace"] = told
    else:
        request.extensions.pop("trace", None)


def _drop_stray_proof(event: str, about: Any) -> None:
    # On a redirect to another origin, httpx removes the token but not its proof. An `auth` does not see redirects: only the events of a
    # connection show each request before it is sent.
    if not event.endswith(".send_request_headers.started"):
        return
    request = about["request"]
    if not any(name.lower() == b"authorization" for name, _ in request.headers):
        request.headers = [(name, value) for name, value in request.headers if name.lower() != b"dpop"]


def _can_go_again(stream: object) -> bool:
    """Whether a body can be sent again: one in memory, or a form whose files are all seekable (httpx rewinds them)."""
    if isinstance(stream, (httpx.ByteStream, _of_httpx2("ByteStream") or httpx.ByteStream)):
        return True
    parts = getattr(stream, "fields", None)  # of a multipart form, whose class is not public
    return isinstance(parts, list) and all(_is_kept(getattr(part, "file", b"")) for part in parts)


def _is_kept(file: Any) -> bool:
    return isinstance(file, str | bytes) or (hasattr(file, "seekable") and file.seekable())
