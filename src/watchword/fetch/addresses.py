"""Where a fetch may go: which URLs are read at all, and which addresses of their hosts may be connected to (SS-01).

A name is resolved once, all of its addresses are checked, and the caller connects to a checked one, so that the name cannot point elsewhere
between check and use (DNS rebinding). HTTPS only, no private networks, two ports. Loopback is reachable only by an explicit switch for
tests; a private network only where the operator allowed it for that use, and then on any port.
"""

import ipaddress
import re
from collections.abc import Sequence

import msgspec

from watchword.fetch.errors import FetchError
from watchword.fetch.names import Resolver

MAX_URL = 2000
MAX_ADDRESSES = 16
TRIED_ADDRESSES = 2
PORTS = frozenset({443, 8443})

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = Sequence[str]

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


class Reach(msgspec.Struct, frozen=True):
    """Where a request may go beyond the public internet: to loopback, for tests, and to the operator's private networks."""

    loopback: bool
    networks: Networks


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


async def addresses_of(target: Target, reach: Reach, resolver: Resolver) -> list[Address]:
    """Return the addresses to try in turn; raise FetchError unless every address of the host may be connected to."""
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
