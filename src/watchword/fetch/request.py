"""One request to a URL that somebody else has named, and its answer: no redirects, bounded time and size.

The connection goes to a checked address (`addresses`), with the name kept for TLS and `Host`. The answer is read piece by piece (`bounded`).
"""

import asyncio
import re
import ssl
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from watchword.fetch.addresses import Address, Networks, Reach, Target, addresses_of, parse_target
from watchword.fetch.errors import FetchError
from watchword.fetch.names import Resolver, resolve

if TYPE_CHECKING:
    import httpcore

MAX_BYTES = 256 * 1024
MAX_HEAD = 32 * 1024  # bytes of an answer besides its body, interim answers included
MAX_KEPT = 86_400
TIMEOUT = 5.0
CONNECT_TIMEOUT = 2.0
JSON_TYPES = ("application/json", "application/jwk-set+json")


class Fetched(msgspec.Struct, frozen=True):
    """A complete answer; `max_age` is the seconds for which its sender allows caching, at most a day."""

    status: int
    body: bytes
    content_type: str
    max_age: int


async def fetch(
    url: str,
    *,
    max_bytes: int = MAX_BYTES,
    content_types: tuple[str, ...] = JSON_TYPES,
    allow_loopback: bool = False,
    networks: Networks = (),
    timeout: float = TIMEOUT,
    resolver: Resolver = resolve,
    tls: ssl.SSLContext | None = None,
    bearer: str | None = None,
) -> Fetched:
    """Fetch a document over HTTPS; raise FetchError unless the answer is 200 with one of the types, or any `+json`.

    `networks` are private networks that the host may be in; `timeout` is in seconds.
    """
    authorization = f"Bearer {bearer}" if bearer else None
    order = _Order("GET", url, None, max_bytes, content_types, tls, authorization)
    return await _within(timeout, order, Reach(allow_loopback, tuple(networks)), resolver)


async def post_form(
    url: str,
    form: Mapping[str, str],
    *,
    allow_loopback: bool = False,
    networks: Networks = (),
    timeout: float = TIMEOUT,
    resolver: Resolver = resolve,
    tls: ssl.SSLContext | None = None,
    authorization: str | None = None,
) -> Fetched:
    """Post a form over HTTPS and return the answer, whatever its status and type; raise FetchError. `networks` are as for `fetch`."""
    order = _Order("POST", url, urlencode(form).encode(), MAX_BYTES, (), tls, authorization)
    return await _within(timeout, order, Reach(allow_loopback, tuple(networks)), resolver)


class _Order(msgspec.Struct, frozen=True):
    method: str
    url: str
    content: bytes | None
    max_bytes: int
    content_types: tuple[str, ...]
    tls: ssl.SSLContext | None
    authorization: str | None = None

    def headers(self, host: str) -> dict[str, str]:
        """Return the request headers, which reveal nothing about this server."""
        sent = {
            "host": host,
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "watchword",
            "connection": "close",
        }
        if self.content is not None:
            sent |= {
                "content-type": "application/x-www-form-urlencoded",
                "content-length": str(len(self.content)),
            }
        return sent | ({"authorization": self.authorization} if self.authorization else {})


async def _within(timeout: float, order: _Order, reach: Reach, resolver: Resolver) -> Fetched:
    try:
        async with asyncio.timeout(timeout):
            target = parse_target(order.url)
            addresses = await addresses_of(target, reach, resolver)
            for address in addresses[:-1]:
                try:
                    return await _request(order, target, address)
                except _NotConnectedError:
                    continue
            return await _request(order, target, addresses[-1])
    except TimeoutError:
        raise FetchError("timed out") from None


class _NotConnectedError(FetchError):
    pass


@cache
def _trust() -> ssl.SSLContext:
    import httpx  # here, for the reason given below

    return httpx.create_ssl_context()


async def _request(order: _Order, target: Target, address: Address) -> Fetched:
    import httpcore  # here, because it costs a fifth of a second and nine megabytes that most servers never need

    from watchword.fetch import bounded

    literal = f"[{address}]" if address.version == 6 else str(address)
    network = bounded.Network(MAX_HEAD)
    limits = {"connect": CONNECT_TIMEOUT, "read": TIMEOUT, "write": TIMEOUT, "pool": TIMEOUT}
    try:
        async with (
            httpcore.AsyncConnectionPool(ssl_context=order.tls or _trust(), network_backend=network) as pool,
            pool.stream(
                order.method,
                f"{target.scheme}://{literal}:{target.port}{target.rest}",
                headers=list(order.headers(target.header).items()),
                content=order.content,
                extensions={"timeout": limits, "sni_hostname": target.host},
            ) as answer,
        ):
            network.left = MAX_HEAD + order.max_bytes  # leaves room for chunk framing and trailers
            return await _read(answer, order)
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        is_untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        reason = "its certificate is not trusted" if is_untrusted else type(error).__name__
        raise _NotConnectedError(f"no connection ({reason})") from None
    # OSError covers `ssl.SSLError`, which httpcore does not wrap after the handshake.
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        OSError,
        ValueError,
    ) as error:
        raise FetchError(f"no answer ({type(error).__name__})") from None
    except bounded.TooMuchError:
        raise FetchError("answer too large") from None


async def _read(answer: "httpcore.Response", order: _Order) -> Fetched:
    media_type = _header(answer, b"content-type").partition(";")[0].strip().lower()
    if order.content_types:
        if answer.status != 200:
            raise FetchError(f"answered {answer.status}")
        if media_type not in order.content_types and not media_type.endswith("+json"):
            raise FetchError("unexpected content type")
    if _header(answer, b"content-encoding") not in ("", "identity"):
        raise FetchError("compressed answer")
    body = bytearray()
    async for chunk in answer.aiter_stream():
        body += chunk
        if len(body) > order.max_bytes:
            raise FetchError("answer too large")
    return Fetched(answer.status, bytes(body), media_type, _max_age(_header(answer, b"cache-control")))


def _header(answer: "httpcore.Response", name: bytes) -> str:
    return b", ".join(value for given, value in answer.headers if given.lower() == name).decode("latin-1")


def _max_age(cache_control: str) -> int:
    found = re.search(r"(?:^|[,\s])max-age=(\d{1,9})", cache_control[:500].lower())
    return min(int(found[1]), MAX_KEPT) if found and "no-store" not in cache_control.lower() else 0
