"""RFC 9700 §2.1 and RFC 8252: redirect URIs, registered and requested.

Owns which URIs may be registered and the one comparison that decides where a response may be sent. They are compared as strings,
never as parsed parts: parsers disagree about case, dots, user information and control characters, and each disagreement has been
somebody's open redirect.

The one exception is the port of a loopback address, which a native program learns only when it starts (RFC 8252 §7.3):
- registered on `127.0.0.1` or `[::1]`: any port is accepted, scheme, host, path and query stay exact;
- registered on `localhost` *without* a port: any port is accepted likewise; with a port, that port only. `localhost` may
  resolve elsewhere (§8.3), so it never matches an IP literal, nor an IP literal it.
"""

import re
from collections.abc import Collection, Iterable

from watchword.oauth.errors import OAuthError

MAX_LENGTH = 2000

_PORT = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
_REST = r"(?P<rest>(?:/[A-Za-z0-9\-._~!$&'()+,;=:@%/]*)?(?:\?[A-Za-z0-9\-._~!$&'()+,;=:@%/?]*)?)"
_LOOPBACK = re.compile(rf"http://(?P<host>127\.0\.0\.1|\[::1\]|localhost){_PORT}{_REST}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HTTPS = re.compile(rf"https://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]{{2,45}}\]){_PORT}{_REST}")
_PRIVATE = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+-]*(?:\.[A-Za-z0-9+-]+)*):(?P<rest>/{1,3}[A-Za-z0-9\-._~!$&'()+,;=:%/?]*)"
)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%[01][0-9A-Fa-f]|%7[Ff]|%2[EeFf]|%5[Cc]")
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?:[/;?]|$)")
_RESPONSE_PARAMETER = re.compile(r"[?&](?:code|state|iss|error|response|id_token|access_token)(?:=|&|$)")


def check_registered(
    uri: str, application_type: str, field: str = "redirect_uris", schemes: Collection[str] = ()
) -> str:
    """Return a URI that a client may register in a field; raise `invalid_redirect_uri` with the reason.

    `schemes` are the private-use schemes that need no dot.
    """
    problem = _problem(uri) or _problem_of_form(uri, application_type, schemes)
    if problem is not None:
        raise OAuthError("invalid_redirect_uri", problem, field=field)
    return uri


def _problem(uri: str) -> str | None:
    if len(uri) > MAX_LENGTH:
        return "A redirect URI is too long."
    if "#" in uri:  # RFC 6749 §3.1.2
        return "A redirect URI must not have a fragment."
    if _BAD_ESCAPE.search(uri) or _DOT_SEGMENT.search(uri):
        return "A redirect URI must not have dot segments or escapes of dots, slashes or control characters."
    if _RESPONSE_PARAMETER.search(uri):
        return "A redirect URI must not have a parameter of the authorization response."
    return None


def _problem_of_form(uri: str, application_type: str, schemes: Collection[str]) -> str | None:
    if (match := _HTTPS.fullmatch(uri)) or (match := _LOOPBACK.fullmatch(uri)):
        return "A redirect URI has a port that does not exist." if int(match["port"] or 1) > 65535 else None
    if private := _PRIVATE.fullmatch(uri):
        if private["scheme"] in schemes:  # whatever it says that it is: Cursor calls itself a web application
            return None
        if "." in private["scheme"]:  # RFC 8252 §7.1: a reversed domain name, so that the scheme has an owner
            native = application_type == "native"
            return None if native else "Only a native client may register a private-use scheme."
    return (
        "A redirect URI must be https, http on a loopback address, or for a native client a scheme with a dot or one of private_schemes; "
        "without user information, wildcards, spaces or control characters."
    )


def matches(requested: str, registered: str) -> bool:
    """Whether a requested URI is the registered one, the port of a loopback address excepted."""
    return requested == registered or _matches_loopback(requested, registered)


def _matches_loopback(requested: str, registered: str) -> bool:
    asked, known = _LOOPBACK.fullmatch(requested), _LOOPBACK.fullmatch(registered)
    if not asked or not known or int(asked["port"] or 80) > 65535:
        return False
    if known["host"] == "localhost" and known["port"] is not None:
        return False
    return asked["host"] == known["host"] and asked["rest"] == known["rest"]  # RFC 8252 §7.3


def check_requested(requested: str | None, registered: Iterable[str]) -> str:
    """Return the verified redirect URI of a request, the only registered one when it names none; raise `invalid_request`.

    This refusal is shown to the person and never sent to a redirect URI (RFC 6749 §4.1.2.1).
    """
    known = tuple(registered)
    if requested is None:
        if len(known) == 1:  # RFC 6749 §3.1.2.3
            return known[0]
        raise OAuthError("invalid_request", "The parameter redirect_uri is missing.", field="redirect_uri")
    if len(requested) > MAX_LENGTH or not any(matches(requested, uri) for uri in known):
        raise OAuthError(
            "invalid_request",
            "The redirect_uri is not registered for this client; it is compared character by character.",
            detail=f"not registered: {requested[:200]!r}",
            field="redirect_uri",
        )
    return requested


def is_loopback(uri: str) -> bool:
    """Whether a registered URI leads to a program on the person's own machine: the consent page warns of that."""
    return _LOOPBACK.fullmatch(uri) is not None


def is_private(uri: str) -> bool:
    """Whether a registered URI has a private-use scheme: any program can claim that (RFC 8252 §8.6)."""
    return not uri.startswith(("https://", "http://"))


def destination(uri: str) -> str:
    """Return what the consent page shows of a registered URI: its host and port, or a private-use scheme."""
    match = _HTTPS.fullmatch(uri) or _LOOPBACK.fullmatch(uri)
    if match:
        return match["host"] + (f":{match['port']}" if match["port"] else "")
    return uri.partition(":")[0]
