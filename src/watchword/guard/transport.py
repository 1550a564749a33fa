"""The connection beneath a request: from whom a credential may come unencrypted, and the caller's certificate."""

import ipaddress
import re
import ssl
from typing import Literal

PlainHttp = Literal["refuse-public", "refuse", "allow"]
# Some proxies, of clouds above all, pass the caller's port on in X-Forwarded-For.
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
EXPLANATION = "The token came over unencrypted HTTP, so others may have read it: it counts as exposed. Replace it, and use https."


def is_public(address: str | None) -> bool:
    """Whether an address is one of the public Internet; an unknown one is not."""
    found = _parsed(address)
    return found is not None and found.is_global


def is_loopback(address: str | None) -> bool:
    """Whether an address is this machine's own; who comes through a Unix socket has none, which is "" and not unknown."""
    found = _parsed(address)
    return address == "" or (found is not None and found.is_loopback)


def without_port(address: str | None) -> str | None:
    """Return an address as it is, without the port that some proxies pass on with it."""
    found = _WITH_PORT.fullmatch(address or "")
    return (found[1] or found[2]) if found else address


def der_certificate(pem: object) -> bytes | None:
    """Return a certificate that a server hands over as PEM text, None when there is none."""
    try:
        return ssl.PEM_cert_to_DER_cert(pem) if isinstance(pem, str) else None
    except ValueError:
        return None


def _parsed(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(without_port(address) or "")
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
