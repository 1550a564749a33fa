"""Hardened outbound HTTP: what this server fetches because somebody else named the address.

The name is resolved once, every address is checked, and the connection goes to the checked address, so that no name can point
elsewhere between check and use. HTTPS only, no redirects, no private networks, bounded time and size. Loopback is reachable
only by an explicit switch for tests.
"""

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 256 * 1024
TIMEOUT = 5.0
PORTS = frozenset({443, 8443})

_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(?:[/?][!$&'()*+,\-./0-9:;=?@A-Z_a-z~%\[\]]*)?")


class FetchError(Exception):
    """The address was refused or did not answer properly; `reason` is short and names no content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete answer; `max_age` is the seconds for which it may be kept, as its sender says."""

    status: int
    body: bytes
    content_type: str
    max_age: int


async def fetch(
    url: str,
    *,
    max_bytes: int = MAX_BYTES,
    content_types: tuple[str, ...] = ("application/json", "application/jwk-set+json"),
    allow_loopback: bool = False,
    timeout: float = TIMEOUT,
) -> Fetched:
    """Fetch a document over HTTPS; raise FetchError."""
    try:
        async with asyncio.timeout(timeout):
            return await _request("GET", url, None, max_bytes, content_types, allow_loopback)
    except TimeoutError:
        raise FetchError("timed out") from None


async def post_form(
    url: str, form: dict[str, str], *, allow_loopback: bool = False, timeout: float = TIMEOUT
) -> Fetched:
    """Send a form over HTTPS and return the answer, whatever its type; raise FetchError."""
    try:
        async with asyncio.timeout(timeout):
            return await _request("POST", url, form, MAX_BYTES, (), allow_loopback)
    except TimeoutError:
        raise FetchError("timed out") from None


async def _request(
    method: str,
    url: str,
    form: dict[str, str] | None,
    max_bytes: int,
    content_types: tuple[str, ...],
    allow_loopback: bool,
) -> Fetched:
    import httpx  # here, because it costs a fifth of a second and nine megabytes that most servers never need

    target, host, header = await _pin(url, allow_loopback)
    try:
        async with (
            httpx.AsyncClient(follow_redirects=False, trust_env=False, timeout=TIMEOUT) as client,
            client.stream(
                method,
                target,
                data=form,
                headers={"host": header, "accept-encoding": "identity"},
                extensions={"sni_hostname": host},
            ) as answer,
        ):
            return await _read(answer, max_bytes, content_types)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise FetchError(f"no answer ({type(error).__name__})") from None


async def _pin(url: str, allow_loopback: bool) -> tuple[str, str, str]:
    """Return the address with its host replaced by a checked IP address, the host, and the Host header."""
    if len(url) > 2000 or not _URL.fullmatch(url):
        raise FetchError("not an address that may be fetched")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise FetchError("not an address that may be fetched") from None
    chosen = port or (443 if parts.scheme == "https" else 80)
    address = await _resolve(host, chosen)
    checked = check_address(address, allow_loopback)
    if parts.scheme != "https" and not (allow_loopback and checked.is_loopback):
        raise FetchError("not https")
    if chosen not in PORTS and not (allow_loopback and checked.is_loopback):
        raise FetchError("port not allowed")
    literal = f"[{checked}]" if checked.version == 6 else str(checked)
    target = (
        f"{parts.scheme}://{literal}:{chosen}{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    )
    return target, host, parts.netloc


async def _resolve(host: str, port: int) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise FetchError("host not found") from None
    addresses = [str(info[4][0]) for info in found]
    if not addresses:
        raise FetchError("host not found")
    for address in addresses[1:]:
        if ipaddress.ip_address(address).is_global != ipaddress.ip_address(addresses[0]).is_global:
            raise FetchError("host has public and private addresses")
    return addresses[0]


def check_address(address: str, allow_loopback: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address that may be connected to; raise FetchError for private, reserved and mapped ones (SS-01)."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour or (parsed.teredo[1] if parsed.teredo else None)
        if inner is None and parsed in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if inner is not None:
            return check_address(str(inner), allow_loopback)
    if allow_loopback and parsed.is_loopback:
        return parsed
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        raise FetchError("address not allowed")
    return parsed


async def _read(answer: "httpx.Response", max_bytes: int, content_types: tuple[str, ...]) -> Fetched:
    if content_types and answer.status_code != 200:
        raise FetchError(f"answered {answer.status_code}")
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_types and media_type not in content_types and not media_type.endswith("+json"):
        raise FetchError("unexpected content type")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise FetchError("compressed answer")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise FetchError("answer too large")
    return Fetched(
        answer.status_code, bytes(body), media_type, _max_age(answer.headers.get("cache-control", ""))
    )


def _max_age(cache_control: str) -> int:
    found = re.search(r"max-age=(\d{1,9})", cache_control[:500])
    return int(found[1]) if found and "no-store" not in cache_control else 0
