"""Server-side sessions for an application's own users: an opaque `__Host-` cookie, everything else on the server.

Theory of operation. The cookie holds 256 random bits, the store only their SHA-256. A session gets a new identifier at sign-in and at
elevation, so that one planted before is worthless (session fixation). A session that ended while a request ran stays ended: a request
may update a session that is there but never bring one back, unless it signs somebody in. Unsafe requests and WebSockets from other
sites are refused.

Owns the middleware, the rules and a store in memory; any other store is a class with the five methods of `SessionStore`. How a
person proves who they are is not decided here.
"""

import hashlib
import inspect
import json
import secrets
import time
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from watchword.guard.asgi import SESSION, Application, Receive, Scope, Send
from watchword.guard.cookies import SAFE
from watchword.guard.misuse import check_origins, check_seconds

__all__ = ["MemoryStore", "Record", "Session", "SessionMiddleware", "SessionStore"]

COOKIE = "__Host-session"
STORE = ("get", "add", "replace", "remove", "remove_of")  # what a SessionStore has
TOUCH = 10  # `seen_at` is written again after a tenth of the idle limit


@dataclass(frozen=True, slots=True)
class Record:
    """A session as a store keeps it; times are Unix seconds, and `subject` is empty before sign-in."""

    subject: str
    data: Mapping[str, object]
    began_at: float
    seen_at: float


class SessionStore(Protocol):
    """A store of sessions, keyed by the SHA-256 of their identifier."""

    async def get(self, digest: bytes) -> Record | None:
        """Return a session."""

    async def add(self, digest: bytes, record: Record, until: float) -> None:
        """Store a new session; it may be dropped after `until`."""

    async def replace(self, digest: bytes, record: Record) -> bool:
        """Replace a session atomically; return False, and store nothing, if it no longer exists."""

    async def remove(self, digest: bytes) -> None:
        """End a session."""

    async def remove_of(self, subject: str) -> int:
        """End all sessions of a person; return how many there were."""


class MemoryStore:
    """Keeps the sessions of one process in memory; they are lost when it ends."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._kept: dict[bytes, tuple[Record, float]] = {}
        self._clock = clock
        self._purge_at = 1000

    async def get(self, digest: bytes) -> Record | None:
        """Return a session."""
        found = self._kept.get(digest)
        return found[0] if found else None

    async def add(self, digest: bytes, record: Record, until: float) -> None:
        """Store a new session; expired ones are purged from time to time."""
        if len(self._kept) >= self._purge_at:
            now = self._clock()
            self._kept = {key: kept for key, kept in self._kept.items() if kept[1] > now}
            self._purge_at = max(1000, 2 * len(self._kept))
        self._kept[digest] = (record, until)

    async def replace(self, digest: bytes, record: Record) -> bool:
        """Replace a session that still exists."""
        found = self._kept.get(digest)
        if found is not None:
            self._kept[digest] = (record, found[1])
        return found is not None

    async def remove(self, digest: bytes) -> None:
        """End a session."""
        self._kept.pop(digest, None)

    async def remove_of(self, subject: str) -> int:
        """End all sessions of a person."""
        ended = [digest for digest, (record, _) in self._kept.items() if record.subject == subject]
        for digest in ended:
            del self._kept[digest]
        return len(ended)


@dataclass(slots=True)
class Session:
    """The session of one request, `scope["session"]`; what is put into `data` must be JSON."""

    subject: str = ""
    data: MutableMapping[str, object] = field(default_factory=dict)
    _proved: bool = False
    _renewed: bool = False
    _ended: bool = False
    _answered: bool = False

    def sign_in(self, subject: str) -> None:
        """Sign a person in, under a new session identifier; raise RuntimeError if the response has begun.

        `data` of an anonymous visitor is kept, that of another person discarded.
        """
        self._change()
        if self.subject not in ("", subject):
            self.data.clear()
        self.subject, self._proved, self._renewed, self._ended = subject, True, True, False

    def elevate(self) -> None:
        """Change the session identifier once the person has proved another factor; raise RuntimeError if the response has begun."""
        self._change()
        self._renewed = True

    def sign_out(self) -> None:
        """End the session; raise RuntimeError if the response has begun."""
        self._change()
        self.subject, self._proved, self._ended = "", False, True
        self.data.clear()

    def _change(self) -> None:
        if self._answered:
            raise RuntimeError("the response has begun: its cookie can't change any more")


class SessionMiddleware:
    """Gives every request of an ASGI application its `scope["session"]`.

    `idle` and `absolute` are lifetimes in seconds. `origins` are further origins of the application, if a proxy changes its host.
    Raises ValueError for a value that cannot work.
    """

    def __init__(
        self,
        app: Application,
        store: SessionStore,
        *,
        idle: float = 3600,
        absolute: float = 86_400,
        origins: tuple[str, ...] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_seconds("idle", idle, least=1)
        check_seconds("absolute", absolute, least=1)
        check_origins("origins", origins)
        lacking = [name for name in STORE if not callable(getattr(store, name, None))]
        if inspect.isclass(store):
            raise ValueError(f"store: make one, {store.__name__}(…)")
        if lacking:
            raise ValueError(f"store: it lacks {', '.join(lacking)}; MemoryStore() is for one process")
        self._app = app
        self._store = store
        self._idle = idle
        self._absolute = absolute
        self._origins = frozenset(origins)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        cookie = _cookie(scope)
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE
        if unsafe and self._is_foreign(scope, headers, bool(cookie)):
            await _refuse(scope, send)
            return
        digest = hashlib.sha256(cookie.encode("latin-1")).digest()
        record = await self._load(digest) if cookie else None
        session = Session(record.subject, json.loads(json.dumps(record.data))) if record else Session()
        scope["session"] = scope[SESSION] = session

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] in ("http.response.start", "websocket.accept") and not session._answered:
                session._answered = True
                changed = await self._save(session, digest, record, bool(cookie))
                if changed is not None:
                    message["headers"] = [*message.get("headers", ()), (b"set-cookie", changed.encode())]
            await send(message)

        await self._app(scope, receive, answer)

    def _is_foreign(self, scope: Scope, headers: Mapping[bytes, str], has_cookie: bool) -> bool:
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if origin in self._origins:
            return False
        if site is not None:
            return site not in ("same-origin", "none")
        if origin is None:
            return has_cookie  # browsers send `Origin` with every unsafe request
        scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
        return origin != f"{scheme}://{headers.get(b'host', '')}"

    async def _load(self, digest: bytes) -> Record | None:
        record, now = await self._store.get(digest), self._clock()
        if record is None:
            return None
        if now - record.seen_at < self._idle and now - record.began_at < self._absolute:
            return record
        await self._store.remove(digest)
        return None

    async def _save(
        self, session: Session, digest: bytes, record: Record | None, has_cookie: bool
    ) -> str | None:
        """Write what changed; return the cookie to set, None when it stays."""
        now = self._clock()
        if session._ended or (record is None and not session.subject and not session.data):
            if record is not None:
                await self._store.remove(digest)
            return _set("", 0) if has_cookie else None
        data = json.loads(json.dumps(dict(session.data)))
        if record is None or session._renewed:
            new = Record(session.subject, data, now, now)
            return await self._renew(new, digest, record, proved=session._proved)
        changed = data != record.data or session.subject != record.subject
        if not changed and now - record.seen_at < self._idle / TOUCH:
            return None
        kept = await self._store.replace(digest, replace(record, data=data, seen_at=now))
        return None if kept else _set("", 0)

    async def _renew(self, new: Record, old: bytes, record: Record | None, *, proved: bool) -> str:
        identifier = secrets.token_urlsafe(32)
        digest = hashlib.sha256(identifier.encode()).digest()
        await self._store.add(digest, new, new.began_at + self._absolute)
        # Only after the new one is stored: a later "end all sessions of this person" then finds the new one.
        if record is not None and not proved and not await self._store.replace(old, record):
            await self._store.remove(digest)
            return _set("", 0)  # it ended while the request ran
        if record is not None:
            await self._store.remove(old)
        return _set(identifier, int(self._absolute))


def _cookie(scope: Scope) -> str:
    """Return the value of the session cookie; "" when several were sent, since we set only one."""
    pairs = [
        part.strip().partition("=")
        for name, value in scope["headers"]
        if name.lower() == b"cookie"
        for part in value.decode("latin-1").split(";")
    ]
    found = [value for name, _, value in pairs if name == COOKIE]
    return found[0] if len(found) == 1 else ""


def _set(value: str, age: int) -> str:
    return f"{COOKIE}={value}; Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Lax"


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "another site"})
        return
    body = b'{"error":"access_denied","error_description":"This request comes from another site, or does not say from where."}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
