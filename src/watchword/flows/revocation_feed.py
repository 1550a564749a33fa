"""The revocation feed: signed pages of what ended, for resource servers that verify tokens by themselves.

Theory of operation. A page lists what ended after a position; an empty page says that nothing did, and serves as a heartbeat. While
there are followers, one task of the process checks every `LOOK` seconds whether the database has changed, numbers what ended, and lets
the feed *beat*: at once when something ended, else every `HEARTBEAT` seconds. Each follower is then sent the page after its own
position. All followers at the same position get the same page, signed once, so that a beat costs one signature and one read, however
many there are. Followers have no queue: a slow reader is just at an older position.

While the database cannot be read there is no beat, so that no follower takes silence for "nothing ended".
"""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec

from watchword.flows.keyring import Keyring
from watchword.jose import jwt
from watchword.oauth import ended
from watchword.oauth.ended import Page
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store import ended as store
from watchword.store.database import Database, StorageUnavailable
from watchword.telemetry import log

LOOK = 0.1
HEARTBEAT = 1.0
LONGEST_STREAM = 3600.0  # seconds after which a follower has to reconnect, perhaps to another node
MAX_PAGES = 64


class Signed(msgspec.Struct, frozen=True):
    """A page and its JWT; `made` is a moment of the monotonic clock."""

    page: Page
    token: str
    made: float


class RevocationFeed:
    """The feed of one process."""

    def __init__(
        self, settings: Settings, database: Database, keyring: Keyring, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._followers: Counter[str] = Counter()
        self._beat = asyncio.Event()
        self._pages: dict[str, asyncio.Task[Signed]] = {}
        self._version = -1
        self._position = ""
        self._task: asyncio.Task[None] | None = None

    async def page(self, after: str) -> Signed:
        """Return the page after a position; an unknown position counts as the beginning. Raise StorageUnavailable."""
        await self._catch_up()
        return await self._page(after)

    def admit(self, address: str) -> Callable[[], None]:
        """Count a follower and return the function that it calls when it leaves; raise `temporarily_unavailable` when there are
        too many already, in all or from one address."""
        limit = self._settings.revocation_streams
        if self._followers.total() >= limit or self._followers[address] * 2 >= limit:
            raise OAuthError(
                "temporarily_unavailable",
                "The revocation feed has too many followers already: poll its pages instead.",
                retry_after=5,
            )
        self._followers[address] += 1
        return lambda: self._leave(address)

    def _leave(self, address: str) -> None:
        self._followers[address] -= 1
        if not self._followers[address]:
            del self._followers[address]

    async def follow(self, after: str) -> AsyncIterator[Signed]:
        """Yield the pages after a position as they come, with empty ones as heartbeats between them."""
        until = time.monotonic() + LONGEST_STREAM
        await self._catch_up()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="revocation-feed")
        while time.monotonic() < until:
            beat = self._beat
            signed = await self._page(after)
            yield signed
            after = signed.page.position
            if not signed.page.more:
                await beat.wait()

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        due, beaten = 0.0, self._position
        while self._followers:
            try:
                await self._catch_up()
                if self._position != beaten or time.monotonic() >= due:
                    due, beaten = time.monotonic() + HEARTBEAT, self._position
                    self._pages.clear()
                    beat, self._beat = self._beat, asyncio.Event()
                    beat.set()
            except StorageUnavailable as error:
                log.warning("revocation_feed.silent", reason=error.reason)
            await asyncio.sleep(LOOK)

    async def _catch_up(self) -> None:
        """Number what ended since the last look, and read the newest position."""
        version = self._database.version()
        if version == self._version:
            return
        while await self._database.read(store.has_unnumbered):
            await self._database.write(store.number_next, secrets.token_hex(6))
        position = await self._database.read(store.position)
        if position != self._position:
            self._position = position
            self._pages.clear()
        self._version = version

    async def _page(self, after: str) -> Signed:
        making = self._pages.get(after)
        if making is None or not _is_good(making):
            if len(self._pages) >= MAX_PAGES:
                self._pages.clear()
            making = self._pages[after] = asyncio.create_task(self._make(after))
        return await asyncio.shield(making)

    async def _make(self, after: str) -> Signed:
        made, now = time.monotonic(), int(self._clock())
        position = await self._database.read(store.position)
        feed, _, head = position.partition(".")
        number = _number(after, feed)
        found = await self._database.read(store.after, number, ended.PAGE)
        more, last = len(found) == ended.PAGE, found[-1][0] if found else 0
        reached = last if more else max(last, int(head or 0))
        page = Page(
            after=after if number else "",
            position=f"{feed}.{reached}" if feed else "",
            more=more,
            entries=tuple(entry for _, entry in found),
            issued_at=now,
        )
        return Signed(page, await self._sign(page), made)

    async def _sign(self, page: Page) -> str:
        key = await self._keyring.signing_key(self._settings.signing_algorithms[0])
        return jwt.encode(key, ended.page_claims(self._settings.issuer, page), typ=ended.TOKEN_TYPE)


def _is_good(making: asyncio.Task[Signed]) -> bool:
    """Whether a page may be shared with one more follower: it is being made, or was made within one heartbeat."""
    if not making.done():
        return True
    failed = making.cancelled() or making.exception() is not None
    return not failed and time.monotonic() - making.result().made < HEARTBEAT


def _number(position: str, feed: str) -> int:
    """Return the number in a follower's position; 0 for that of another feed (from before a restore)."""
    named, _, number = position.partition(".")
    known = bool(feed) and named == feed and number.isascii() and number.isdigit() and len(number) < 19
    return int(number) if known else 0
