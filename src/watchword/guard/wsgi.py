"""The guard for plain WSGI applications (PEP 3333), and what the other WSGI frameworks share."""

import json
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from wsgiref.util import request_uri

from watchword.guard import transport
from watchword.guard.guard import Guard, Presented
from watchword.guard.policy import OPEN, Policy, Refused

__all__ = ["GuardMiddleware", "answer", "presented"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

PRINCIPAL = "watchword.principal"


class GuardMiddleware:
    """Lets a request through to an application when its caller meets the policy; the caller is `environ["watchword.principal"]`."""

    def __init__(
        self, app: Application, guard: Guard, policy: Policy = OPEN, *, exclude: tuple[str, ...] = ()
    ) -> None:
        self._app = app
        self._guard = guard
        self._policy = policy
        self._exclude = frozenset(exclude)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        if environ.get("PATH_INFO", "") not in self._exclude:
            try:
                environ[PRINCIPAL] = self._guard.authenticate_sync(presented(environ), self._policy)
            except Refused as refused:
                return answer(refused, environ, start_response)
            nonce = self._guard.fresh_nonce(environ[PRINCIPAL])
            if nonce is not None:
                start_response = with_nonce(start_response, nonce)
        return self._app(environ, start_response)


def with_nonce(start_response: StartResponse, nonce: str) -> StartResponse:
    """Return a `start_response` that tells the caller the nonce for its next proof (RFC 9449 §9)."""

    def starting(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
        return start_response(status, [*headers, ("DPoP-Nonce", nonce)], *rest)

    return starting


def presented(environ: Mapping[str, Any]) -> Presented:
    """Return what a request presented."""
    authorization, proof = environ.get("HTTP_AUTHORIZATION"), environ.get("HTTP_DPOP")
    return Presented(
        authorization=() if authorization is None else (authorization,),
        dpop=() if proof is None else tuple(part.strip() for part in proof.split(",")),
        method=environ["REQUEST_METHOD"],
        uri="" if proof is None else request_uri(dict(environ), include_query=False),
        path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") or "/",
        address=environ.get("REMOTE_ADDR") or None,
        certificate=transport.der_certificate(environ.get("SSL_CLIENT_CERT")),  # Apache's ExportCertData
        secure=environ.get("wsgi.url_scheme") == "https",
    )


def answer(refused: Refused, environ: Environ, start_response: StartResponse) -> list[bytes]:
    """Send a refusal."""
    body = json.dumps(refused.document()).encode()
    headers = [
        *refused.headers,
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("Content-Length", str(len(body))),
    ]
    start_response(f"{refused.status} {HTTPStatus(refused.status).phrase}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
