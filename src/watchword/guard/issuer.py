"""The authorization server as the guard sees it: discovery, introspection, and the addresses that its metadata names.

Owns the connections and the requests. Keys are kept by `keys`, revocations by `feed`.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any
from urllib.parse import quote_plus, urlsplit

# Importing it may start a process (by trio, where that is installed), which gevent allows on the main thread only.
import httpcore  # noqa: F401 - httpx imports it with its first client, which would be on the background thread
import httpx

from watchword.guard import tracing
from watchword.guard.fetching import Fetching
from watchword.guard.misuse import check_address
from watchword.guard.trusted import IssuerUnavailable, Trusted
from watchword.http_clients import ACCEPTED, is_readable, unusable_environment_as
from watchword.jose.strict_json import StrictJSONError, loads

TIMEOUT = 5.0
LONGEST = 10.0  # seconds for a whole answer, however slowly it trickles in
METADATA_MAX_AGE = 3600.0
# After so many failures in a row an issuer is asked about a token once in `REST` seconds.
FAILURES = 3
REST = 1.0
MAX_ANSWER = 256 * 1024
# The last two are raised for TLS that breaks after the handshake, and for a malformed host name.
NO_ANSWER = (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ssl.SSLError, UnicodeError)
Connections = tuple[httpx.AsyncClient, AsyncGenerator[None, None]]


class NothingToAsk(IssuerUnavailable):
    """The authorization server has no introspection endpoint that could be asked about a token."""


class Issuer:
    """One authorization server, reached over HTTP."""

    def __init__(self, trusted: Trusted) -> None:
        self.trusted = trusted
        self.issuer = trusted.issuer
        # Connections belong to one event loop; a process may have several, even a new one for each request.
        self._loops: dict[asyncio.AbstractEventLoop, Connections] = {}
        self._metadata: Mapping[str, object] | None = None
        self._fetched = 0.0
        self._discovery = Fetching(METADATA_MAX_AGE)
        self._failures = 0
        self._next_question = 0.0
        self._trouble = ""

    async def http(self) -> httpx.AsyncClient:
        """Return the connections of this event loop; raise IssuerUnavailable for a proxy or certificates of the environment that are unusable."""
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is not None and not found[0].is_closed:
            return found[0]
        for other in tuple(self._loops):
            if other.is_closed():
                self._loops.pop(other, None)
        # Plain http is for this machine only, and never goes through a proxy of the environment, which would see tokens and secrets.
        with unusable_environment_as(IssuerUnavailable):
            http = httpx.AsyncClient(
                timeout=TIMEOUT, follow_redirects=False, headers=ACCEPTED, mounts={"http://": None}
            )
        self._loops[loop] = http, _closed_with_loop(http)
        await anext(self._loops[loop][1])
        return http

    async def close(self) -> None:
        """Close the connections of this event loop."""
        found = self._loops.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()

    async def metadata(self) -> Mapping[str, object]:
        """Return the server's metadata, an hour old at most while it can be reached; raise IssuerUnavailable."""
        if self._metadata is None:
            await self._discovery.wait(self._discover)
        elif time.monotonic() - self._fetched >= METADATA_MAX_AGE:
            self._discovery.begin(self._discover)  # in the background: nobody waits for it
        if self._metadata is None:
            raise IssuerUnavailable(self._discovery.trouble)
        return self._metadata

    async def _discover(self) -> None:
        document, _ = await self.get(
            f"{self.issuer.rstrip('/')}/.well-known/openid-configuration", well_known_address(self.issuer)
        )
        if document.get("issuer") != self.issuer:  # RFC 8414 §3.3: identical
            named = str(document.get("issuer"))[:200]
            raise IssuerUnavailable(
                f"the guard was given the issuer {self.issuer!r}, its metadata says {named!r}: both must be the same, also in a slash at the end"
            )
        self._metadata, self._fetched = document, time.monotonic()

    async def address(self, name: str) -> str | None:
        """Return an address that the metadata names, None when it does not; raise IssuerUnavailable for one that is not https."""
        if name == "jwks_uri" and self.trusted.jwks_uri is not None:
            return self.trusted.jwks_uri
        uri = (await self.metadata()).get(name)
        if uri is None:
            return None
        try:
            check_address(name, str(uri))
        except ValueError:
            raise IssuerUnavailable(f"the metadata names a {name} that is not https") from None
        return str(uri)

    async def introspect(
        self, token: str, *, address: str | None, path: str | None, audience: str
    ) -> Mapping[str, object]:
        """Introspect a token (RFC 7662 §2.1); without credentials of our own, the token itself authenticates the request.

        Raises NothingToAsk when there is no introspection endpoint, else IssuerUnavailable when there is no usable answer.
        """
        credentials = self.trusted.credentials
        if self.trusted.jwks_uri is not None and credentials is None:  # an issuer without metadata
            raise NothingToAsk("the issuer is known by its keys alone")
        uri = await self.address("introspection_endpoint")
        if uri is None:
            raise NothingToAsk("the metadata names no introspection_endpoint")
        form = {"token": token, "resource": audience}
        form |= ({"address": address} if address else {}) | ({"path": path} if path else {})
        headers = {} if credentials else {"authorization": f"Bearer {token}"}
        # RFC 6749 §2.3.1: form-encoded first
        auth = httpx.BasicAuth(*map(quote_plus, credentials)) if credentials else httpx.USE_CLIENT_DEFAULT
        with tracing.asking("watchword.introspect", headers):
            answer = await self._question(uri, data=form, headers=headers, auth=auth)
        if answer.status_code == 401 and credentials is None:
            return {"active": False}
        if answer.status_code != 200:
            raise IssuerUnavailable(f"{uri} answered {answer.status_code}")
        return _document(answer.content)

    async def _question(self, uri: str, **given: Any) -> httpx.Response:
        # A circuit breaker: whoever waits for an issuer that hangs ties up a thread of the API, so only a few requests find out for all.
        if self._failures >= FAILURES and time.monotonic() < self._next_question:
            raise IssuerUnavailable(self._trouble)
        self._next_question = time.monotonic() + REST
        try:
            answer = await self.ask("POST", uri, **given)
        except IssuerUnavailable as error:
            self._failures, self._trouble = self._failures + 1, str(error)
            raise
        self._failures = 0
        return answer

    async def report_exposed(self, token: str) -> None:
        """Report that a token was sent over unencrypted HTTP, where the server takes such reports; raise IssuerUnavailable."""
        uri = await self.address("watchword_exposure_endpoint")
        if uri is None:
            return
        answer = await self.ask("POST", uri, data={"token": token})
        if answer.status_code != 200:  # not recorded, since its storage is unavailable, for example
            raise IssuerUnavailable(f"{uri} answered {answer.status_code}")

    async def get(
        self, *addresses: str, headers: Mapping[str, str] | None = None
    ) -> tuple[Mapping[str, object], httpx.Headers]:
        """Return the JSON object and headers of the first address that answers with one; raise IssuerUnavailable."""
        trouble = f"no document at {' or '.join(addresses)}"
        for address in addresses:
            answer = await self.ask("GET", address, headers=headers)
            if answer.status_code != 200:
                continue
            try:
                return _document(answer.content), answer.headers
            except IssuerUnavailable as error:
                # For example a web site that answers every address with a page: the next address may be right.
                trouble = f"{address}: {error}"
        raise IssuerUnavailable(trouble)

    async def ask(self, method: str, uri: str, *, most: int = MAX_ANSWER, **given: Any) -> httpx.Response:
        """Return an answer of at most `most` bytes within `LONGEST` seconds; raise IssuerUnavailable otherwise."""
        body = bytearray()
        try:
            async with asyncio.timeout(LONGEST), (await self.http()).stream(method, uri, **given) as answer:
                if not is_readable(answer.headers):
                    raise IssuerUnavailable(f"{uri} answers compressed in a way that nobody asked for")
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > most:
                        raise IssuerUnavailable(f"{uri} answers more than {most} bytes")
        except httpx.ConnectError as error:  # worded by this machine, unlike those below
            raise IssuerUnavailable(f"no connection to {uri}: {error}") from None
        except NO_ANSWER as error:
            raise IssuerUnavailable(f"{uri} does not answer ({type(error).__name__})") from None
        headers = [pair for pair in answer.headers.multi_items() if pair[0] != "content-encoding"]
        return httpx.Response(answer.status_code, headers=headers, content=bytes(body))


async def _closed_with_loop(http: httpx.AsyncClient) -> AsyncGenerator[None, None]:
    """Close connections when this generator is closed: `shutdown_asyncgens` is the only hook of an event loop that ends in order."""
    try:
        yield
    finally:
        await http.aclose()


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
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
