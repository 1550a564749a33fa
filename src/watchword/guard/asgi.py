"""The guard for plain ASGI applications, and what the other ASGI frameworks share."""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

from watchword.guard import resource, transport
from watchword.guard.guard import Guard, Presented
from watchword.guard.misuse import check_exclude, check_flag, check_guarded
from watchword.guard.policy import OPEN, Policy, Refused, check_policy
from watchword.guard.presented import PLAIN_IN_PATHS
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOG = logging.getLogger("watchword.guard")
LAYERS = 100  # a chain of `app` attributes may be circular, or endless where attributes are made on access
CORS_INSIDE = (
    "a CORSMiddleware stands inside of this guard, and browsers fail: a preflight brings no credential, so the guard refuses it, and its "
    "refusals get no CORS headers. Put it outside: CORSMiddleware(GuardMiddleware(app, …), …), or add it after the guard by add_middleware"
)


class GuardMiddleware:
    """Passes a request on to the application if its caller satisfies the policy; the caller is in `scope["principal"]`.

    `exclude` are public paths as the application sees them, without the prefix of `root_path` or of a mount. With `optional`, requests
    without any credential pass too, and their caller is None.
    """

    def __init__(
        self,
        app: Application,
        guard: Guard,
        policy: Policy = OPEN,
        *,
        exclude: tuple[str, ...] = (),
        optional: bool = False,
    ) -> None:
        check_guarded(app, guard)
        check_policy("policy", policy)
        check_exclude(exclude)
        check_flag("optional", optional)
        if answers_other_origins(app):
            LOG.warning(CORS_INSIDE)
        self._app = app
        self._guard = guard
        self._policy = policy
        self._exclude = frozenset(exclude)
        self._optional = optional

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] not in ("http", "websocket") or _routed_path(scope) in self._exclude:
            await self._app(scope, receive, send)
            return
        published = self._guard.metadata
        if published is not None and _is_for(published, scope):
            await _show(published, scope, send)
            return
        try:
            scope["principal"] = await admit(self._guard, scope, self._policy, self._optional)
        except Refused as refused:
            await answer(refused, scope, send)
            return
        nonce = self._guard.fresh_nonce(scope["principal"])
        await self._app(scope, receive, send if nonce is None else with_nonce(send, nonce))


def _routed_path(scope: Scope) -> str:
    path: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path


def answers_other_origins(app: object) -> bool:
    """Whether Starlette's CORS middleware is anywhere inside the application that a guard wraps."""
    for _ in range(LAYERS):
        if app is None:
            break
        added = getattr(app, "user_middleware", ())
        names = (type(app).__name__, *(getattr(one.cls, "__name__", "") for one in added))
        if "CORSMiddleware" in names:
            return True
        app = getattr(app, "app", None)
    return False


async def admit(guard: Guard, scope: Scope, policy: Policy, optional: bool = False) -> Principal | None:
    """Return the caller of a connection, None only where one is optional; raise Refused."""
    check = guard.authenticate_optional if optional else guard.authenticate
    return await check(presented(scope), policy)


def with_nonce(send: Send, nonce: str) -> Send:
    """Return a `send` that tells the caller the nonce for its next proof (RFC 9449 §9)."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message["headers"] = [*message.get("headers", ()), (b"dpop-nonce", nonce.encode())]
        await send(message)

    return sending


class MetadataMiddleware:
    """Serves the resource's metadata (RFC 9728) in front of an application; `scopes` are those that basic use needs."""

    def __init__(self, app: Application, guard: Guard, scopes: Sequence[str] = (), name: str = "") -> None:
        check_guarded(app, guard)
        self._app = app
        self._metadata = Metadata(guard, scopes, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if _is_for(self._metadata, scope):
            await _show(self._metadata, scope, send)
        else:
            await self._app(scope, receive, send)


def _is_for(metadata: Metadata, scope: Scope) -> bool:
    return scope["type"] == "http" and metadata.is_asked(scope["method"], scope["path"])


async def _show(metadata: Metadata, scope: Scope, send: Send) -> None:
    body = metadata.body()
    headers = [(name.lower().encode(), value.encode()) for name, value in resource.HEADERS.items()]
    headers.append((b"content-type", resource.CONTENT_TYPE.encode()))
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


WANTED = frozenset({b"authorization", b"dpop", b"host", b"cookie", b"origin", b"sec-fetch-site"})
SECURE = frozenset({"https", "wss"})
SESSION = "watchword.session"  # where `watchword.guard.sessions` puts the session of the application itself


def presented(scope: Scope) -> Presented:
    """Return what a connection presented."""
    headers: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        if name in WANTED:
            headers.setdefault(name, []).append(value.decode("latin-1"))
    extensions = scope.get("extensions")
    secure = scope.get("scheme") in SECURE
    # The usual request brings a bearer token and no more: what only proofs and sessions need is left out, since every request pays.
    if len(headers) == 2 and b"authorization" in headers and b"host" in headers and not extensions:
        return Presented(
            authorization=headers[b"authorization"],
            method=scope.get("method", "GET"),
            path=sent_path(scope),
            address=address(scope),
            secure=secure,
            kept=scope,
        )
    session = scope.get(SESSION)
    return Presented(
        authorization=headers.get(b"authorization", ()),
        dpop=headers.get(b"dpop", ()),
        method=scope.get("method", "GET"),
        uri=_uri(scope, headers, secure),
        path=sent_path(scope),
        address=address(scope),
        certificate=certificate(extensions) if extensions else None,
        secure=secure,
        cookies=headers.get(b"cookie", ()),
        subject=session.subject if session is not None else "",
        site=headers.get(b"sec-fetch-site", (None,))[0],
        origin=headers.get(b"origin", (None,))[0],
        websocket=scope.get("type") == "websocket",
        kept=scope,
    )


def address(scope: Mapping[str, Any]) -> str | None:
    """Return the caller's IP address, "" on a Unix socket (recognised by the path in `server`), None when it is unknown."""
    if client := scope.get("client"):
        return client[0] or None
    server = scope.get("server")
    # Not always a pair: Falcon's own test client sends an iterator.
    if not isinstance(server, Sequence) or len(server) != 2:
        return None
    return "" if server[1] is None and "/" in server[0] else None


def _uri(scope: Scope, headers: Mapping[bytes, Sequence[str]], secure: bool) -> str:
    host = headers.get(b"host", ("localhost",))[0]
    return f"{'https' if secure else 'http'}://{host}{raw_path(scope)}"


def sent_path(scope: Mapping[str, Any]) -> str:
    """Return the path that the caller sent, decoded: an application mounted by Litestar and others sees only the rest of it in `path`."""
    path: str = scope["path"]
    raw: bytes = scope.get("raw_path") or b""
    if not raw or raw == path.encode():
        return path
    sent = unquote(raw.partition(b"?")[0].decode("latin-1"))
    prefix: str = scope.get("root_path", "")
    if prefix and "route_handler" in scope and not sent.startswith(prefix):
        # Litestar routes what follows its prefix, wherever that occurs
        return sent.partition(prefix)[2] or sent
    return sent


def raw_path(scope: Mapping[str, Any]) -> str:
    """Return the path as the caller wrote it."""
    path: str = (scope.get("raw_path") or b"").decode("latin-1") or quote(scope["path"], PLAIN_IN_PATHS)
    prefix: str = scope.get("root_path", "")
    if prefix and not f"{unquote(path)}/".startswith(f"{prefix}/"):
        # A proxy stripped the prefix, and the server did not restore it
        return quote(prefix, PLAIN_IN_PATHS) + path
    return path


def certificate(extensions: Mapping[str, Any]) -> bytes | None:
    """Return the caller's certificate: by the ASGI TLS extension, or as this package's own server hands it over."""
    own = (extensions.get("watchword.tls") or {}).get("client_certificate")
    if isinstance(own, bytes):
        return own
    chain = (extensions.get("tls") or {}).get("client_cert_chain") or ()
    return transport.der_certificate(next(iter(chain), None))


async def answer(refused: Refused, scope: Scope, send: Send) -> None:
    """Send a refusal; a WebSocket is refused before it is accepted, with the whole answer where the server can send one."""
    prefix = ""
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": refused.error or "unauthorized"})
            return
        prefix = "websocket."
    body = json.dumps(refused.document()).encode()
    headers = [(name.lower().encode(), value.encode("ascii", "replace")) for name, value in refused.fields()]
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": f"{prefix}http.response.start", "status": refused.status, "headers": headers})
    await send(
        {"type": f"{prefix}http.response.body", "body": b"" if scope.get("method") == "HEAD" else body}
    )
