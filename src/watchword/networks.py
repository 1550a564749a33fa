"""IP addresses and networks as people write them, URLs of several hosts, and which hosts are this machine.

RFC 4291 §2.5.5.2: an IPv4-mapped address is that IPv4 address.
"""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Some proxies, mostly those of cloud providers, put the caller's port into X-Forwarded-For.
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
_AUTHORITY = re.compile(r"(?P<before>[^/?#]*://)(?P<authority>[^/?#]*)(?P<after>.*)", re.DOTALL)
MAPPED_BITS = 96  # before the IPv4 address


def read_network(text: str) -> Network:
    """Return the network, or the one address, that a text names; raise ValueError for anything else, including one with a zone."""
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv4Network):
        return network
    if network.network_address.scope_id is not None:  # it would match no address
        raise ValueError("a zone")
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < MAPPED_BITS:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_BITS))


def read_address(text: str) -> Address:
    """Return the address that a text names; raise ValueError for anything else."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def without_port(address: str) -> str:
    """Return an address without the port, and the brackets, that some proxies add."""
    found = _WITH_PORT.fullmatch(address)
    return (found[1] or found[2]) if found else address


def split_hosts(address: str) -> SplitResult:
    """Return the parts of an address that may name several hosts, as PostgreSQL's do; raise ValueError where the name of one is malformed.

    `urlsplit` knows one host only: since Python 3.14 it refuses an address in brackets that stands behind another host.
    """
    found = _AUTHORITY.fullmatch(address)
    if found is None:
        return urlsplit(address)
    user, at, hosts = found["authority"].rpartition("@")
    each = [urlsplit(f"//{host}").netloc for host in hosts.split(",")]
    if "[" in user or "]" in user:
        raise ValueError("a bracket before the host")
    return urlsplit(found["before"] + found["after"])._replace(netloc=user + at + ",".join(each))


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be this machine, the only one that may be reached without TLS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
