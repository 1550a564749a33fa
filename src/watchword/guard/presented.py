"""What of a request matters to the guard, in the words of no framework."""

from collections.abc import Sequence

import msgspec

from watchword.guard.once import Kept

# RFC 3986 §3.3: what stands in a path without an escape, for servers that hand over only what it decodes to.
PLAIN_IN_PATHS = "/:@!$&'()*+,;=~"


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """What a request presented; `uri` is the whole address as the caller sees it, for DPoP.

    `address` is the caller's, "" of one who came through a Unix socket, None where it is not known. `secure` is False when the request
    came over unencrypted HTTP. `cookies` are the values of `Cookie` headers; `subject` is whom a
    session of the application itself is for, where `watchword.guard.sessions` keeps one; `site` and `origin` are what a
    browser says of where the request comes from. `websocket` is True when the request opens a WebSocket. `kept` is what the framework
    keeps of this very request, for the notes of what guards used up with it; None where it keeps nothing.
    """

    authorization: Sequence[str] = ()
    dpop: Sequence[str] = ()
    method: str = "GET"
    uri: str = ""
    path: str = "/"
    address: str | None = None
    certificate: bytes | None = None
    secure: bool = True
    cookies: Sequence[str] = ()
    subject: str = ""
    site: str | None = None
    origin: str | None = None
    websocket: bool = False
    kept: Kept | None = None
