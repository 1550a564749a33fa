"""The authorization server as the guard sees it: discovery, keys, introspection; few requests, no stampede.

Keys are fetched once and kept; a key that nobody knows makes one new request, at most every `UNKNOWN_KEY_INTERVAL` seconds
(KR-05). When the server cannot be reached, keys that were fetched before are used for `STALE` seconds more.
"""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote_plus, urlsplit
from weakref import WeakKeyDictionary

import httpx

from watchword.jose import JoseError, jwk
from watchword.jose.jwk import Key
from watchword.jose.strict_json import StrictJSONError, loads

TIMEOUT = 5.0
KEYS_MAX_AGE = 300.0
STALE = 86_400.0
UNKNOWN_KEY_INTERVAL = 10.0
RETRY_INTERVAL = 1.0
MAX_ANSWER = 256 * 1024


class IssuerUnavailable(Exception):
    """The authorization server did not answer as it must."""


class Local(Protocol):
    """An authorization server in the same process."""

    @property
    def issuer(self) -> str:
        """The issuer identifier."""

    async def introspect(self, token: str, *, address: str | None, path: str | None) -> Mapping[str, object]:
        """Answer what a token says, as RFC 7662 does, without a network in between."""

    async def report_exposed(self, token: str) -> None:
        """Take note that a token travelled in the clear."""

    def recall(self, token: str, address: str) -> Mapping[str, object] | None:
        """Return the very same answer as before while it still holds; None when the token must be asked about."""


@dataclass(frozen=True, slots=True)
class _Connection:
    """What an event loop needs to ask the server."""

    http: httpx.AsyncClient
    lock: asyncio.Lock


class Issuer:
    """One authorization server, reached over HTTP."""

    def __init__(self, issuer: str, client_id: str | None = None, client_secret: str | None = None) -> None:
        check_issuer(issuer)
        self.issuer = issuer
        self._credentials = (client_id, client_secret) if client_id and client_secret else None
        # A connection and a lock belong to one event loop; a process may have several.
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Connection] = WeakKeyDictionary()
        self._metadata: Mapping[str, object] | None = None
        self._keys: list[Key] = []
        self._fetched = 0.0
        self._tried = 0.0

    def _connection(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = _Connection(httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False), asyncio.Lock())
            self._loops[loop] = found
        return found

    async def close(self) -> None:
        """Close the connections of this event loop."""
        found = self._loops.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found.http.aclose()

    async def metadata(self) -> Mapping[str, object]:
        """Return the server's metadata, fetched once; raise IssuerUnavailable."""
        if self._metadata is None:
            document = await self._get(
                f"{self.issuer}/.well-known/openid-configuration", well_known_address(self.issuer)
            )
            if document.get("issuer") != self.issuer:  # RFC 8414 §3.3: identical, letter by letter
                raise IssuerUnavailable("the issuer in the metadata differs from the one configured")
            self._metadata = document
        return self._metadata

    async def keys(self, kid: str | None) -> list[Key]:
        """Return the server's keys, asking again when they are old or none has this identifier."""
        async with self._connection().lock:
            now = time.monotonic()
            known = any(key.kid == kid for key in self._keys) if kid else bool(self._keys)
            interval = RETRY_INTERVAL if not self._keys else UNKNOWN_KEY_INTERVAL
            due = now - self._fetched > KEYS_MAX_AGE or not known
            if due and (self._tried == 0 or now - self._tried > interval):
                self._tried = now
                await self._fetch_keys(now)
            if self._keys and now - self._fetched > KEYS_MAX_AGE + STALE:
                raise IssuerUnavailable("the keys are too old")
            return self._keys

    def keys_at_hand(self, kid: str | None) -> list[Key] | None:
        """Return the server's keys if they are fresh and one has this identifier, None when they must be asked for."""
        fresh = time.monotonic() - self._fetched <= KEYS_MAX_AGE
        known = any(key.kid == kid for key in self._keys) if kid else bool(self._keys)
        return self._keys if fresh and known else None

    async def _fetch_keys(self, now: float) -> None:
        try:
            uri = (await self.metadata()).get("jwks_uri")
            if not isinstance(uri, str):
                raise IssuerUnavailable("the metadata names no jwks_uri")
            self._keys = jwk.parse_set(await self._get(uri))
            self._fetched = now
        except (IssuerUnavailable, JoseError):
            if not self._keys:
                raise IssuerUnavailable("the keys cannot be fetched") from None

    async def introspect(self, token: str, *, address: str | None, path: str | None) -> Mapping[str, object]:
        """Ask the server about a token; without credentials of our own, the token speaks for itself."""
        uri = (await self.metadata()).get("introspection_endpoint")
        if not isinstance(uri, str):
            raise IssuerUnavailable("the metadata names no introspection_endpoint")
        form = {"token": token} | ({"address": address} if address else {}) | ({"path": path} if path else {})
        headers = {} if self._credentials else {"authorization": f"Bearer {token}"}
        auth = (
            httpx.BasicAuth(*_form_encoded(self._credentials))
            if self._credentials
            else httpx.USE_CLIENT_DEFAULT
        )
        try:
            answer = await self._connection().http.post(uri, data=form, headers=headers, auth=auth)
        except httpx.HTTPError as error:
            raise IssuerUnavailable(type(error).__name__) from None
        if answer.status_code == 401 and self._credentials is None:
            return {"active": False}
        if answer.status_code != 200:
            raise IssuerUnavailable(f"introspection answered {answer.status_code}")
        return _document(answer.content)

    async def report_exposed(self, token: str) -> None:
        """Tell the server that a token travelled in the clear, if it wants to know; raise IssuerUnavailable."""
        uri = (await self.metadata()).get("watchword_exposure_endpoint")
        if not isinstance(uri, str):
            return
        try:
            await self._connection().http.post(uri, data={"token": token})
        except httpx.HTTPError as error:
            raise IssuerUnavailable(type(error).__name__) from None

    async def _get(self, *addresses: str) -> Mapping[str, object]:
        for address in addresses:
            try:
                answer = await self._connection().http.get(address)
            except httpx.HTTPError as error:
                raise IssuerUnavailable(type(error).__name__) from None
            if answer.status_code == 200 and len(answer.content) <= MAX_ANSWER:
                return _document(answer.content)
        raise IssuerUnavailable("the server does not answer its metadata or keys")


def _form_encoded(credentials: tuple[str, str]) -> tuple[str, str]:

    return quote_plus(credentials[0]), quote_plus(credentials[1])  # RFC 6749 §2.3.1


def _document(content: bytes) -> Mapping[str, object]:
    try:
        document = loads(content)
    except StrictJSONError:
        raise IssuerUnavailable("the answer is not JSON") from None
    if not isinstance(document, dict):
        raise IssuerUnavailable("the answer is not a JSON object")
    return document


def well_known_address(issuer: str) -> str:
    """Return where RFC 8414 §3.1 puts the metadata: inserted between host and path."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path}"


def check_issuer(issuer: str) -> None:
    """Raise ValueError unless an issuer is https, or http on this very machine."""
    parts = urlsplit(issuer)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname and _is_loopback(parts.hostname):
        return
    raise ValueError(f"the issuer must be an https address (http only on loopback), not {issuer!r}")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
