"""Token status lists (draft-ietf-oauth-status-list): allocating indexes, and serving the signed lists.

Theory of operation. A process opens a list for a client by one write and allocates its indexes from memory, in random order, for an
hour at most; so a token needs no write of its own. What a token depends on besides its client is stored together with its grant.
Whether an index is still valid is not stored: it is computed from what ended (`store.statuses`), so that no revocation can miss a list.
A list belongs to one version of a client's registration: a client that was disabled and enabled again, or deleted and created again,
gets new lists.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from watchword.flows.keyring import Keyring
from watchword.jose import jwt
from watchword.oauth import status_list
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store import statuses as store
from watchword.store.database import Database, StorageUnavailable
from watchword.store.statuses import StatusListRow

SIZE = 16_384
RESERVE = 1_000  # indexes left at which the next list is opened
OPEN_FOR = 3600
LONGEST = 86_400 + 60
MAX_OPEN = 1_000
MAX_SERVED = 200


# One state of a client's registration: its identifier, its version, and when it was made.
_State = tuple[str, int, int]


def _state(client: Client) -> _State:
    return client.client_id, client.version, client.created_at


@dataclass(slots=True)
class _Open:
    """A list from which indexes are allocated; `moved` is a Fisher-Yates shuffle, computed as indexes are taken."""

    id: str
    until: int
    left: int
    moved: dict[int, int] = field(default_factory=dict)

    def take(self) -> int:
        """Return a random index that was not taken before."""
        chosen = secrets.randbelow(self.left)
        self.left -= 1
        last = self.moved.pop(self.left, self.left)
        if chosen == self.left:
            return last
        index = self.moved.get(chosen, chosen)
        self.moved[chosen] = last
        return index


class Served(msgspec.Struct, frozen=True):
    """A signed list; `made_at` in Unix seconds."""

    token: bytes
    etag: bytes
    version: int
    made_at: int


class StatusLists:
    """The status lists of one process."""

    def __init__(
        self, settings: Settings, database: Database, keyring: Keyring, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._database = database
        self._keyring = keyring
        self._clock = clock
        self._open: dict[_State, _Open] = {}
        self._opening: dict[_State, asyncio.Task[None]] = {}
        self._served: dict[str, Served] = {}

    def concern(self, client: Client, audience: tuple[str, ...] = ()) -> bool:
        """Whether a client's tokens for an audience carry a status; without an audience, whether any of them may."""
        listed = self._settings.status_lists
        return client.access_token_status or bool(
            listed and (not audience or any(resource in listed for resource in audience))
        )

    async def prepare(self, client: Client) -> None:
        """Make sure that an index can be allocated for the next token of a client."""
        key = _state(client)
        found = self._open.get(key)
        usable = found is not None and found.left > 0 and self._clock() < found.until
        if usable and found is not None and found.left > RESERVE:
            return
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = asyncio.create_task(self._open_list(key))
            opening.add_done_callback(lambda _: self._opening.pop(key, None))
        if not usable:
            await asyncio.shield(opening)

    async def _open_list(self, key: _State) -> None:
        now, list_id = int(self._clock()), secrets.token_urlsafe(16)
        row = StatusListRow(key[0], now, now + OPEN_FOR + LONGEST)
        await self._database.write(store.create_list, list_id, row)
        if len(self._open) >= MAX_OPEN:
            self._open.clear()
        self._open[key] = _Open(list_id, now + OPEN_FOR, SIZE)

    def allot(self, client: Client) -> tuple[str, int]:
        """Return list and index for a new token; raise StorageUnavailable when no list could be opened."""
        found = self._open.get(_state(client))
        if found is None or not found.left:
            raise StorageUnavailable("no status list is open")
        return found.id, found.take()

    def address(self, list_id: str) -> str:
        """Return where a list is served."""
        return f"{self._settings.issuer}/status-lists/{list_id}"

    async def serve(self, list_id: str) -> Served:
        """Return a signed list, made again when something ended or half of its `ttl` has passed; raise `not_found`."""
        now, version = int(self._clock()), self._database.version()
        served = self._served.get(list_id)
        young = served is not None and now - served.made_at < self._settings.status_list_ttl // 2
        if served is not None and young and served.version == version:
            return served
        row = await self._database.read(store.find_list, list_id, now)
        if row is None:
            raise OAuthError("not_found", "There is no such status list.")
        served = await self._make(list_id, row, version, now)
        if len(self._served) >= MAX_SERVED:
            self._served.clear()
        self._served[list_id] = served
        return served

    async def _make(self, list_id: str, row: StatusListRow, version: int, now: int) -> Served:
        over = await self._database.read(store.is_over, row)
        ended = range(SIZE) if over else await self._database.read(store.ended_in, list_id)
        statuses = status_list.build(SIZE, ((index, status_list.INVALID) for index in ended))
        ttl = self._settings.status_list_ttl
        claims = status_list.token_claims(
            self.address(list_id), statuses, now=now, lifetime=10 * ttl, ttl=ttl
        )
        key = await self._keyring.signing_key(self._settings.signing_algorithms[0])
        token = jwt.encode(key, claims, typ=status_list.TOKEN_TYPE).encode()
        etag = b'"%b"' % hashlib.sha256(token).hexdigest()[:32].encode()
        return Served(token, etag, version, now)
