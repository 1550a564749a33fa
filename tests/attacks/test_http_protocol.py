"""HP-01, HP-02, HP-03, HP-08, HT-01: hostile bytes on a real socket."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.raw_requests import CHUNKED, HONEST_LENGTH, Brisk, echo, in_pieces, post, server, status
from tests.fixtures.loopback import LoopbackServer

from watchword.app import App
from watchword.http_server.exchange import Scope
from watchword.settings import Settings

__all__ = ["server"]


HONEST_CHUNKED = post(b"Transfer-Encoding: chunked", b"Connection: close", body=b"3\r\nabc\r\n0\r\n\r\n")


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


LAST = b"0\r\n\r\n"


SMUGGLING = {
    "Content-Length and then Transfer-Encoding": post(b"Content-Length: 5", CHUNKED, body=LAST),
    "Transfer-Encoding and then Content-Length": post(CHUNKED, b"Content-Length: 5", body=LAST),
    "two different Content-Length": post(b"Content-Length: 0", b"Content-Length: 3", body=b"abc"),
    "two equal Content-Length": post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"),
    "a list of equal Content-Length": post(b"Content-Length: 3, 3", body=b"abc"),
    "a signed Content-Length": post(b"Content-Length: +3", body=b"abc"),
    "a negative Content-Length": post(b"Content-Length: -3", body=b"abc"),
    "a hexadecimal Content-Length": post(b"Content-Length: 0x3", body=b"abc"),
    "an underscore in Content-Length": post(b"Content-Length: 1_0", body=b"abc"),
    "leading zeros in Content-Length": post(b"Content-Length: 003", body=b"abc"),
    "an empty Content-Length": post(b"Content-Length:", body=b"abc"),
    "a Content-Length beyond 64 bits": post(b"Content-Length: 18446744073709551619", body=b"abc"),
    "a vertical tab before Content-Length": post(b"Content-Length: \x0b3", body=b"abc"),
    "a tab after Content-Length": post(b"Content-Length: 3\t", body=b"abc"),
    "white space before the colon of Content-Length": post(b"Content-Length : 3", body=b"abc"),
    "an unknown transfer coding": post(b"Transfer-Encoding: xchunked", body=LAST),
    "identity as transfer coding": post(b"Transfer-Encoding: identity", body=LAST),
    "identity before chunked": post(b"Transfer-Encoding: identity, chunked", body=LAST),
    "gzip before chunked": post(b"Transfer-Encoding: gzip, chunked", body=LAST),
    "identity after chunked": post(b"Transfer-Encoding: chunked, identity", body=LAST),
    "chunked twice": post(CHUNKED, CHUNKED, body=LAST),
    "chunked and a second coding line": post(CHUNKED, b"Transfer-Encoding: x", body=LAST),
    "chunked in capitals": post(b"Transfer-Encoding: CHUNKED", body=LAST),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=LAST),
    "chunked with a parameter": post(b"Transfer-Encoding: chunked;q=1", body=LAST),
    "a tab before chunked": post(b"Transfer-Encoding:\tchunked", body=LAST),
    "a vertical tab before chunked": post(b"Transfer-Encoding: \x0bchunked", body=LAST),
    "a non-ASCII space after chunked": post(b"Transfer-Encoding: chunked\xa0", body=LAST),
    "an empty transfer coding": post(b"Transfer-Encoding:", body=LAST),
    "white space before the colon of Transfer-Encoding": post(b"Transfer-Encoding : chunked", body=LAST),
    "Transfer-Encoding folded over two lines": post(b"Transfer-Encoding:\r\n chunked", body=LAST),
    "a folded header": post(b"X: a\r\n b", b"Content-Length: 0"),
    "white space before the first header": b"POST /t HTTP/1.1\r\n Host: b\r\nHost: a\r\n\r\n",
    "Transfer-Encoding in HTTP/1.0": b"POST /t HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n\r\n" + LAST,
    "a chunk extension": post(CHUNKED, body=b"3;a=b\r\nabc\r\n" + LAST),
    "a chunk extension with a bare LF": post(CHUNKED, body=b"3;a\nb\r\nabc\r\n" + LAST),
    "a chunk size with a prefix": post(CHUNKED, body=b"0x3\r\nabc\r\n" + LAST),
    "a signed chunk size": post(CHUNKED, body=b"+3\r\nabc\r\n" + LAST),
    "white space after a chunk size": post(CHUNKED, body=b"3 \r\nabc\r\n" + LAST),
    "a chunk size of nine digits": post(CHUNKED, body=b"000000003\r\nabc\r\n" + LAST),
    "a chunk size that overflows": post(CHUNKED, body=b"fffffffffffffffff\r\nabc\r\n" + LAST),
    "a chunk size ended by a bare LF": post(CHUNKED, body=b"3\nabc\r\n" + LAST),
    "a chunk longer than its size": post(CHUNKED, body=b"3\r\nabcde" + LAST),
    "no line end after chunk data": post(CHUNKED, body=b"3\r\nabcXX" + LAST),
    "a trailer": post(CHUNKED, body=b"0\r\nX: a\r\n\r\n"),
    "a Content-Length trailer": post(CHUNKED, body=b"0\r\nContent-Length: 50\r\n\r\n"),
    "a bare LF between headers": b"POST /t HTTP/1.1\r\nHost: a\nContent-Length: 0\r\n\r\n",
    "a bare CR between headers": b"POST /t HTTP/1.1\r\nHost: a\rContent-Length: 0\r\n\r\n",
    "a bare CR in a header": post(b"X: a\rContent-Length: 3", b"Content-Length: 0"),
    "bare LF throughout": b"POST /t HTTP/1.1\nHost: a\n\n",
    "an empty line of a bare LF": b"POST /t HTTP/1.1\r\nHost: a\r\n\n",
}


@pytest.mark.parametrize("attack", SMUGGLING.values(), ids=SMUGGLING)
def test_hp_01_a_request_with_doubtful_framing_is_refused_and_ends_all_parsing(
    server: LoopbackServer, attack: bytes
) -> None:
    assert server.talk(HONEST_LENGTH).endswith(b"POST /t abc")
    assert server.talk(HONEST_CHUNKED).endswith(b"POST /t abc")
    for pieces in ([attack + SMUGGLED], [attack, SMUGGLED], in_pieces(attack + SMUGGLED)):
        raw = server.talk(*pieces)
        assert status(raw) in (400, 413)
        assert raw.count(b"HTTP/1.1 ") == 1
        assert b"smuggled" not in raw


def test_hp_01_an_upgrade_offer_hides_no_body(server: LoopbackServer) -> None:
    offer = post(
        b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED
    )
    raw = server.talk(offer + HONEST_LENGTH)
    assert raw.count(b"HTTP/1.1 200") == 2
    assert b"POST /t " + SMUGGLED in raw
    assert raw.endswith(b"POST /t abc")


MALFORMED = {
    "two spaces after the method": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space after the version": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "a lower-case version": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "version 0.9": b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
    "version 1.2": b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another protocol": b"DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n",
    "a lower-case method": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a relative target": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "an asterisk with GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "a NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a NUL escaped in the target": b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a control character in the target": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "raw UTF-8 in the target": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
    "escaped bytes that are not UTF-8": b"GET /%ff%fe HTTP/1.1\r\nHost: a\r\n\r\n",
    "an escaped surrogate": b"GET /%ed%a0%80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "an overlong escape": b"GET /%c0%af HTTP/1.1\r\nHost: a\r\n\r\n",
    "a broken escape": b"GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n",
    "another authority in the target": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "user information in the target": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "an empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "a port that is no number": b"GET / HTTP/1.1\r\nHost: a:abc\r\n\r\n",
    "a path in Host": b"GET / HTTP/1.1\r\nHost: a/b?c\r\n\r\n",
    "user information in Host": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "an open bracket in Host": b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "a list in Host": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x00c\r\n\r\n",
    "a NUL in a name": b"GET / HTTP/1.1\r\nHost: a\r\nX\x00: b\r\n\r\n",
    "a control character in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7f\r\n\r\n",
    "an empty name": b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "a line without colon": b"GET / HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\n",
    "a space in a name": b"GET / HTTP/1.1\r\nHost: a\r\nfoo bar: x\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "two Content-Types": b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
    "an unknown expectation": post(b"Expect: 200-ok", b"Content-Length: 0"),
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "binary noise": bytes(range(256)) * 8,
}


@pytest.mark.parametrize("attack", MALFORMED.values(), ids=MALFORMED)
def test_hp_02_a_malformed_request_is_refused_at_once(server: LoopbackServer, attack: bytes) -> None:
    assert status(server.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200
    raw = server.talk(attack + SMUGGLED)
    assert status(raw) in (400, 417)
    assert raw.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in raw
    assert b"Traceback" not in raw
    assert b"server:" not in raw.lower()


def test_hp_02_a_head_that_cannot_become_a_good_one_is_not_waited_for() -> None:
    begun = b"GET / HTTP/1.1\r\nHost: a\r\nX: b"
    with LoopbackServer(echo, Brisk) as server:
        assert status(server.talk(begun)) == 408, "the honest beginning"
        for end in (b"\n", b"\r", b"\x00", b"\n\n"):
            for pieces in ([begun + end + b"Y: "], [begun, end, b"Y: "], in_pieces(begun + end + b"Y: ")):
                assert status(server.talk(*pieces)) == 400, end


# RFC 9110 §15.5.6: what an address answers a method with that nothing here serves.
METHODS_OF_PATHS = {
    "/token": (405, {"OPTIONS", "POST"}),
    "/healthz": (405, {"GET", "HEAD", "OPTIONS"}),
    "/register/someone": (405, {"DELETE", "GET", "HEAD", "OPTIONS", "PUT"}),
    "/nowhere": (404, None),
}


@pytest.mark.parametrize("method", ["TRACE", "FOO", "PROPFIND"])
def test_hp_02_a_method_that_nothing_serves_is_told_those_of_the_address_and_ends_all_parsing(
    tmp_path: Path, method: str
) -> None:
    app = App(Settings(issuer="http://localhost", database=str(tmp_path / "w.db"), jobs=False))
    with LoopbackServer(app) as server:
        for path, (expected, methods) in METHODS_OF_PATHS.items():
            attack = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".encode()
            raw = server.talk(attack + SMUGGLED)
            allow = re.search(rb"\r\nallow: ([A-Z, ]+)\r\n", raw)
            assert status(raw) == expected
            assert (set(allow[1].decode().split(", ")) if allow else None) == methods
            assert raw.count(b"HTTP/1.1 ") == 1
            assert b"smuggled" not in raw
            assert b"\r\nconnection: close\r\n" in raw
        assert status(server.talk(f"{method} * HTTP/1.1\r\nHost: a\r\n\r\n".encode())) == 400


def with_target(size: int) -> bytes:
    return b"GET /" + b"a" * (size - 1) + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def with_header(size: int) -> bytes:
    begun = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: "
    return begun + b"a" * (size - len(begun) - 4) + b"\r\n\r\n"


def with_lines(count: int) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + b"X: a\r\n" * (count - 2) + b"\r\n"


def with_body(size: int) -> bytes:
    return post(b"Content-Length: %d" % size, b"Connection: close", body=b"a" * size)


def with_chunks(size: int, count: int) -> bytes:
    chunk = b"%x\r\n%b\r\n" % (size, b"a" * size)
    return post(b"Transfer-Encoding: chunked", b"Connection: close", body=chunk * count + LAST)


@pytest.mark.parametrize(
    ("honest", "attack", "refusal"),
    [
        pytest.param(
            with_target(16 * 1024), with_target(16 * 1024 + 1), 414, id="a target of 16 KiB at most"
        ),
        pytest.param(with_target(7_000), b"GET /" + b"a" * 100_000, 414, id="a target that never ends"),
        pytest.param(with_header(32 * 1024), with_header(32 * 1024 + 1), 431, id="32 KiB of headers at most"),
        pytest.param(with_header(20_000), with_header(900_000), 431, id="a huge header"),
        pytest.param(with_lines(100), with_lines(101), 431, id="100 header lines at most"),
        pytest.param(with_body(2**20), with_body(2**20 + 1), 413, id="a body of 1 MiB at most"),
        pytest.param(
            with_chunks(2**16, 16), with_chunks(2**16, 17), 413, id="a chunked body of 1 MiB at most"
        ),
        pytest.param(with_chunks(1, 4096), with_chunks(1, 4097), 413, id="4096 chunks at most"),
    ],
)
def test_hp_03_a_request_beyond_a_limit_is_refused(
    server: LoopbackServer, honest: bytes, attack: bytes, refusal: int
) -> None:
    assert status(server.talk(honest)) == 200
    assert status(server.talk(attack)) == refusal


def test_hp_03_a_refusal_reaches_a_client_that_is_still_sending(server: LoopbackServer) -> None:
    raw = server.talk(post(b"Content-Length: 50000000"), *[b"a" * 100_000] * 20)
    assert status(raw) == 413


class Words:
    """Echoes, and has the application's words for a body over the limit."""

    too_large = App(Settings(issuer="http://localhost/auth")).too_large

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)


@pytest.mark.parametrize("attack", [post(b"Content-Length: 9999999"), with_chunks(2**16, 17)])
def test_hp_03_a_body_beyond_the_limit_is_refused_in_the_words_of_its_specification(attack: bytes) -> None:
    with LoopbackServer(Words()) as server:
        for asked, said in {
            b"POST /t": (413, b'"invalid_request"'),
            b"POST /auth/par": (413, b'"invalid_request"'),
            b"POST /auth/token": (400, b'"invalid_request"'),
            b"GET /auth/token": (413, b'"invalid_request"'),
            b"POST /auth/register": (400, b'"invalid_client_metadata"'),
            b"PUT /auth/register/client_x": (400, b'"invalid_client_metadata"'),
        }.items():
            assert status(server.talk(HONEST_LENGTH.replace(b"POST /t", asked))) == 200
            raw = server.talk(attack.replace(b"POST /t", asked))
            assert (status(raw), said[1] in raw) == (said[0], True), asked
            assert b"\r\ncache-control: no-store\r\n" in raw
            nothing = server.talk(asked + b" HTTP/1.1\r\n\r\n")
            assert (status(nothing), b'"invalid_request"' in nothing) == (400, True), "of its head alone"


@pytest.mark.parametrize(
    ("attack", "refusal"),
    [
        (post(b"Content-Length: 9999999"), 413),
        (with_chunks(2**16, 17), 413),
        (post(b"Content-Encoding: gzip"), 415),
        (post(b"Expect: 200-ok"), 417),
    ],
)
def test_hp_03_a_refusal_of_a_head_request_has_no_content(
    server: LoopbackServer, attack: bytes, refusal: int
) -> None:
    assert status(server.talk(HONEST_LENGTH.replace(b"POST", b"HEAD"))) == 200
    raw = server.talk(attack.replace(b"POST", b"HEAD"))  # RFC 9110 §9.3.2
    assert status(raw) == refusal
    assert raw.endswith(b"\r\n\r\n"), "whoever reads on would take it for the next answer"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "identity, gzip", "x-gzip", ""])
def test_hp_08_an_encoded_body_is_refused_before_it_is_read(server: LoopbackServer, coding: str) -> None:
    bomb = gzip.compress(b"a" * 500_000)
    honest = post(b"Content-Encoding: identity", b"Content-Length: 3", b"Connection: close", body=b"abc")
    assert status(server.talk(honest)) == 200
    raw = server.talk(
        post(b"Content-Encoding: " + coding.encode(), b"Content-Length: %d" % len(bomb), body=bomb)
    )
    assert status(raw) == 415


REFUSED: dict[int, bytes] = {
    400: b"GET / HTTP/1.1\r\n\r\n",
    408: b"GET / HTTP/1.1\r\nHost: a\r\nX: ",
    413: post(b"Content-Length: 9999999"),
    414: b"GET /" + b"a" * 20_000,
    431: with_header(900_000),
}


@pytest.mark.parametrize("secure", [True, False], ids=["reached over TLS", "on loopback"])
def test_ht_01_refusals_before_any_request_is_there_bring_the_headers_of_every_answer(
    tmp_path: Path, secure: bool
) -> None:
    issuer = "https://auth.example.com" if secure else "http://localhost"
    app = App(Settings(issuer=issuer, database=str(tmp_path / "w.db"), jobs=False, behind_tls_proxy=secure))
    hsts = b"\r\nstrict-transport-security: max-age=63072000; includeSubDomains\r\n"
    with LoopbackServer(app, Brisk, limit_concurrency=3) as server:
        answers = {code: server.talk(raw) for code, raw in REFUSED.items()}
        honest = server.talk(b"GET /healthz HTTP/1.1\r\nHost: auth.example.com\r\nConnection: close\r\n\r\n")
        kept = [server.connect() for _ in range(3)]
        answers[503] = server.talk(HONEST_LENGTH)
        for connection in kept:
            connection.close()
    assert {code: status(raw) for code, raw in answers.items()} == {code: code for code in answers}
    for raw in (*answers.values(), honest):
        assert raw.count(b"\r\nx-content-type-options: nosniff\r\n") == 1
        assert raw.count(hsts) == (1 if secure else 0)
    for raw in answers.values():
        assert b"\r\ncache-control: no-store\r\n" in raw
    for code, raw in answers.items():
        said = json.loads(raw.partition(b"\r\n\r\n")[2])
        assert said["error"] == ("temporarily_unavailable" if code == 503 else "invalid_request")
