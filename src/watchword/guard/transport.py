"""The connection beneath a request: the caller's address, which may or may not send credentials unencrypted, and its certificate."""

import ipaddress
import ssl
from typing import Literal

from watchword import networks

PlainHttp = Literal["refuse-public", "refuse", "allow"]
# RFC 4291 §2.5.5.1: nobody's addresses. RFC 7239 §6 demands brackets around an IPv6 address with a port; where a proxy leaves them out,
# `::1:80` reads as one of these, while the port leaves any other address in its range.
_NOBODYS = ipaddress.ip_network("::/96")
# RFC 5737, RFC 3849: no network has these; in the tests of an API they stand for callers on the Internet.
_EXAMPLES = tuple(
    ipaddress.ip_network(each)
    for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
SESSION_EXPLANATION = "The session came over unencrypted HTTP, so others may have read it: it counts as exposed. Sign in again, and use https."
EXPLANATION = "The token came over unencrypted HTTP, so others may have read it: it counts as exposed. Replace it, and use https."


def is_exposed(secure: bool, address: str | None, plain_http: PlainHttp) -> bool:
    """Whether others may have read a request: it came unencrypted from where `plain_http` does not allow that."""
    if secure or plain_http == "allow":
        return False
    return not is_loopback(address) if plain_http == "refuse" else is_public(address)


def is_public(address: str | None) -> bool:
    """Whether an address is on the public Internet, or one for examples that stands for such; an unknown one counts as not."""
    found = _parsed(address)
    if found is None or found in _NOBODYS:
        return False
    return found.is_global or any(found in network for network in _EXAMPLES)


def is_loopback(address: str | None) -> bool:
    """Whether a caller is on this machine: at a loopback address, or at a Unix socket, whose address is ""."""
    found = _parsed(address)
    return address == "" or (found is not None and found.is_loopback)


def without_port(address: str | None) -> str | None:
    """Return a caller's address, if it is known, without the port that some proxies append."""
    return None if address is None else networks.without_port(address)


def der_certificate(pem: object) -> bytes | None:
    """Return a certificate that a server hands over as PEM text, None when there is none."""
    try:
        return ssl.PEM_cert_to_DER_cert(pem) if isinstance(pem, str) else None
    except ValueError:
        return None


def _parsed(address: str | None) -> networks.Address | None:
    try:
        return networks.read_address(without_port(address) or "")
    except ValueError:
        return None
