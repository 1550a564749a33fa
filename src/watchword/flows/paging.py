"""Cursors of lists: opaque and authenticated, so that none can be forged or used with another list (AD-03)."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec

from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError

T = TypeVar("T")
SEAL = 16
# As an operation takes it: a position has the name or address by which a list is ordered, and an identifier that may be a URL.
Cursor = Annotated[str, msgspec.Meta(max_length=4096)]


def make_cursor(runtime: Runtime, what: str, position: str) -> str:
    """Return the cursor of a position in a list."""
    raw = position.encode()
    return base64.urlsafe_b64encode(_seal(runtime, what, raw) + raw).rstrip(b"=").decode()


def open_cursor(runtime: Runtime, what: str, cursor: str) -> str:
    """Return the position of a cursor, empty for the beginning; raise `invalid_request` for anything forged."""
    if not cursor:
        return ""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = raw[SEAL:].decode()
        if hmac.compare_digest(raw[:SEAL], _seal(runtime, what, raw[SEAL:])):
            return position
    except ValueError:
        pass
    raise OAuthError("invalid_request", "The cursor was not issued for this list.", field="cursor")


def _seal(runtime: Runtime, what: str, raw: bytes) -> bytes:
    return hmac.new(runtime.root.derive("cursors"), what.encode() + b"\n" + raw, hashlib.sha256).digest()[
        :SEAL
    ]


def page(
    runtime: Runtime, what: str, found: list[T], limit: int, position: Callable[[T], str]
) -> tuple[list[T], str | None]:
    """Split what was found, one more than the limit, into a page and the cursor of the next."""
    if len(found) <= limit:
        return found, None
    return found[:limit], make_cursor(runtime, what, position(found[limit - 1]))
