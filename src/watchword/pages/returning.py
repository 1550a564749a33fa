"""What the sign-in page is told: where to send a person afterwards, as a path sealed by this server (SE-12), and which user name to
fill in."""

import base64
import hashlib
import hmac
import re
from urllib.parse import quote

from watchword.flows.runtime import Runtime
from watchword.http import Request

DEFAULT = "/account"
NAME, NAME_COOKIE, NAME_LIFETIME = "name to sign in by", "ww-name", 600
RESUME = "/authorize/resume?interaction="
DEVICE = "/device"
WAITING_COOKIE = "ww-waiting"  # where somebody goes on once a second factor is set up
REGISTERING_COOKIE = "ww-registering"  # where somebody goes on once an account is made
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,12000}")
_PLAIN = "!$&'()*+,;=:@%/?"


def written(path: str) -> str:
    """Return a decoded path, in which only a slash within a segment is still escaped, as it is written in a URL."""
    return quote(path, safe=_PLAIN)


def place_of(request: Request) -> str:
    """Return a request's path as its URL has it, even where an identifier in it holds a slash or a percent sign."""
    place = request.path
    for value in request.path_params.values():
        place = place.replace(value.replace("/", "%2F"), quote(value, safe=""))
    return written(place)


def seal_return(runtime: Runtime, path: str) -> str:
    """Return a path of this server, sealed so that only this server can have made the text."""
    raw = written(path).encode("ascii")
    seal = hmac.new(runtime.root.derive("return path"), raw, hashlib.sha256).digest()[:16]
    return base64.urlsafe_b64encode(seal + raw).decode().rstrip("=")


def open_return(runtime: Runtime, sealed: str | None) -> str:
    """Return the path in a sealed text, or the account page for anything else."""
    if sealed:
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            path = raw[16:].decode("ascii")
        except ValueError:
            return DEFAULT
        same = hmac.compare_digest(seal_return(runtime, path).encode(), sealed.encode())
        if same and _PATH.fullmatch(path):
            return path
    return DEFAULT


def seal_name(runtime: Runtime, browser: str, username: str) -> str:
    """Return a user name sealed for the cookie of one browser, in which its owner has just set up how to sign in."""
    return runtime.root.seal_text(NAME, browser, username.encode())


def open_name(runtime: Runtime, browser: str, sealed: str | None) -> str | None:
    """Return the user name that was sealed for a browser, or None."""
    if not sealed:
        return None
    try:
        return runtime.root.open_text(NAME, browser, sealed).decode()
    except ValueError:
        return None


def interaction_of(path: str) -> str | None:
    """Return the authorization request in progress that a path leads back to, or None."""
    return path.removeprefix(RESUME) if path.startswith(RESUME) else None
