"""OpenID Connect Core §8: subject identifiers, public and pairwise.

Owns the pairwise `sub` of a person, the `sid` of their session for a client, and the sector of a client. Both names are encrypted
identifiers under a key of the server (AES-SIV, RFC 5297, which is deterministic): the same within one sector, unlinkable between
sectors, and decrypted by the server without a table (§8.1: "not reversible by any party other than the OpenID Provider"). Fetching
a `sector_identifier_uri` is done elsewhere.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from watchword.jose import JoseError
from watchword.jose.jwk import b64decode, b64encode
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.redirect_uri import destination, is_loopback

KEY_BYTES = 64
SECTOR_BYTES = 16
# In characters: a name of another length was not made here, and is not decrypted.
MIN_NAME, MAX_NAME = 44, 400
PERSON, SESSION = "person", "session"


def sector_of(client: Client) -> str:
    """Return the sector of a client: its registered one, else the one host of its redirect URIs (§8.1).

    Native applications that share `localhost` do not share a sector: each is its own. Raises `invalid_client_metadata` when there
    are several hosts and no sector identifier.
    """
    if client.sector_identifier_uri is not None:
        return (urlsplit(client.sector_identifier_uri).hostname or "").lower()
    hosts = {client.client_id if is_loopback(uri) else _host(uri) for uri in client.redirect_uris}
    hosts = hosts or {client.client_id}
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
    """Return the `sub` by which a client knows a person: the identifier itself, or a pairwise one for its sector (§8.1).

    The key must never change, or every `sub` would; and never leak, or subjects of different sectors could be linked.
    """
    return user_id if client.subject_type == "public" else _seal(PERSON, sector_of(client), user_id, key)


def session_for(client: Client, session_id: str, key: bytes) -> str:
    """Return the `sid` by which a client knows a session: another one for every client, so that clients cannot link sessions by it."""
    return _seal(SESSION, client.client_id, session_id, key)


def _seal(kind: str, sector: str, identifier: str, key: bytes) -> str:
    if len(key) != KEY_BYTES:
        raise ValueError("the key of pairwise subjects has another length")
    mark = hashlib.sha256(sector.encode("utf-8")).digest()[:SECTOR_BYTES]
    return b64encode(_cipher(key).encrypt(mark + identifier.encode("utf-8"), [kind.encode()]))


@lru_cache(maxsize=4)
def _cipher(key: bytes) -> AESSIV:
    return AESSIV(key)


def identifier_in(name: str, kind: str, key: bytes) -> str | None:
    """Return the identifier that a `sub` or `sid` (PERSON or SESSION) stands for; None when it is not one of ours."""
    if not MIN_NAME <= len(name) <= MAX_NAME:
        return None
    try:
        return _cipher(key).decrypt(b64decode(name), [kind.encode()])[SECTOR_BYTES:].decode("utf-8")
    except (JoseError, InvalidTag, ValueError):
        return None


def check_sector(document: object, redirect_uris: Iterable[str]) -> None:
    """Raise `invalid_client_metadata` unless a fetched sector document lists every redirect URI (§8.1)."""
    if not isinstance(document, list) or not all(uri in document for uri in redirect_uris):
        raise OAuthError(
            "invalid_client_metadata",
            "The sector_identifier_uri does not list every redirect URI.",
            field="sector_identifier_uri",
        )
