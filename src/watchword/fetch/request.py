"""Hardened outbound HTTP: requests to URLs that somebody else has named.

A name is resolved once, all of its addresses are checked, and the connection goes to a checked address, with the name kept for TLS and
`Host`: so the name cannot point elsewhere between check and use (DNS rebinding). HTTPS only, no redirects, no private networks, two
ports, bounded time and size. Loopback is reachable only by an explicit switch for tests; a private network only where the operator
allowed it for that use, and then on any port.
"""

import asyncio
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

if TYPE_CHECKING:
    import httpcore

MAX_BYTES = 256 * 1024
MAX_URL = 2000
MAX_HEAD = 32 * 1024  # bytes of an answer besides its body, interim answers included
MAX_KEPT = 86_400
TIMEOUT = 5.0
CONNECT_TIMEOUT = 2.0
MAX_ADDRESSES = 16
TRIED_ADDRESSES = 2
PORTS = frozenset({443, 8443})
JSON_TYPES = ("application/json", "application/jwk-set+json")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[str]
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

# `urlsplit` drops tabs and line feeds and believes user information: an address is matched as a whole instead.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?(?P<rest>(?:/[!$&'()*+,\-./0-9:;=@A-Z_a-z~%]*)?(?:\?[!$&'()*+,\-./0-9:;=?@A-Z_a-z~%]*)?)"
)
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)")  # 127.1, 2130706433, 0x7f.1

# Beyond what `is_global` says: transition mechanisms that hide another address, and a cloud's public-looking metadata address.
_REFUSED = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "100.64.0.0/10", "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10", "fc00::/7",
    )
]  # fmt: skip
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# How reasons begin that say nothing about what the server would have answered.
_OUTAGES = (
    "timed out",
    "no connection",
    "no answer",
    "host not found",
    "too many",
    "answered 5",
    "answered 429",
)


class FetchError(Exception):
    """The address was refused or did not answer properly; `reason` is short and names no content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    @property
    def is_outage(self) -> bool:
        """Whether the server is merely unreachable or overloaded, so that its last answer may still be used."""
        return self.reason.startswith(_OUTAGES)


class Fetched(msgspec.Struct, frozen=True):
    """A complete answer; `max_age` is the seconds for which its sender allows caching, at most a day."""

    status: int
    body: bytes
    content_type: str
    max_age: int


class Names:
    """A resolver with threads of its own: one for each name being looked up, shared by all that ask for it.

    A name whose DNS servers do not answer blocks its thread for half a minute, and delays only those who ask for that name. (The event
    loop itself looks up two names at a time.) More than `at_once` names at a time are refused.
    """

    def __init__(self, at_once: int = 32) -> None:
        self._at_once = at_once
        self.begin()

    def begin(self) -> None:
        """Start with threads of this process: none survives a fork, and their pool would not notice."""
        self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="watchword-names")
        self._under_way: dict[str, Future[list[str] | None]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return every address of a name; raise OSError, and FetchError when too many are being looked up."""
        looked_up = self._under_way.get(host)
        if looked_up is None:
            if len(self._under_way) >= self._at_once:
                raise FetchError("too many names to look up")
            looked_up = self._under_way[host] = self._threads.submit(_look_up, host)
            looked_up.add_done_callback(lambda _: self._under_way.pop(host, None))
        found = await asyncio.shield(asyncio.wrap_future(looked_up))  # others wait for it as well
        if found is None:
            raise OSError("no such name")
        return found


def _look_up(host: str) -> list[str] | None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # returned, not raised: nobody may be left to retrieve the exception
        return None
    return [str(one[4][0]) for one in found]


# The resolver for hosts that the server itself or its operator named.
resolve = Names()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=resolve.begin)


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
    return await _within(timeout, order, _Reach(allow_loopback, tuple(networks)), resolver)


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
    return await _within(timeout, order, _Reach(allow_loopback, tuple(networks)), resolver)


class _Reach(msgspec.Struct, frozen=True):
    loopback: bool
    networks: Networks


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


async def _within(timeout: float, order: _Order, reach: _Reach, resolver: Resolver) -> Fetched:
    try:
        async with asyncio.timeout(timeout):
            target = parse_target(order.url)
            addresses = await _addresses(target, reach, resolver)
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


class Target(msgspec.Struct, frozen=True):
    """The parts of a URL; `rest` is path and query, `host` has no brackets, `header` is the Host header."""

    scheme: str
    host: str
    port: int
    rest: str
    header: str


def parse_target(url: str) -> Target:
    """Split a URL; raise FetchError when it may not be fetched, whatever its name resolves to."""
    target = split_address(url)
    if _NUMERIC.fullmatch(target.host) and _literal(target.host) is None:
        raise FetchError("not an address that may be fetched")
    return target


def split_address(url: str) -> Target:
    """Split a URL; raise FetchError unless it is an http or https URL that every parser splits the same way."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        raise FetchError("not an address that may be fetched")
    host = match["host"].strip("[]").lower()
    port = int(match["port"] or (443 if match["scheme"] == "https" else 80))
    if port > 65535 or (match["host"].startswith("[") and _literal(host) is None):
        raise FetchError("not an address that may be fetched")
    header = match["host"].lower() + (f":{match['port']}" if match["port"] else "")
    rest = match["rest"] if match["rest"].startswith("/") else "/" + match["rest"]
    return Target(match["scheme"], host, port, rest, header)


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


async def _addresses(target: Target, reach: _Reach, resolver: Resolver) -> list[Address]:
    literal = _literal(target.host)
    if literal is not None:
        found: Sequence[str] = [target.host]
    else:
        try:
            found = await resolver(target.host, target.port)
        except OSError:
            raise FetchError("host not found") from None
    if not 0 < len(found) <= MAX_ADDRESSES:
        raise FetchError("host not found")
    # All addresses have to pass, or none is used.
    checked = [check_address(address, reach.loopback, reach.networks) for address in dict.fromkeys(found)]
    if not all(reach.loopback and address.is_loopback for address in checked):
        if target.scheme != "https":
            raise FetchError("not https")
        if target.port not in PORTS and not all(_is_within(address, reach.networks) for address in checked):
            raise FetchError("port not allowed")
    # The other version of IP comes second: where one leads nowhere, a name with many addresses of it is reached all the same.
    others = sorted(checked[1:], key=lambda address: address.version == checked[0].version)
    return [checked[0], *others][:TRIED_ADDRESSES]


def check_address(address: str, allow_loopback: bool, networks: Networks = ()) -> Address:
    """Return an address that may be connected to; raise FetchError for private, reserved and disguised ones outside `networks` (SS-01)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise FetchError("address not allowed") from None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            raise FetchError("address not allowed")
        if parsed.ipv4_mapped is not None:
            return check_address(str(parsed.ipv4_mapped), allow_loopback, networks)
        if parsed in _NAT64:
            check_address(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)), allow_loopback=False)
            return parsed
    if (allow_loopback and parsed.is_loopback) or _is_within(parsed, networks):
        return parsed
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved or _is_refused(parsed):
        raise FetchError("address not allowed")
    return parsed


def _is_within(address: Address, networks: Networks) -> bool:
    return any(address in ipaddress.ip_network(network) for network in networks)


def _is_refused(address: Address) -> bool:
    return any(address.version == network.version and address in network for network in _REFUSED)


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
        raise _NotConnectedError(f"no connection ({type(error).__name__})") from None
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
