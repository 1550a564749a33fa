"""A token source as the `auth` of httpx clients, synchronous and asynchronous."""

import asyncio
from collections.abc import AsyncGenerator, Generator

import httpx

from watchword.client.parts import check_source
from watchword.client.proofs import is_elsewhere
from watchword.client.source import Source

TRIES = 3  # as sent, with a nonce, with another token


class HttpxAuth(httpx.Auth):
    """Presents tokens of a source with every request to its API; any other address raises WrongAddress."""

    def __init__(self, source: Source) -> None:
        check_source(source)
        self._source = source
        # Not a WeakKeyDictionary: a lock that was waited for holds a reference to its loop.
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Present a token; retry where the answer shows that another nonce, clock or token may help."""
        for left in reversed(range(TRIES)):
            request.headers.update(self._source.present(request.method, str(request.url)))
            response = yield request
            if not self._heard(response) or not left:
                return
            request = response.request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Do the same, waiting for the authorization server in a thread, one task at a time."""
        for left in reversed(range(TRIES)):
            request.headers.update(await self._presented(request))
            response = yield request
            if response.status_code == 401:
                again = await asyncio.to_thread(self._heard, response)
            else:
                again = self._heard(response)
            if not again or not left:
                return
            request = response.request

    async def _presented(self, request: httpx.Request) -> dict[str, str]:
        method, address = request.method, str(request.url)
        self._source.check(address)
        if self._source.is_ready():
            return self._source.present(method, address)
        async with self._lock():
            return await asyncio.to_thread(self._source.present, method, address)

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
        # A stream cannot be sent again.
        return (better or moved) and isinstance(request.stream, httpx.ByteStream)
