"""Proofs of possession, sent with every request that may carry one."""

import hashlib
import os

import httpx
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, basic

from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key

FORM = {"grant_type": "client_credentials"}

server = server_with(dpop_nonce="required")


def proof(server: Server, key: Key, path: str, token: str | None = None, **changes: object) -> dict[str, str]:
    """Return the header with a proof for a path, some claims changed or, when None, removed."""
    claims: dict[str, object] = {
        "jti": os.urandom(8).hex(),
        "htm": "POST",
        "htu": f"{server.settings.issuer}{path}",
        "iat": int(server.clock()),
    }
    if token is not None:
        claims["ath"] = jwk.b64encode(hashlib.sha256(token.encode()).digest())
    given = {name: value for name, value in (claims | changes).items() if value is not None}
    return {"dpop": jwt.encode_with_key(key, given, "dpop+jwt")}


async def everything(server: Server) -> Registered:
    """Register a client for every endpoint that takes proofs."""
    return await server.client(
        grant_types=["client_credentials", "authorization_code", "device_code"],
        redirect_uris=["https://app.example.com/cb"],
    )


async def send(server: Server, client: Registered, path: str, headers: dict[str, str]) -> httpx.Response:
    """Send what each of the endpoints wants, with a proof."""
    form = {
        "/token": FORM,
        "/par": {
            "response_type": "code",
            "redirect_uri": "https://app.example.com/cb",
            "code_challenge": "A" * 43,
            "code_challenge_method": "S256",
        },
        "/device_authorization": {"scope": "orders:read"},
    }[path]
    return await server.http.post(path, data=form, headers=headers | {"authorization": basic(client)})
