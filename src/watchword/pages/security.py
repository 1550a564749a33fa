"""W3C Content Security Policy Level 3: what a page may load, run, frame and send forms to.

Owns the policy's text. Chromium checks `form-action` on every redirect that follows a form, so a page whose form
leads to a client names that client's origin.
"""

import re
from collections.abc import Iterable

_HOST = re.compile(
    r"(https?)://([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(:[0-9]{1,5})?(?:[/?#].*)?",
    re.IGNORECASE | re.DOTALL,
)
_LITERAL = re.compile(r"https?://\[[0-9a-f:.]{2,45}\](:[0-9]{1,5})?(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,60}):.*", re.IGNORECASE | re.DOTALL)
_NEVER = frozenset({"javascript", "data", "vbscript", "blob", "file", "filesystem", "about"})


def content_security_policy(*, form_action: Iterable[str] = (), frame_src: Iterable[str] = ()) -> str:
    """Return the policy of a page; where its forms may lead and what its hidden frames load are given as URIs.

    Raises ValueError for an address that has no source expression.
    """
    frames = " ".join(dict.fromkeys(map(source, frame_src))) or "'none'"
    return "; ".join(
        (
            "default-src 'none'",
            "style-src 'self'",
            "script-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            " ".join(("form-action 'self'", *dict.fromkeys(map(source, form_action)))),
            f"frame-src {frames}",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    )


def source(uri: str) -> str:
    """Return the source expression that matches a URI: its origin, or its scheme for applications and IPv6 literals."""
    if match := _HOST.fullmatch(uri):
        return f"{match[1]}://{match[2]}{match[3] or ''}".lower()
    match = _SCHEME.fullmatch(uri)
    web = match is not None and match[1].lower() in ("http", "https")
    if match is None or match[1].lower() in _NEVER or (web and not _LITERAL.fullmatch(uri)):
        raise ValueError("a page can't lead to this address")
    return match[1].lower() + ":"
