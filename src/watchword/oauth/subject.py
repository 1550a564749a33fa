"""OpenID Connect Core §8: subject identifiers, public and pairwise.

Owns the computation of pairwise subjects and the sector that they belong to. Fetching a `sector_identifier_uri` is done at
registration, elsewhere.
"""

import hashlib
import hmac
from collections.abc import Iterable

from watchword.jose.jwk import b64encode
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.redirect_uri import destination

MIN_KEY_BYTES = 32


def sector_of(client: Client) -> str:
    """Return the sector of a client: its registered one, else the one host of its redirect addresses (§8.1).

    Raise `invalid_client_metadata` when there are several hosts and no sector identifier.
    """
    if client.sector_identifier is not None:
        return client.sector_identifier
    hosts = {_host(uri) for uri in client.redirect_uris} or {client.client_id}
    if len(hosts) != 1:
        raise OAuthError(
            "invalid_client_metadata",
            "Pairwise subjects need a sector_identifier_uri when redirect URIs have several hosts.",
            field="sector_identifier_uri",
        )
    return hosts.pop()


def _host(uri: str) -> str:
    shown = destination(uri).lower()
    return shown.partition("]")[0] + "]" if shown.startswith("[") else shown.partition(":")[0]


def subject_for(client: Client, user_id: str, key: bytes) -> str:
    """Return the `sub` by which a client knows a person: the identifier itself, or a keyed hash for its sector (§8.1).

    The key must never change and never leave the server: with it subjects could be joined again.
    """
    if client.subject_type == "public":
        return user_id
    if len(key) < MIN_KEY_BYTES:
        raise ValueError("the key of pairwise subjects is too short")
    message = b"\x00".join(part.encode("utf-8") for part in ("pairwise subject", sector_of(client), user_id))
    return b64encode(hmac.new(key, message, hashlib.sha256).digest())


def check_sector(document: object, redirect_uris: Iterable[str]) -> None:
    """Raise `invalid_client_metadata` unless a fetched sector document lists every redirect address (§8.1)."""
    if not isinstance(document, list) or not all(uri in document for uri in redirect_uris):
        raise OAuthError(
            "invalid_client_metadata",
            "The sector_identifier_uri does not list every redirect URI.",
            field="sector_identifier_uri",
        )
