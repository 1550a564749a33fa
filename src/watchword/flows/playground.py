"""The console's playground: its client, the requests that it makes, and what ties the answer of one to the session that began it.

Theory of operation. The playground is an ordinary client, registered when an administrator asks for it, and can be switched off, narrowed
and deleted like any other. Its secret is thrown away: nobody can use the client from elsewhere. What the playground asks goes to the
same grants as a request to the token endpoint, and nothing is stored between two steps: the PKCE verifier is derived from the session
and the state, so that an answer which another browser was given cannot be redeemed here (RFC 9700 §4.7).
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.runtime import Runtime
from watchword.jose.jwk import b64encode
from watchword.oauth import pkce, redirect_uri
from watchword.oauth.claims import SIGN_IN_SCOPES
from watchword.oauth.clients import DEVICE_CODE, Client
from watchword.oauth.scopes import is_reserved
from watchword.settings import Settings
from watchword.store.sessions import Session

CLIENT_ID = "console-playground"
NAME = "Playground"
PATH = "/console/playground"


def address(settings: Settings) -> str:
    """Return the playground's own page, to which an authorization leads back."""
    return settings.issuer + PATH


async def find(runtime: Runtime) -> Client | None:
    """Return the playground's client, or None while there is none."""
    return await client_registry.find(runtime, CLIENT_ID)


def leads_back(settings: Settings, client: Client) -> bool:
    """Whether an authorization of the client may lead back to the playground: the address of this server may have changed since."""
    return any(redirect_uri.matches(address(settings), known) for known in client.redirect_uris)


async def register(runtime: Runtime, *, actor: str) -> None:
    """Register the playground's client for all APIs and scopes except those over this server; raise `conflict` when it exists."""
    settings = runtime.settings
    described = [scope for scope in settings.scopes if not is_reserved(scope)]
    given = ClientInput(
        name=NAME,
        redirect_uris=[address(settings)],
        grant_types=["authorization_code", "refresh_token", "client_credentials", DEVICE_CODE],
        scope=" ".join(dict.fromkeys((*SIGN_IN_SCOPES, *described))),
        resources=list(settings.apis),
    )
    # With a secret, which nobody is told: a client without one could not act for itself (RFC 6749 §4.4).
    await client_registry.register(runtime, given, client_id=CLIENT_ID, actor=actor)


def authorization_request(runtime: Runtime, session: Session, state: str, extent: Mapping[str, str]) -> str:
    """Return the URL of an authorization request with PKCE for a scope and resource (RFC 6749 §4.1.1, RFC 7636 §4.3)."""
    query = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": address(runtime.settings),
        **extent,
        "state": state,
        "code_challenge": pkce.challenge_of(_verifier(runtime, session, state)),
        "code_challenge_method": pkce.METHOD,
    }
    return f"{runtime.settings.issuer}/authorize?{urlencode(query)}"


def redemption(runtime: Runtime, session: Session, state: str, code: str) -> dict[str, str]:
    """Return the token request for a code that came back with a state (RFC 6749 §4.1.3)."""
    return {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": address(runtime.settings),
        "code_verifier": _verifier(runtime, session, state),
    }


def _verifier(runtime: Runtime, session: Session, state: str) -> str:
    key = runtime.root.derive("playground")
    return b64encode(hmac.new(key, f"{session.id}\n{state}".encode(), hashlib.sha256).digest())
