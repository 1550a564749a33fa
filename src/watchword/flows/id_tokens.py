"""OpenID Connect Core §2: ID tokens, with exactly the claims that the flow calls for."""

import base64
import hashlib
from collections.abc import Mapping

from watchword.flows.runtime import Runtime
from watchword.jose import jwt
from watchword.oauth.clients import Client

LIFETIME = 600
HASHES = {"ES256": hashlib.sha256, "RS256": hashlib.sha256, "EdDSA": hashlib.sha512}


def make(
    runtime: Runtime,
    client: Client,
    *,
    subject: str,
    nonce: str | None,
    access_token: str,
    claims: Mapping[str, object],
    session_id: str,
) -> str:
    """Return an ID token for a client; `claims` holds `auth_time`, `acr` and `amr` of the sign-in."""
    now = runtime.now()
    algorithm = client.id_token_signed_response_alg or client.signing_algorithm(
        runtime.settings.signing_algorithms
    )
    key = runtime.keyring.signing_key(algorithm)
    members: dict[str, object] = {
        **claims,
        "iss": runtime.settings.issuer,
        "sub": subject,
        "aud": client.client_id,
        "exp": now + LIFETIME,
        "iat": now,
        "sid": session_id,
        "at_hash": _half_hash(key.alg, access_token),
    }
    if nonce is not None:
        members["nonce"] = nonce
    return jwt.encode(key, members, "JWT")


def _half_hash(algorithm: str, text: str) -> str:
    # §3.1.3.6: the left half of the hash that belongs to the signature's algorithm
    digest = HASHES[algorithm](text.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
