"""`Request` and `Response`: bodies and their content types, one place that renders errors, security headers.

Endpoints are functions from a `Request` to a `Response`. Everything that arrives is checked before an endpoint sees it:
duplicate parameters and bad encodings (`forms`), wrong content types and over-large bodies here.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from copy import copy
from typing import Any

import msgspec

from watchword.flows.client_auth import Credentials
from watchword.flows.runtime import Runtime
from watchword.http.forms import REPEATABLE, Form, parse_pairs
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth import malformed
from watchword.oauth.errors import OAuthError
from watchword.presence import HasLeft, unknown

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

MAX_BODY = 256 * 1024
KEPT_BODY = 1024  # bytes up to which the last body is kept, because clients repeat it

NO_STORE: Headers = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
JSON_TYPE = (b"content-type", b"application/json")
JSON_NO_STORE = (JSON_TYPE, *NO_STORE)
FORM_TYPE = b"application/x-www-form-urlencoded"
HTML_TYPE = (b"content-type", b"text/html; charset=utf-8")
# On every answer; headers that matter for pages alone are added in `pages`.
SECURITY: Headers = ((b"x-content-type-options", b"nosniff"),)
HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")

_encode = msgspec.json.Encoder().encode
_QUALITY = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


class Request(msgspec.Struct):
    """One decoded request. `address` is the client's, as trusted proxies report it; `secure` whether it came over TLS.

    `has_left` tells whether the client has closed the connection meanwhile.
    """

    runtime: Runtime
    method: str
    path: str
    query_string: bytes
    headers: dict[bytes, bytes]
    duplicates: frozenset[bytes]
    body: bytes
    address: str
    secure: bool
    path_params: Mapping[str, str] = {}
    client_certificate: bytes | None = None
    certificate_issued: bool = False
    has_left: HasLeft = unknown
    _credentials: Credentials | None = None
    _form: Form | None = None
    _latest: "Request | None" = None

    def with_body(self, body: bytes) -> "Request":
        """Return a request with the same head: the latest, if its short body was the same."""
        latest = self._latest
        if latest is not None and latest.body == body:
            return latest
        request = copy(self)
        request.body, request._latest = body, None
        self._latest = request if len(body) <= KEPT_BODY else None
        return request

    def header(self, name: bytes) -> str | None:
        """Return a header as Latin-1 text, or None."""
        value = self.headers.get(name)
        return value.decode("latin-1") if value is not None else None

    def credentials(self) -> Credentials:
        """Return the parts of the request that may authenticate its sender; raise when the Authorization header repeats (RFC 6750 §2)."""
        if self._credentials is not None:
            return self._credentials
        if b"authorization" in self.duplicates:
            raise OAuthError("invalid_request", "The Authorization header was sent more than once.")
        self._credentials = Credentials(
            self.header(b"authorization"),
            self.header(b"dpop"),
            self.client_certificate,
            self.address,
            self.method,
            self.certificate_issued,
            self.path,
        )
        return self._credentials

    def query(self) -> Form:
        """Return the query parameters."""
        return Form(parse_pairs(self.query_string), repeatable=REPEATABLE)

    def form(self, repeatable: frozenset[str] = REPEATABLE) -> Form:
        """Return the parameters of a form body; raise when the body is anything else (RFC 6749 §3.2, appendix B).

        A request without a body and a type of one states none, as `curl -X POST` without `-d` does.
        """
        stated = self.headers.get(b"content-type", b"")
        is_form = stated == FORM_TYPE or stated.partition(b";")[0].strip().lower() == FORM_TYPE
        if not is_form and (stated or self.body):
            raise OAuthError(
                "invalid_request", "The body must be application/x-www-form-urlencoded.", field="content-type"
            )
        if repeatable is not REPEATABLE:
            return Form(parse_pairs(self.body), repeatable=repeatable)
        if self._form is None:
            self._form = Form(parse_pairs(self.body), repeatable=repeatable)
        return self._form

    def json(self) -> object:
        """Return a JSON body; raise `invalid_request` or `unsupported_media_type`."""
        media_type = self.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media_type != b"application/json":
            raise OAuthError(
                "unsupported_media_type", "The body must be application/json.", field="content-type"
            )
        try:
            return loads(self.body)
        except StrictJSONError as error:
            raise OAuthError(
                "invalid_request",
                f"The body cannot be taken as JSON: {error}.",
                field=malformed.printable(error.member) or None,
            ) from None

    def cookie(self, name: str) -> str | None:
        """Return the cookie of a name; None when there are several."""
        wanted = name.encode() + b"="
        found = [
            part.strip()[len(wanted) :]
            for part in self.headers.get(b"cookie", b"").split(b";")
            if part.strip().startswith(wanted)
        ]
        return found[0].decode("latin-1") if len(found) == 1 else None

    def has_copy(self, etag: bytes) -> bool:
        """Whether the sender has a copy with this entity tag (RFC 9110 §13.1.2)."""
        sent = self.headers.get(b"if-none-match", b"").split(b",")
        known = [one.strip().removeprefix(b"W/") for one in sent]
        return etag in known or known == [b"*"]


def wanted_types(accept: str) -> dict[str, float]:
    """Return the media types of an `Accept` header with how much each is wanted; 0 means not at all (RFC 9110 §12.4.2)."""
    wanted = {}
    for media_range in accept.lower().split(","):
        kind, *parameters = (part.strip() for part in media_range.split(";"))
        quality = next((match[1] for part in parameters if (match := _QUALITY.fullmatch(part))), "1")
        wanted[kind] = float(quality)
    return wanted


class Stream(msgspec.Struct):
    """A body that is sent until its parts end or the client has left; `closed` is called in either case."""

    parts: AsyncIterator[bytes]
    closed: Callable[[], None]


class Response(msgspec.Struct):
    """An answer; header names are lower-case bytes. A `stream` replaces the body."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: Stream | None = None


Endpoint = Callable[[Request], Awaitable[Response]]


def json_response(status: int, document: object, headers: Headers = NO_STORE) -> Response:
    """Answer a JSON document, not to be cached unless told otherwise."""
    return Response(
        status, _encode(document), JSON_NO_STORE if headers is NO_STORE else (JSON_TYPE, *headers)
    )


async def send_stream(stream: Stream, receive: Receive, send: Send) -> None:
    """Send the parts of a body one by one until they end, the client leaves, or the server stops."""

    async def write() -> None:
        async for part in stream.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})

    writing, leaving = asyncio.ensure_future(write()), asyncio.ensure_future(receive())
    try:
        await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        writing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writing
    await send({"type": "http.response.body", "body": b""})


def redirect(location: str, headers: Headers = NO_STORE) -> Response:
    """Answer with 303, so that a form's fields are not sent to the target again (RFC 9700 §4.12)."""
    return Response(303, b"", ((b"location", location.encode("ascii")), *headers))


def error_response(error: OAuthError, headers: Headers = ()) -> Response:
    """Render a refusal: the only place where an OAuthError becomes bytes."""
    document = {"error": error.code, "error_description": error.description}
    if error.field:
        document["field"] = error.field
    extra = list(headers)
    if error.challenge is not None:
        extra.append((b"www-authenticate", error.challenge.encode("ascii", "replace")))
    if error.retry_after is not None:
        extra.append((b"retry-after", str(error.retry_after).encode()))
    return json_response(error.rule.status, document, (*NO_STORE, *extra))


UNAVAILABLE = OAuthError(
    "temporarily_unavailable", "The server cannot store anything right now; try again shortly.", retry_after=2
)
EXHAUSTED = OAuthError(
    "temporarily_unavailable",
    "The server has no memory for this right now; try again shortly.",
    retry_after=2,
)
CROWDED = OAuthError(
    "temporarily_unavailable",
    "The server has too many files and connections open right now; try again shortly.",
    retry_after=2,
)


TOO_LARGE = (413, "invalid_request")


def too_large(said: tuple[int, str] = TOO_LARGE) -> OAuthError:
    """Return the refusal of a body over the limit, by the status and the code that an endpoint's specification has for it."""
    status, code = said
    return OAuthError(code, "The body is too large.", status=status)


async def read_body(receive: Receive, said: tuple[int, str] = TOO_LARGE) -> bytes:
    """Return the whole body of a request; refuse it, as `too_large` says, as soon as it is over the limit."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > MAX_BODY:
            raise too_large(said)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY:
            raise too_large(said)
    return b"".join(parts)
