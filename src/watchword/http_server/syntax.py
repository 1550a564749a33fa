"""RFC 9112: what one HTTP/1.1 request must look like before anyone acts on it.

Owns the grammar and the size limits of a request: the request line, the header section (split by httptools), the
target, Host, and the two ways to delimit a body. Everything is refused that two parsers could read differently.
Pure: bytes in, values out. Sockets, time and answers belong to `protocol`, ASGI to `exchange`.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

import httptools
import msgspec

TARGET_LIMIT: Final = 16 * 1024  # bytes of the request target: room for a `state` of 7 kB and the rest
HEAD_LIMIT: Final = 32 * 1024  # bytes of request line and header section together
HEADER_LIMIT: Final = 100  # header lines
BODY_LIMIT: Final = 1024 * 1024  # bytes of a body, after removal of the chunked framing
CHUNK_LIMIT: Final = 4096  # chunks of one body: bounds the work that one-byte chunks can cause

METHODS: Final = {
    name.encode(): name for name in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
}
KEEP_ALIVE: Final = [b"keep-alive"]
SINGLE: Final = (
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"content-encoding",
    b"expect",
    b"content-type",
)

# §3: exactly one space between the parts, origin-form, absolute-form or `*`; no fragment; only these two versions.
# A path may be missing behind an authority alone.
REQUEST_LINE: Final = re.compile(
    rb"([A-Z]{1,16}+) (?:(?i:https?)://([^/?#\x00-\x20\x7f-\xff]++))?"
    rb"(/[!\"$-~]*+|\*|(?<! )(?:\?[!\"$-~]*+)?) HTTP/1\.([01])\r\n"
)
HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_.-]{1,253})(?::[0-9]{1,5})?")
# The two lines that delimit a body, in the one spelling that every parser reads alike.
FRAMING: Final = re.compile(
    rb"\n(?:(?i:content-length): ?(0|[1-9][0-9]{0,15})|(?i:transfer-encoding): ?chunked)\r\n"
)
CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
CHUNK_BEGUN: Final = re.compile(rb"[0-9A-Fa-f]{0,8}\r?")
HEAD_BEGUN: Final = re.compile(rb"\r?\Z|[A-Z]{1,16}+(?: |\Z)")
FORBIDDEN: Final = re.compile(rb"\r(?=[^\n])|(?<!\r)\n|\x00")
BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Refused(Exception):
    """A request that is answered with `status` and some header lines, and ends the connection."""

    def __init__(self, status: int, headers: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class Head(msgspec.Struct, frozen=True):
    """A request line and header section that passed every rule; `length` is None for a chunked body."""

    method: str
    path: str
    raw_path: bytes
    query_string: bytes
    http_version: str
    headers: list[tuple[bytes, bytes]]
    length: int | None
    keep_alive: bool
    expects_continue: bool


class HeaderLines:
    """Collects what httptools calls back for one head."""

    __slots__ = ("complete", "lines")

    def __init__(self) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines.append((name.lower(), value.rstrip(b" \t")))  # httptools leaves the OWS of RFC 9110 §5.5

    def on_headers_complete(self) -> None:
        self.complete = True


def check_begun(raw: bytearray, scanned: int) -> None:
    """Refuse an unfinished head as soon as it can't become a good one; bytes before `scanned` are known."""
    if HEAD_BEGUN.match(raw) is None or FORBIDDEN.search(raw, max(scanned - 1, 0)) is not None:  # §2.2
        raise Refused(400)
    if len(raw) > TARGET_LIMIT and raw.find(b"\r\n", 0, TARGET_LIMIT + 32) < 0:
        raise Refused(414)
    if len(raw) > HEAD_LIMIT:
        raise Refused(431)


def parse_head(raw: bytes) -> Head:
    """Parse one head that ends with its empty line; raises Refused."""
    line = REQUEST_LINE.match(raw)
    if line is None:
        raise Refused(414 if raw.find(b"\r\n") > TARGET_LIMIT + 32 else 400)  # §3
    method, authority, target, minor = line.groups()
    if len(target) > TARGET_LIMIT:
        raise Refused(414)
    raw_path, _, query_string = target.partition(b"?")
    if not raw_path:  # §3.2.1, and §3.2.4: `*` for the server as a whole
        raw_path = b"*" if method == b"OPTIONS" and not query_string else b"/"
    name = METHODS.get(method)
    if name != "OPTIONS" and raw_path == b"*":
        raise Refused(400)  # §3.2.4
    # httptools accepts only the methods that it knows; its reading of the request line is not used.
    headers = header_lines(raw if name is not None else b"GET" + raw[len(method) :])
    known = dict(headers)
    if len(known) != len(headers):
        refuse_repeated(headers)
    check_host(known.get(b"host"), authority, minor)
    if known.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Refused(415, b"accept-encoding: identity\r\n")  # RFC 9110 §15.5.16
    return Head(
        method=name or method.decode("ascii"),
        path=decoded_path(raw_path),
        raw_path=raw_path,
        query_string=query_string,
        http_version="1.1" if minor == b"1" else "1.0",
        headers=headers,
        length=body_length(raw, known, minor),
        # An unknown method is answered by the application (RFC 9110 §15.5.6), and ends the connection.
        keep_alive=minor == b"1" and name is not None and not (b"connection" in known and closes(headers)),
        expects_continue=minor == b"1" and expects_continue(known.get(b"expect")),
    )


def header_lines(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Split the header section into lower-case names and values; raises Refused."""
    collected = HeaderLines()
    try:
        httptools.HttpRequestParser(collected).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # an offer to leave HTTP/1.1, which the server may ignore: RFC 9110 §7.8
    except httptools.HttpParserError:
        raise Refused(400) from None  # §5.1, §5.2
    if not collected.complete:
        raise Refused(400)
    if len(collected.lines) > HEADER_LIMIT:
        raise Refused(431)
    return collected.lines


def refuse_repeated(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse a second line of a field that frames, routes or describes the request."""
    names = [name for name, _ in headers]
    if any(names.count(name) > 1 for name in SINGLE):
        raise Refused(400)


def check_host(host: bytes | None, authority: bytes | None, minor: bytes) -> None:
    """Require one well-formed Host, equal to the authority of an absolute-form target; raises Refused."""
    if host is None:
        if minor == b"1" or authority is not None:
            raise Refused(400)  # §3.2
    elif HOST.fullmatch(host) is None or (authority is not None and authority.lower() != host.lower()):
        raise Refused(400)


def decoded_path(raw_path: bytes) -> str:
    """Percent-decode a path; raises Refused for broken escapes, NUL, or bytes that aren't UTF-8."""
    if b"%" not in raw_path:
        return raw_path.decode("ascii")
    try:
        path = unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400) from None
    if "\x00" in path or BAD_ESCAPE.search(raw_path) is not None:
        raise Refused(400)
    return path


def body_length(raw: bytes, known: dict[bytes, bytes], minor: bytes) -> int | None:
    """Bytes of the body, None when it is chunked; raises Refused for any doubt about it (§6.3)."""
    chunked = b"transfer-encoding" in known
    if not chunked and b"content-length" not in known:
        return 0
    line = FRAMING.search(raw)
    if line is None or (chunked and (minor != b"1" or b"content-length" in known)):  # §6.1
        raise Refused(400)
    return None if chunked else int(line[1])


def closes(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the client asked for the connection to end after this request (§9.6)."""
    options = [value for name, value in headers if name == b"connection"]
    if options == KEEP_ALIVE:
        return False
    return b"close" in [option.strip() for option in b",".join(options).lower().split(b",")]


def expects_continue(expect: bytes | None) -> bool:
    """Whether the client waits for a 100 answer; raises Refused for any other expectation."""
    if expect is None:
        return False
    if expect.lower() != b"100-continue":
        raise Refused(417)  # RFC 9110 §10.1.1
    return True


class ChunkedBody:
    """§7.1: a chunked body on its way in, without chunk extensions and without trailers."""

    __slots__ = ("body", "chunks", "limit")

    def __init__(self, limit: int) -> None:
        self.body = bytearray()
        self.chunks = 0
        self.limit = limit

    def take(self, buffer: bytearray) -> bytes | None:
        """Move whole chunks out of `buffer`; the body once its last chunk is in; raises Refused."""
        position = 0
        while (chunk := CHUNK.match(buffer, position)) is not None:
            size = int(chunk[1], 16)
            start, end = chunk.end(), chunk.end() + size
            self.count(size)
            if buffer[end : end + 2] != b"\r\n"[: max(0, len(buffer) - end)]:
                raise Refused(400)  # junk after the data, or a trailer section
            if len(buffer) < end + 2:
                break
            self.body += buffer[start:end]
            position = end + 2
            if size == 0:
                del buffer[:position]
                return bytes(self.body)
            self.chunks += 1
        else:
            if CHUNK_BEGUN.fullmatch(buffer, position) is None:
                raise Refused(400)  # an extension, a sign, a prefix, white space, a bare LF
        del buffer[:position]
        return None

    def count(self, size: int) -> None:
        """Refuse the chunk that makes the body too long, or split into too many chunks."""
        if len(self.body) + size > self.limit or (size and self.chunks >= CHUNK_LIMIT):
            raise Refused(413)
