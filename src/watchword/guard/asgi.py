"""The guard for plain ASGI applications, and what the other ASGI frameworks share."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from watchword.guard import transport
from watchword.guard.guard import Guard, Presented
from watchword.guard.policy import OPEN, Policy, Refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class GuardMiddleware:
    """Lets a request through to an application when its caller meets the policy; the caller is `scope["principal"]`."""

    def __init__(
        self, app: Application, guard: Guard, policy: Policy = OPEN, *, exclude: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._guard = guard
        self._policy = policy
        self._exclude = frozenset(exclude)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in self._exclude:
            await self._app(scope, receive, send)
            return
        try:
            scope["principal"] = await self._guard.authenticate(presented(scope), self._policy)
        except Refused as refused:
            await answer(refused, scope, send)
            return
        nonce = self._guard.fresh_nonce(scope["principal"])
        await self._app(scope, receive, send if nonce is None else with_nonce(send, nonce))


def with_nonce(send: Send, nonce: str) -> Send:
    """Return a `send` that tells the caller the nonce for its next proof (RFC 9449 §9)."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message["headers"] = [*message.get("headers", ()), (b"dpop-nonce", nonce.encode())]
        await send(message)

    return sending


def presented(scope: Scope) -> Presented:
    """Return what a connection presented."""
    headers: dict[bytes, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
    host = (headers.get(b"host") or ["localhost"])[0]
    scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "http"), scope.get("scheme", "http"))
    client = scope.get("client")
    return Presented(
        authorization=headers.get(b"authorization", ()),
        dpop=headers.get(b"dpop", ()),
        method=scope.get("method", "GET"),
        uri=f"{scheme}://{host}{scope.get('raw_path', b'').decode('latin-1') or scope['path']}",
        path=scope["path"],
        address=client[0] if client else None,
        certificate=_certificate(scope.get("extensions") or {}),
        secure=scheme == "https",
    )


def _certificate(extensions: Mapping[str, Any]) -> bytes | None:
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
    headers = [(name.lower().encode(), value.encode("ascii", "replace")) for name, value in refused.headers]
    headers += [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": f"{prefix}http.response.start", "status": refused.status, "headers": headers})
    await send(
        {"type": f"{prefix}http.response.body", "body": b"" if scope.get("method") == "HEAD" else body}
    )
