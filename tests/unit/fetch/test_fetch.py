"""What somebody else names is fetched from the public internet or not at all (SS-01, SS-03, CL-08, DC-03, MC-50)."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.rows import in_turn

from watchword.fetch import FetchError, check_address, fetch, parse_target, post_form
from watchword.fetch.addresses import PORTS
from watchword.flows.outbound import Outbound
from watchword.http_server.exchange import Application

BIG = b"x" * 1000


def answers(seen: list[dict[str, Any]]) -> Application:
    """Return an application that answers by its path and records what it saw."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        seen.append(
            {
                "path": scope["path"],
                "headers": dict(scope["headers"]),
                "body": body,
                "method": scope["method"],
            }
        )
        status, headers, content = PATHS.get(scope["path"], (404, [], b"{}"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if scope["path"] == "/endless":
            for _ in range(1000):
                await send({"type": "http.response.body", "body": BIG, "more_body": True})
        await send({"type": "http.response.body", "body": content})

    return application


JSON = [(b"content-type", b"application/json"), (b"cache-control", b"public, max-age=60")]
PATHS: dict[str, tuple[int, list[tuple[bytes, bytes]], bytes]] = {
    "/good": (200, JSON, b'{"ok":true}'),
    "/problem": (200, [(b"content-type", b"application/scim+json; charset=utf-8")], b"{}"),
    "/forever": (200, [*JSON[:1], (b"cache-control", b"max-age=999999999")], b"{}"),
    "/unkept": (200, [*JSON[:1], (b"cache-control", b"no-store, max-age=60")], b"{}"),
    "/html": (200, [(b"content-type", b"text/html")], b"<html>"),
    "/redirect": (302, [(b"location", b"http://169.254.169.254/")], b""),
    "/gzip": (200, [*JSON, (b"content-encoding", b"gzip")], b"\x1f\x8b"),
    "/endless": (200, JSON, b""),
    "/": (204, [], b""),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a self-signed certificate for keys.example, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("keys.example")]), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


@pytest.fixture
def seen() -> list[dict[str, Any]]:
    """Requests that reached the server."""
    return []


@pytest.fixture
def base(seen: list[dict[str, Any]]) -> Iterator[str]:
    """Serve over plain HTTP and return the address."""
    with LoopbackServer(answers(seen)) as server:
        yield f"http://127.0.0.1:{server.port}"


async def test_an_honest_document_is_fetched(base: str, seen: list[dict[str, Any]]) -> None:
    found = await fetch(f"{base}/good?a=b", allow_loopback=True)
    assert (found.status, found.content_type, found.max_age) == (200, "application/json", 60)
    assert json.loads(found.body) == {"ok": True}
    assert seen[0]["headers"][b"host"] == base.removeprefix("http://").encode()
    assert b"authorization" not in seen[0]["headers"]
    assert (await fetch(f"{base}/problem", allow_loopback=True)).content_type == "application/scim+json"


async def test_what_is_kept_is_bounded(base: str) -> None:
    assert (await fetch(f"{base}/forever", allow_loopback=True)).max_age == 86_400
    assert (await fetch(f"{base}/unkept", allow_loopback=True)).max_age == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("/html", "unexpected content type", id="CL-08 HTML"),
        pytest.param("/redirect", "answered 302", id="SS-01 a redirect to a private address"),
        pytest.param("/gzip", "compressed answer", id="a compressed answer"),
        pytest.param("/endless", "answer too large", id="CL-08 MC-50 an answer without end"),
        pytest.param("/missing", "answered 404", id="an error"),
    ],
)
async def test_a_bad_answer_is_refused(base: str, path: str, reason: str) -> None:
    await fetch(f"{base}/good", allow_loopback=True, max_bytes=100_000)
    with pytest.raises(FetchError, match=reason):
        await fetch(f"{base}{path}", allow_loopback=True, max_bytes=100_000)


async def test_ss_03_a_form_is_sent_and_nothing_followed(base: str, seen: list[dict[str, Any]]) -> None:
    assert (await post_form(f"{base}/", {"logout_token": "a b"}, allow_loopback=True)).status == 204
    assert (seen[0]["method"], seen[0]["body"]) == ("POST", b"logout_token=a+b")
    assert (await post_form(f"{base}/redirect", {}, allow_loopback=True)).status == 302
    assert len(seen) == 2


async def test_cl_08_a_server_that_never_answers_is_left() -> None:
    import asyncio

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(FetchError, match="timed out"):
        await fetch(f"http://127.0.0.1:{port}/", allow_loopback=True, timeout=0.2)
    server.close()


async def test_nobody_listening_is_no_answer() -> None:
    with pytest.raises(FetchError, match="no connection"):
        await fetch("http://127.0.0.1:1/", allow_loopback=True)


async def test_dc_03_loopback_is_reached_only_by_the_switch(base: str, seen: list[dict[str, Any]]) -> None:
    await fetch(f"{base}/good", allow_loopback=True)
    for url in (f"{base}/good", base.replace("127.0.0.1", "localhost") + "/good"):
        with pytest.raises(FetchError, match="address not allowed"):
            await fetch(url)
    assert len(seen) == 1


ADDRESSES = [
    "127.0.0.1", "127.1.2.3", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254",
    "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fec0::1", "ff02::1", "224.0.0.1", "255.255.255.255", "100.64.0.1",
    "100.100.100.200", "168.63.129.16", "192.0.2.1", "198.18.0.1", "192.0.0.8", "240.0.0.1", "2001:db8::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2002:808:808::1", "2001:0:7f00:1::", "junk", "",
]  # fmt: skip


@in_turn("address", ADDRESSES)
def test_ss_01_an_address_is_refused(address: str) -> None:
    assert check_address("8.8.8.8", allow_loopback=False) == ipaddress.ip_address("8.8.8.8")
    with pytest.raises(FetchError, match="address not allowed"):
        check_address(address, allow_loopback=False)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_itself(address: str) -> None:
    assert check_address(address, allow_loopback=False) == ipaddress.ip_address(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "64:ff9b::7f00:1", "::ffff:10.0.0.1"])
def test_the_switch_opens_loopback_and_nothing_else(address: str) -> None:
    assert check_address("127.0.0.1", allow_loopback=True).is_loopback
    assert check_address("::ffff:127.0.0.1", allow_loopback=True).is_loopback
    with pytest.raises(FetchError):
        check_address(address, allow_loopback=True)


@in_turn(
    "url",
    [
        "", "https://", "https:///x", "//a.example", "ftp://a.example/", "file:///etc/passwd", "gopher://a.example/",
        "javascript:alert(1)", "https://user@a.example/", "https://a.example@127.0.0.1/", "https://a.example\\@b.example/",
        "https://a.example#x", "https://a.example/#x", "https://a.example/ x", "https://a.exa\tmple/", "https://a.example/\n",
        "https://a.example/\r\nX: y", "https://a.example:99999/", "https://a.example:/", "https://a.example:0443/",
        "http://[", "https://[::1", "https://[::1]x/", "https://[1.2.3.4]x", "https://[zz]/", "https://a.example./",
        "https://.a.example/", "https://-a.example/", "https://127.1/", "https://2130706433/", "https://0x7f000001/",
        "https://0x7f.1/", "https://017700000001/", "https://127.0.0.01/", "https://1.2.3.4.5/", "https://a.0x1/",
        "https://é.example/", "https://a.example/é", "https://\ud800.example/", "HTTPS://a.example/",
        "https://a.example/" + "x" * 2000, "https://%31%32%37.0.0.1/", "https://a_b.example/",
    ],
    ids=ascii,
)  # fmt: skip
async def test_ss_01_no_such_address_is_fetched(url: str) -> None:
    assert parse_target("https://a.example:8443/x?y").rest == "/x?y"
    with pytest.raises(FetchError, match="not an address"):
        parse_target(url)
    with pytest.raises(FetchError, match="not an address"):
        await fetch(url, allow_loopback=True)


async def names(host: str, port: int) -> Sequence[str]:
    """Resolve some names to addresses that nobody connects to in these tests."""
    known = {
        "mixed.example": ["8.8.8.8", "10.0.0.1"],
        "private.example": ["192.168.1.1"],
        "nothing.example": [],
        "many.example": [f"8.8.8.{n}" for n in range(17)],
        "public.example": ["8.8.8.8"],
        "half.example": ["8.8.8.8", "127.0.0.1"],
    }
    if host not in known:
        raise OSError("no such name")
    return known[host]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("https://mixed.example/", "address not allowed", id="a name with one private address"),
        pytest.param("https://private.example/", "address not allowed", id="a private name"),
        pytest.param("https://nothing.example/", "host not found", id="a name without address"),
        pytest.param("https://many.example/", "host not found", id="a name with very many addresses"),
        pytest.param("https://unknown.example/", "host not found", id="an unknown name"),
        pytest.param("http://public.example/", "not https", id="plain HTTP"),
        pytest.param("https://public.example:22/", "port not allowed", id="port 22"),
        pytest.param("https://public.example:6379/", "port not allowed", id="port 6379"),
        pytest.param("https://public.example:80/", "port not allowed", id="port 80"),
        pytest.param("http://half.example/", "not https", id="plain HTTP to a name that is loopback as well"),
    ],
)
async def test_ss_01_a_name_is_refused(url: str, reason: str) -> None:
    with pytest.raises(FetchError, match=reason):
        await fetch(url, resolver=names, allow_loopback=url.startswith("http://half"))


async def test_ss_01_a_name_is_resolved_once_and_kept_for_tls(
    certificate: Path, seen: list[dict[str, Any]]
) -> None:
    asked: list[str] = []

    async def flips(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with LoopbackServer(answers(seen), tls=served) as server:
        url = f"https://keys.example:{server.port}/good"
        assert (await fetch(url, allow_loopback=True, resolver=flips, tls=trusting)).status == 200
        assert asked == ["keys.example"]
        assert seen[0]["headers"][b"host"] == f"keys.example:{server.port}".encode()
        with pytest.raises(FetchError, match="address not allowed"):
            await fetch(url, allow_loopback=True, resolver=flips, tls=trusting)


async def test_the_certificate_must_be_for_the_name_and_trusted(
    certificate: Path, seen: list[dict[str, Any]]
) -> None:
    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with LoopbackServer(answers(seen), tls=served) as server:
        for host, tls in (("keys.example", None), ("other.example", trusting), ("127.0.0.1", trusting)):
            with pytest.raises(FetchError, match=r"no connection \(its certificate is not trusted\)"):
                await fetch(f"https://{host}:{server.port}/good", allow_loopback=True, resolver=here, tls=tls)
    assert not seen


async def test_a_private_network_is_reached_only_by_who_named_it(
    certificate: Path, seen: list[dict[str, Any]]
) -> None:
    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async def half(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "10.0.0.1"]

    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    named = ("10.9.0.0/16", "127.0.0.0/8")
    with LoopbackServer(answers(seen), tls=served) as server:
        url = f"https://keys.example:{server.port}/good"
        assert (await fetch(url, networks=named, resolver=here, tls=trusting)).status == 200
        assert (await post_form(url, {}, networks=named, resolver=here, tls=trusting)).status == 200
        for networks, resolver in (((), here), (named[:1], here), (named, half)):
            with pytest.raises(FetchError, match="address not allowed"):
                await fetch(url, networks=networks, resolver=resolver, tls=trusting)
        with pytest.raises(FetchError, match="not https"):
            await fetch(url.replace("https", "http"), networks=named, resolver=here)
    assert len(seen) == 2
    for disguised in ("::ffff:10.0.0.1", "64:ff9b::7f00:1"):
        with pytest.raises(FetchError):
            check_address(disguised, allow_loopback=False, networks=named)


async def test_what_is_fetched_for_one_reach_is_nothing_to_another(
    certificate: Path, seen: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that names the address of a provider inside neither gets its document nor spoils it for the provider."""

    async def here(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    monkeypatch.setattr(
        "watchword.fetch.request._trust", lambda: ssl.create_default_context(cafile=str(certificate))
    )
    outbound = Outbound(here)
    with LoopbackServer(answers(seen), tls=served) as server:
        asked: Any = {"url": f"https://keys.example:{server.port}/good", "max_bytes": 1000, "now": 1.0}
        for _ in range(2):
            inside = await outbound.get(**asked, allow_loopback=False, networks=("127.0.0.0/8",))
            assert inside.status == 200
            with pytest.raises(FetchError, match="address not allowed"):
                await outbound.get(**asked, allow_loopback=False)


async def test_another_address_is_tried_when_one_does_not_answer(base: str) -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    port = base.rpartition(":")[2]
    assert (await fetch(f"http://keys.example:{port}/good", allow_loopback=True, resolver=two)).status == 200


async def test_the_proxy_of_the_environment_is_not_asked(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await fetch(f"{base}/good", allow_loopback=True)).status == 200


def test_the_ports_are_few() -> None:
    assert {443, 8443} == PORTS


EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
PIECES = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"ok":true}') + b"0\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("honest", "flood"),
    [
        pytest.param(EARLY * 3 + CHUNKED + PIECES, EARLY, id="interim answers"),
        pytest.param(CHUNKED + PIECES, PIECES[:6], id="chunks of one byte"),
    ],
)
async def test_mc_50_what_costs_more_to_read_than_to_send_ends_soon(honest: bytes, flood: bytes) -> None:
    """What is computed for each piece keeps everybody else waiting."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        writer.write(honest if path == b"/honest" else honest.partition(flood)[0])
        while path != b"/honest" and not writer.is_closing():
            writer.write(flood * 100)
            await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert (await fetch(f"{base}/honest", allow_loopback=True)).body == b'{"ok":true}'
        with pytest.raises(FetchError, match="too large"):
            await fetch(f"{base}/flood", allow_loopback=True, max_bytes=2000)
