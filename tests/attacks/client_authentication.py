"""Clients that prove who they are by a secret or a key."""

import base64
from typing import Any

from tests.fixtures.servers import Server

from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk
from watchword.jose.jwk import Key

FORM = {"grant_type": "client_credentials"}


def header_of(client_id: str, secret: str) -> dict[str, str]:
    """Return a Basic header of exactly these texts."""
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


async def by_key(server: Server, key: Key, **given: Any) -> Registered:
    """Register a client that authenticates by a key."""
    keys = {"jwks": {"keys": [jwk.public_document(key)]}} if "jwks_uri" not in given else {}
    return await server.client(token_endpoint_auth_method="private_key_jwt", **keys | given)
