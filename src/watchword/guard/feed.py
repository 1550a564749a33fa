"""Following an issuer's revocation feed in the background: by server-sent events, by polling where they do not get through.

Theory of operation. One task on the background loop follows the feed for as long as its guard exists. It asks for everything after
its last position, so that a dropped connection leaves no gap. A stream that is silent for `QUIET` seconds is given up. Where streams
are refused, or buffered by a proxy, the task polls for pages every `POLL` seconds, `POLLS` times, and then tries a stream again.
Failures are followed by exponential backoff with jitter.
"""

import asyncio
import logging
import random
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import httpx

from watchword.guard import background
from watchword.guard.ended import Ended
from watchword.guard.issuer import Issuer
from watchword.guard.keys import KeySet
from watchword.guard.trusted import IssuerUnavailable
from watchword.http_clients import is_readable
from watchword.jose import jws, jwt
from watchword.oauth import ended as pages
from watchword.oauth.ended import EndedError, Page

CONNECT = 5.0
QUIET = 3.0
POLL = 0.5
POLLS = 60
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
ASK_AGAIN = 300.0  # whether an issuer without a feed has one now
MAX_EVENT = 64 * 1024

LOG = logging.getLogger("watchword.guard")


class _NoStream(Exception):
    """The feed cannot be streamed to us, at least not now."""


@dataclass(slots=True)
class _Source:
    """What the following task needs; it holds no reference to the guard, so that the guard can be collected."""

    issuer: Issuer
    keys: KeySet
    ended: Ended
    clock: Callable[[], float]


class Feed:
    """The feed of one issuer; it is followed from the first use until it is stopped, or this object is gone."""

    def __init__(self, issuer: Issuer, keys: KeySet, silence: float, clock: Callable[[], float]) -> None:
        self.ended = Ended(silence)
        self._source = _Source(issuer, keys, self.ended, clock)
        self._lock = threading.Lock()
        self._loop: object = None
        self._begun = 0.0
        self._stop: weakref.finalize[[], Feed] | None = None
        background.fork_aware.add(self)

    def forked(self) -> None:
        """Count as silent: nothing follows the feed in a child until it is started there."""
        self._lock = threading.Lock()
        self.ended.distrust()

    def start(self) -> None:
        """Start following the feed in this process; does nothing when that has been done."""
        if self._loop is not background.identity():
            with self._lock:
                if self._loop is not background.identity():
                    following = background.begin(_follow(self._source))
                    self._stop = weakref.finalize(self, following.cancel)
                    self._begun, self._loop = time.monotonic(), background.identity()

    async def settled(self, patience: float) -> bool:
        """Wait until the feed can be trusted, or there is none; return False when `patience` seconds have passed since the start."""
        until = self._begun + patience
        while self.ended.is_silent:
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(0.01)
        return True

    def stop(self) -> None:
        """Stop following the feed, and count as silent until it is started again."""
        with self._lock:
            if self._stop is not None:
                self._stop()
            self._stop = self._loop = None
            self.ended.distrust()


async def _follow(source: _Source) -> None:
    failures = 0
    while True:
        trusted_until = source.ended.trusted_until
        try:
            await _listen(source)
            failures = 0
        except Exception as error:  # whatever it is, following must go on
            failures = 0 if source.ended.trusted_until > trusted_until else failures + 1
            if failures <= 1:
                reason = str(error) or type(error).__name__
                LOG.warning("the revocation feed of %s was cut off: %s", source.issuer.issuer, reason)
        pause = min(FIRST_PAUSE * 2.0 ** min(failures, 10), LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


async def _listen(source: _Source) -> None:
    uri = await source.issuer.address("watchword_revocations_endpoint")
    if uri is None:
        source.ended.absent()
        await asyncio.sleep(ASK_AGAIN)
        return
    source.ended.offered = True
    try:
        await _stream(source, uri)
    except _NoStream:
        for _ in range(POLLS):
            await _poll(source, uri)
            await asyncio.sleep(POLL)


async def _stream(source: _Source, uri: str) -> None:
    headers = {"accept": "text/event-stream", "cache-control": "no-store"}
    asked = {"after": source.ended.position} if source.ended.position else {}
    timeout = httpx.Timeout(CONNECT, read=QUIET)
    heard = False
    try:
        async with (await source.issuer.http()).stream(
            "GET", uri, params=asked, headers=headers, timeout=timeout
        ) as answer:
            kind = answer.headers.get("content-type", "")
            is_stream = kind.startswith("text/event-stream") and is_readable(answer.headers)
            if answer.status_code != 200 or not is_stream:
                raise _NoStream
            async for data in _events(answer.aiter_bytes()):
                await _apply(source, data)
                heard = True
    except httpx.ReadTimeout:
        if heard:
            raise
    if not heard:  # something in between buffers the stream, or ends it at once
        raise _NoStream


async def _poll(source: _Source, uri: str) -> None:
    more = True
    while more:
        asked = {"after": source.ended.position} if source.ended.position else {}
        headers = {"accept": "application/jwt"}
        answer = await source.issuer.ask("GET", uri, most=MAX_EVENT, params=asked, headers=headers)
        if answer.status_code != 200:
            raise IssuerUnavailable(f"the revocation feed answered {answer.status_code}")
        more = (await _apply(source, answer.content.decode("ascii").strip())).more


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the data of server-sent events; this feed sends one `data:` line in each."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_EVENT:
            raise EndedError("an event is too long")
        for line in lines:
            if line.startswith(b"data: "):
                yield line[6:].strip().decode("ascii")


async def _apply(source: _Source, token: str) -> Page:
    trusted = source.issuer.trusted
    claims = jwt.decode(
        token,
        await source.keys.find(jws.peek(token).kid),
        algorithms=trusted.algorithms,
        typ=pages.TOKEN_TYPE,
        issuer=trusted.issuer,
        now=int(source.clock()),
        required=("iat", "after", "position", "ended"),
    )
    page = pages.read_page(claims)
    source.ended.apply(page, source.clock())
    return page
