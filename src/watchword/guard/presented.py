"""The parts of a request that matter to the guard, independent of any framework."""

from collections.abc import Sequence

import msgspec

from watchword.guard.once import Kept

# RFC 3986 §3.3: what needs no escape in a path; for servers that hand over only the decoded path.
PLAIN_IN_PATHS = "/:@!$&'()*+,;=~"


class Presented(msgspec.Struct, frozen=True, kw_only=True):
    """What the guard needs to know about a request.

    - `authorization`, `dpop`, `cookies`: the values of all headers of that name.
    - `uri`: the complete address as the caller sees it, for DPoP.
    - `address`: the caller's IP address; "" for a Unix socket, None if unknown.
    - `certificate`: the client certificate (DER).
    - `secure`: False if the request came over unencrypted HTTP.
    - `subject`: who is signed in by the application's own session (`watchword.guard.sessions`).
    - `site`, `origin`: the headers `Sec-Fetch-Site` and `Origin`.
    - `websocket`: True if the request opens a WebSocket.
    - `kept`: a dictionary that the framework keeps for this one request, so that several guards count a token or proof only once; None if
      there is none.
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

    def __repr__(self) -> str:
        """Show no credential."""
        return f"Presented(method={self.method!r}, path={self.path!r}, address={self.address!r})"

    def check_headers(self) -> None:
        """Raise ValueError for a string in place of a sequence of values. It may be a token, so the message does not repeat it."""
        if isinstance(self.authorization, str):
            raise ValueError(
                'authorization: the values of all headers of that name, such as authorization=("Bearer …",)'
            )

    @property
    def told_path(self) -> str | None:
        """The path to send with introspection; None for one with a NUL or a lone surrogate, which a form cannot carry.

        Without a path, the server reports a token that is limited to paths as inactive. With a NUL it would refuse the request, and a
        caller with any token could make the API answer 503.
        """
        try:
            self.path.encode()
        except UnicodeEncodeError:
            return None
        return None if "\0" in self.path else self.path
