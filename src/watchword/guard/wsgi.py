"""The guard for plain WSGI applications (PEP 3333), and what the other WSGI frameworks share."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote
from wsgiref.util import application_uri

from watchword.guard import resource, transport
from watchword.guard.guard import Guard, Presented
from watchword.guard.misuse import check_exclude, check_flag, check_guarded
from watchword.guard.policy import OPEN, Policy, Refused, check_policy
from watchword.guard.presented import PLAIN_IN_PATHS
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

__all__ = ["GuardMiddleware", "MetadataMiddleware", "admit", "answer", "presented"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

PRINCIPAL = "watchword.principal"


class GuardMiddleware:
    """Passes a request on to the application if its caller satisfies the policy; the caller is in `environ["watchword.principal"]`.

    `exclude` are public paths as the application sees them, without the prefix in `SCRIPT_NAME`. With `optional`, requests without any
    credential pass too, and their caller is None.
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
        self._app = app
        self._guard = guard
        self._policy = policy
        self._exclude = frozenset(exclude)
        self._optional = optional

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if _text(environ.get("PATH_INFO", "")) not in self._exclude:
            published = self._guard.metadata
            if published is not None and _is_for(published, environ):
                return _show(published, environ, start_response)
            try:
                environ[PRINCIPAL] = admit(self._guard, environ, self._policy, self._optional)
            except Refused as refused:
                return answer(refused, environ, start_response)
            nonce = self._guard.fresh_nonce(environ[PRINCIPAL])
            if nonce is not None:
                start_response = with_nonce(start_response, nonce)
        return self._app(environ, start_response)


def admit(guard: Guard, environ: Environ, policy: Policy, optional: bool = False) -> Principal | None:
    """Return the caller of a request, None only where one is optional; raise Refused."""
    check = guard.authenticate_optional_sync if optional else guard.authenticate_sync
    return check(presented(environ), policy)


def with_nonce(start_response: StartResponse, nonce: str) -> StartResponse:
    """Return a `start_response` that tells the caller the nonce for its next proof (RFC 9449 §9)."""

    def starting(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
        return start_response(status, [*headers, ("DPoP-Nonce", nonce)], *rest)

    return starting


class MetadataMiddleware:
    """Serves the resource's metadata (RFC 9728) in front of an application; `scopes` are those that basic use needs."""

    def __init__(self, app: Application, guard: Guard, scopes: Sequence[str] = (), name: str = "") -> None:
        check_guarded(app, guard)
        self._app = app
        self._metadata = Metadata(guard, scopes, name)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if _is_for(self._metadata, environ):
            return _show(self._metadata, environ, start_response)
        return self._app(environ, start_response)


def _is_for(metadata: Metadata, environ: Environ) -> bool:
    return metadata.is_asked(environ["REQUEST_METHOD"], _path(environ))


def _path(environ: Environ) -> str:
    return _text(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def _text(path: str) -> str:
    return path.encode("latin-1", "replace").decode("utf-8", "replace")  # PEP 3333: bytes decoded as latin-1


def _show(metadata: Metadata, environ: Environ, start_response: StartResponse) -> list[bytes]:
    body = metadata.body()
    headers = {
        **resource.HEADERS,
        "Content-Type": resource.CONTENT_TYPE,
        "Content-Length": str(len(body)),
    }
    start_response("200 OK", list(headers.items()))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def presented(environ: Environ) -> Presented:
    """Return what a request presented."""
    authorization, proof = environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_DPOP")
    origin = environ.get("HTTP_ORIGIN")
    return Presented(
        authorization=_one(authorization),
        dpop=() if proof is None else tuple(part.strip() for part in proof.split(",")),
        method=environ["REQUEST_METHOD"],
        uri="" if proof is None and origin is None else _uri(environ),
        path=_path(environ) or "/",
        address=environ.get("REMOTE_ADDR"),  # "" at a Unix socket, as gunicorn has it
        certificate=transport.der_certificate(environ.get("SSL_CLIENT_CERT")),  # Apache's ExportCertData
        secure=environ.get("wsgi.url_scheme") == "https",
        cookies=_one(environ.get("HTTP_COOKIE")),
        site=environ.get("HTTP_SEC_FETCH_SITE"),
        origin=origin,
        websocket=environ.get("HTTP_UPGRADE", "").lower() == "websocket",
        kept=environ,
    )


def _uri(environ: Mapping[str, Any]) -> str:
    scheme, _, rest = application_uri(dict(environ)).partition("://")
    return f"{scheme}://{rest.partition('/')[0]}{raw_path(environ)}"


def raw_path(environ: Mapping[str, Any], encoding: str = "latin-1") -> str:
    """Return the path as the caller wrote it: PATH_INFO is decoded, but most servers provide the original as well.

    `encoding` is how PATH_INFO was decoded from bytes: latin-1 by PEP 3333, UTF-8 by Django.
    """
    script, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    written = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "").partition("?")[0]
    seen = unquote(written, encoding)
    if written and seen == script + path:
        return written
    prefix = quote(script, PLAIN_IN_PATHS, encoding)
    if written and seen == path:  # a proxy stripped the prefix, and a middleware restored SCRIPT_NAME
        return prefix + written
    return prefix + quote(path, PLAIN_IN_PATHS, encoding) or "/"


def _one(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)


def answer(refused: Refused, environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Send a refusal."""
    body = json.dumps(refused.document()).encode()
    headers = [
        *refused.fields(),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ]
    start_response(f"{refused.status} {HTTPStatus(refused.status).phrase}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
