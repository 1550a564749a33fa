"""Signing a person in at any authorization server: in a browser here (RFC 8252), or on another device (RFC 8628)."""

import hashlib
import os
import secrets
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import urlencode

from watchword.client.callback import DEFAULT, Callback
from watchword.client.errors import Refused, Unreachable
from watchword.client.identity import Identity
from watchword.client.proofs import Prover
from watchword.client.server import AuthorizationServer, Document, seconds
from watchword.jose import jwk

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
OFFLINE = "offline_access"
PATIENCE = 300.0

# Two at once would each save the other's redirected descriptor as standard output.
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The authorization that a person is asked for; `client` is the program's own identity."""

    client: Identity
    scope: str = ""
    resource: str = ""


def full_scope(server: AuthorizationServer, scope: str) -> str:
    """Return the scopes to ask for, with `offline_access` where the server supports it: otherwise there would be no refresh token.

    Who names no scope asks for none, and gets the client's default (RFC 6749 §3.3): with `offline_access` alone it would be that alone.
    """
    if not scope:
        return ""
    supported = server.metadata().get("scopes_supported")
    offered = isinstance(supported, list) and OFFLINE in supported
    return scope if OFFLINE in scope.split() or not offered else f"{scope} {OFFLINE}"


def has_browser() -> bool:
    """Whether a browser can be opened here."""
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def open_page(address: str) -> None:
    """Open a browser at an address; its standard output is ours for errors, so that it cannot mix into the program's output."""
    if sys.stdout is None or sys.stderr is None:  # closed: nothing to protect, or nowhere to redirect to
        webbrowser.open(address)
        return
    with _opening:
        sys.stdout.flush()
        kept = os.dup(1)
        try:
            os.dup2(2, 1)
            webbrowser.open(address)
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def by_browser(
    server: AuthorizationServer,
    wanted: Wanted,
    prover: Prover | None = None,
    *,
    redirect_uri: str = DEFAULT,
    show: Callable[[str], object],
    open_browser: Callable[[str], object] = open_page,
    patience: float = PATIENCE,
) -> Document:
    """Return the token response of a sign-in in a browser (RFC 8252, with PKCE); `show` is given the URL, for printing it as well.

    `patience` is in seconds. Raise Refused or Unreachable.
    """
    state = secrets.token_urlsafe(32)
    challenge, verifier = _proof_key()
    metadata = server.metadata()
    has_iss = metadata.get("authorization_response_iss_parameter_supported") is True
    with Callback(redirect_uri, state, server.issuer, has_iss=has_iss) as callback:
        request = {
            "response_type": "code",
            "client_id": wanted.client.client_id,
            "redirect_uri": callback.redirect_uri,
            "state": state,
            **challenge,
            **_asked(server, wanted),
        }
        if OFFLINE in request.get("scope", "").split():  # OpenID Connect Core §11
            request["prompt"] = "consent"
        if prover is not None:
            request["dpop_jkt"] = prover.key.thumbprint  # RFC 9449 §10
        address = _address(server, wanted, request)
        show(address)
        open_browser(address)
        code = callback.wait(patience)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": callback.redirect_uri,
        **verifier,
    }
    return server.ask("token_endpoint", form | _resource(wanted), wanted.client, prover)


def _proof_key() -> tuple[dict[str, str], dict[str, str]]:
    """Return the PKCE parameters of an authorization request, and those of the token request that belongs to it (RFC 7636 §4)."""
    verifier = secrets.token_urlsafe(48)
    challenge = jwk.b64encode(hashlib.sha256(verifier.encode()).digest())
    return {"code_challenge": challenge, "code_challenge_method": "S256"}, {"code_verifier": verifier}


def _knows_proof_keys(server: AuthorizationServer) -> bool:
    methods = server.metadata().get("code_challenge_methods_supported")
    return isinstance(methods, list) and "S256" in methods


def _asked(server: AuthorizationServer, wanted: Wanted) -> dict[str, str]:
    scope = full_scope(server, wanted.scope)
    return ({"scope": scope} if scope else {}) | _resource(wanted)


def _resource(wanted: Wanted) -> dict[str, str]:
    return {"resource": wanted.resource} if wanted.resource else {}


def _address(server: AuthorizationServer, wanted: Wanted, request: dict[str, str]) -> str:
    endpoint = server.endpoint("authorization_endpoint")
    if server.metadata().get("require_pushed_authorization_requests") is True:  # RFC 9126 §5
        pushed = server.ask("pushed_authorization_request_endpoint", request, wanted.client)
        request = {"client_id": wanted.client.client_id, "request_uri": str(pushed.get("request_uri"))}
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(request)}"


def by_device(
    server: AuthorizationServer,
    wanted: Wanted,
    prover: Prover | None = None,
    *,
    show: Callable[[str, str], object],
    sleep: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Document:
    """Return the token response of a sign-in on another device (RFC 8628); `show` is given the URL and the code to type there.

    Raise Refused or Unreachable.
    """
    # Keycloak demands it of a client that must use PKCE; other servers ignore parameters that they do not know (RFC 8628 §3.1).
    challenge, verifier = _proof_key() if _knows_proof_keys(server) else ({}, {})
    request = _asked(server, wanted) | challenge
    begun = server.ask("device_authorization_endpoint", request, wanted.client, prover)
    device_code, user_code = begun.get("device_code"), begun.get("user_code")
    page = begun.get("verification_uri_complete") or begun.get("verification_uri")
    if not (isinstance(device_code, str) and _is_shown(user_code) and _is_shown(page)):
        raise Unreachable("the authorization server answered without a code for the device")
    show(page, user_code)
    form = {"grant_type": DEVICE_GRANT, "device_code": device_code} | verifier | _resource(wanted)
    wait, end = _seconds(begun.get("interval"), 5), clock() + _seconds(begun.get("expires_in"), 300)
    pause = 0.0
    while clock() < end:
        sleep(max(wait, pause))
        pause = 0.0
        try:
            return server.ask("token_endpoint", form, wanted.client, prover)
        except Refused as refused:
            if refused.code == "slow_down":  # RFC 8628 §3.5
                wait += 5
            elif refused.code != "authorization_pending":
                raise
        except Unreachable as error:  # §3.5: back off and go on
            wait, pause = min(wait * 2, 60), error.retry_after
    raise Refused("expired_token", "nobody typed the code within the time")


def _is_shown(value: object) -> TypeGuard[str]:
    # Printed to a terminal, which would obey control characters.
    return isinstance(value, str) and value.isprintable()


def _seconds(value: object, default: float) -> float:
    named = seconds(value)
    return default if named is None else min(max(named, 1), 1800)
