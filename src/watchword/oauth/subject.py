"""OpenID Connect Core §8: subject identifiers, public and pairwise.

Owns the pairwise name of a person, the name of their session to a client, and the sector that they belong to. Both names are
encryptions under a key of the server's own (AES-SIV, RFC 5297): the same for the same sector, worth nothing to anybody else, and
turned back by the server without a table (§8.1: "not reversible by any party other than the OpenID Provider"). Fetching a
`sector_identifier_uri` is done elsewhere.
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
# In characters: what is shorter or longer was not made here, and is not tried.
MIN_NAME, MAX_NAME = 44, 400
PERSON, SESSION = "person", "session"


def sector_of(client: Client) -> str:
    """Return the sector of a client: its registered one, else the one host of its redirect addresses (§8.1).

    Programs on people's machines share no sector because they share `localhost`: each is its own. Raise
    `invalid_client_metadata` when there are several hosts and no sector identifier.
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
    """Return the `sub` by which a client knows a person: the identifier itself, or a name within its sector (§8.1).

    The key must never change and never leave the server: with it subjects could be joined again.
    """
    return user_id if client.subject_type == "public" else _seal(PERSON, sector_of(client), user_id, key)


def session_for(client: Client, session_id: str, key: bytes) -> str:
    """Return the `sid` by which a client knows a session: its own for every client, so that none can join what it knows by it."""
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
    """Return what a name of a kind stands for; None when it is not one of ours."""
    if not MIN_NAME <= len(name) <= MAX_NAME:
        return None
    try:
        return _cipher(key).decrypt(b64decode(name), [kind.encode()])[SECTOR_BYTES:].decode("utf-8")
    except (JoseError, InvalidTag, ValueError):
        return None


def check_sector(document: object, redirect_uris: Iterable[str]) -> None:
    """Raise `invalid_client_metadata` unless a fetched sector document lists every redirect address (§8.1)."""
    if not isinstance(document, list) or not all(uri in document for uri in redirect_uris):
        raise OAuthError(
            "invalid_client_metadata",
            "The sector_identifier_uri does not list every redirect URI.",
            field="sector_identifier_uri",
        )
