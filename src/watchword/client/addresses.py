"""Where a credential may be sent: to one origin over https, or over plain http to this machine itself."""

from urllib.parse import urlsplit

from watchword.client.errors import WrongAddress
from watchword.networks import is_loopback

Origin = tuple[str, str, int]
PORTS = {"https": 443, "http": 80}


def origin_of(address: str, what: str = "the address") -> Origin:
    """Return scheme, host and port of an address; raise WrongAddress for one that credentials must not go to."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise WrongAddress(f"{what} is not a valid address") from None
    if parts.scheme not in PORTS or not host or "@" in parts.netloc:
        raise WrongAddress(f"{what} must be https://host, without user information")
    if parts.scheme == "http" and not is_loopback(host):
        raise WrongAddress(f"no credential is sent over plain http to {host}: use https")
    return parts.scheme, host.rstrip(".").lower(), port or PORTS[parts.scheme]
