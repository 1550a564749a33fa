"""Back-Channel Logout 1.0 §2.2 and Front-Channel Logout 1.0 §2: the addresses that notify a client of the end of a session.

Owns which addresses may be registered, and the front-channel address with its parameters. Whether an address may be reached is
decided when it is called, by the hardened fetch or by the browser.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlencode

from watchword.oauth.errors import OAuthError

MAX_LENGTH = 2000
# No IPv6 literal: a Content-Security-Policy cannot name one as a source (Content Security Policy §2.3.1).
_ADDRESS = re.compile(
    r"(?P<origin>(?:https://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)|http://(?:localhost|127\.0\.0\.1))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?)(?P<rest>(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?(?:\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?)"
)
_LOGOUT_PARAMETER = re.compile(r"[?&](?:iss|sid)(?:=|&|$)")


def check_backchannel(uri: str) -> str:
    """Return an address that logout tokens can be sent to; raise `invalid_client_metadata`."""
    _check("backchannel_logout_uri", uri)
    return uri


def check_frontchannel(uri: str, redirect_uris: Iterable[str]) -> str:
    """Return an address that browsers load at sign-out, with the origin of a redirect URI (§2); raise `invalid_client_metadata`."""
    origin = _check("frontchannel_logout_uri", uri)
    if origin not in {_origin(known) for known in redirect_uris}:
        raise _bad(
            "frontchannel_logout_uri",
            "A frontchannel_logout_uri must have the scheme, host and port of a registered redirect URI.",
        )
    if _LOGOUT_PARAMETER.search(uri):
        raise _bad(
            "frontchannel_logout_uri", "A frontchannel_logout_uri must not have a parameter iss or sid."
        )
    return uri


def check_own_host(uri: str, known: Iterable[str]) -> None:
    """Raise `invalid_client_metadata` unless the host of the address is that of a redirect URI of a self-registered client.

    The server calls the address: without this check anybody could make it call a third party.
    """
    host = _host(uri)
    if host is None or host not in {_host(address) for address in known}:
        raise _bad(
            "backchannel_logout_uri",
            "The backchannel_logout_uri of a self-registered client must be on the host of one of its redirect URIs.",
        )


def frontchannel_address(uri: str, issuer: str, sid: str | None) -> str:
    """Return the address as a browser loads it: with `iss` and `sid` where the client requires the session (§2)."""
    if sid is None:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode({'iss': issuer, 'sid': sid})}"


def _check(field: str, uri: str) -> str:
    match = _ADDRESS.fullmatch(uri) if len(uri) <= MAX_LENGTH else None
    if match is None or int(match["port"] or 443) > 65535:
        raise _bad(
            field,
            f"{field} must be an https address with a host name, without a fragment or user information.",
        )
    return match["origin"].lower()


def _origin(uri: str) -> str:
    match = _ADDRESS.fullmatch(uri)
    return match["origin"].lower() if match else ""


def _host(uri: str) -> str | None:
    match = _ADDRESS.fullmatch(uri)
    return (match["host"] or "loopback").lower() if match else None


def _bad(field: str, description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field=field)
