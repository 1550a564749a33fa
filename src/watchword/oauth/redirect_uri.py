"""RFC 9700 §2.1 and RFC 8252: redirect addresses, compared as strings.

Owns what may be registered and when a requested address equals a registered one. Addresses are never taken apart to be
compared: parsers drop characters, and what one drops another redirects to.
"""

import re

from watchword.oauth.clients import ApplicationType
from watchword.oauth.errors import OAuthError

MAX_LENGTH = 2000

_ALLOWED = re.compile(r"[!$&'()*+,\-./0-9:;=?@A-Z_a-z~%\[\]]+")  # RFC 3986 without "#"
_HTTPS = re.compile(
    r"https://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?::\d{1,5})?(?:[/?].*)?"
)
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::(\d{1,5}))?(/[^?]*)?(\?.*)?")
_PRIVATE_USE = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/[^/].*|[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+:/")
_DOTS = re.compile(r"(?:^|[/\\])(?:\.|%2e){1,2}(?:[/\\;?]|%2f|%5c|$)", re.IGNORECASE)


def check_registered(uri: str, application_type: ApplicationType) -> str:
    """Return an address that a client may register; raise `invalid_redirect_uri` with what to change."""
    if len(uri) > MAX_LENGTH or not _ALLOWED.fullmatch(uri):
        raise _refused("A redirect URI has a character that is not allowed, a fragment, or is too long.")
    rest = uri.partition("://")[2] or uri
    if _DOTS.search(rest.partition("?")[0]):
        raise _refused("A redirect URI must not hold dot segments.")
    if _HTTPS.fullmatch(uri) or _LOOPBACK.fullmatch(uri):
        return uri
    if application_type == "native" and _PRIVATE_USE.fullmatch(uri):  # RFC 8252 §7.1: a domain name, reversed
        return uri
    raise _refused(
        "A redirect URI must be an https address, http on a loopback address, or for a native app a scheme such as com.example.app:/callback."
    )


def _refused(description: str) -> OAuthError:
    return OAuthError("invalid_redirect_uri", description, field="redirect_uris")


def matches(requested: str, registered: tuple[str, ...]) -> bool:
    """Whether a requested address is a registered one: equal letter by letter, but for the port of a loopback IP (RFC 8252 §7.3)."""
    if requested in registered:
        return True
    found = _LOOPBACK.fullmatch(requested) if _ALLOWED.fullmatch(requested) else None
    return found is not None and any(_same_but_for_port(found, candidate) for candidate in registered)


def _same_but_for_port(requested: re.Match[str], registered: str) -> bool:
    candidate = _LOOPBACK.fullmatch(registered)
    if candidate is None or (candidate[2] is not None and candidate[1] == "localhost"):
        return False
    if int(requested[2] or 80) > 65535:
        return False
    return (requested[1], requested[3], requested[4]) == (candidate[1], candidate[3], candidate[4])


def is_loopback(uri: str) -> bool:
    """Whether an address can only be reached on the person's own machine."""
    return _LOOPBACK.fullmatch(uri) is not None
