"""Answers for one client: signed, and encrypted to its key where it is registered for that (OpenID Connect Core §10, RFC 9701 §5)."""

from collections.abc import Mapping

import msgspec

from watchword.flows.clients import client_keys
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jwe
from watchword.jose.jwk import Key
from watchword.oauth import answers
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

_encode = msgspec.json.Encoder().encode


async def signing_key(runtime: Runtime, client: Client, kind: str) -> Key:
    """Return the key that signs one kind of answers for a client."""
    algorithm = answers.signing_algorithm(client, kind, runtime.settings.signing_algorithms)
    return await runtime.keyring.signing_key(algorithm)


async def signed(
    runtime: Runtime,
    client: Client,
    kind: str,
    claims: Mapping[str, object],
    typ: str,
    key: Key | None = None,
) -> str:
    """Return claims as a signed token, nested in an encrypted one where the client registered for that; raise `invalid_request`."""
    key = key or await signing_key(runtime, client, kind)
    token = await runtime.signatures.sign(key, claims, typ)
    if answers.protection_of(client, kind).alg is None:
        return token
    return await encrypted(runtime, client, kind, token.encode("ascii"), "JWT")


async def encrypted(runtime: Runtime, client: Client, kind: str, payload: bytes, cty: str | None) -> str:
    """Encrypt an answer to the client's key; raise `invalid_request` when no key is available."""
    wanted = answers.protection_of(client, kind)
    alg, enc = wanted.alg or "", wanted.enc or ""
    try:
        document = jwe.find_key(await client_keys.documents_of(runtime, client), alg)
        if document is None:
            raise JoseError("no key for the registered algorithm")
        return jwe.encrypt(payload, document, alg=alg, enc=enc, cty=cty)
    except (OAuthError, JoseError) as error:
        detail = error.detail if isinstance(error, OAuthError) else error.reason
        raise OAuthError(
            "invalid_request",
            "The answer cannot be encrypted: no suitable key of the client is available.",
            detail=f"{kind} for {client.client_id}: {detail}",
            field="jwks",
        ) from None


def json(claims: Mapping[str, object]) -> bytes:
    """Return claims as a JSON document."""
    return _encode(claims)
