"""ASGI 3: what applications see of the HTTP protocol, and what is left of a request when one fails, on a real socket."""

import asyncio
import datetime
import ipaddress
import json
import logging
import ssl
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from tests.attacks.raw_requests import Brisk
from tests.fixtures import certificates
from tests.fixtures.loopback import LoopbackServer, read_answer, read_to_end
from tests.fixtures.protocol_application import Application, both, get, post, read_until, server

from watchword.http_server.protocol import LeanProtocol
from watchword.http_server.syntax import parse_head

__all__ = ["server"]


CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("head", "path", "raw_path"),
    [
        pytest.param("GET /a%2Fb%20%C3%A9?x=%20y HTTP/1.1", "/a/b é", "/a%2Fb%20%C3%A9", id="escapes"),
        pytest.param("GET http://a/p?x=%20y HTTP/1.1", "/p", "/p", id="absolute-form"),
        pytest.param("GET //a/../b?x=%20y HTTP/1.1", "//a/../b", "//a/../b", id="dots untouched"),
    ],
)
def test_the_target_is_split_and_decoded(server: LoopbackServer, head: str, path: str, raw_path: str) -> None:
    raw = server.talk(
        head.replace(raw_path, raw_path + "/scope").encode() + b"\r\nHost: a\r\n" + CLOSE + b"\r\n"
    )
    text = raw.partition(b"\r\n\r\n")[2].decode()
    assert f"'path': {path + '/scope'!r}" in text
    assert f"'raw_path': {(raw_path + '/scope').encode()!r}" in text
    assert "'query_string': b'x=%20y'" in text


@pytest.mark.parametrize(
    ("line", "path", "query"),
    [
        pytest.param("GET HTTP://a/ HTTP/1.1", "/", b"", id="a scheme in capitals"),
        pytest.param("GET http://a HTTP/1.1", "/", b"", id="no path"),
        pytest.param("GET https://a?x=/y HTTP/1.1", "/", b"x=/y", id="a query alone"),
        pytest.param("OPTIONS http://a HTTP/1.1", "*", b"", id="the server as a whole"),
        pytest.param("OPTIONS http://a?x HTTP/1.1", "/", b"x", id="a query alone, about its options"),
    ],
)
def test_a_target_may_be_an_authority_without_a_path(line: str, path: str, query: bytes) -> None:
    """RFC 9112 §3.2.2: a server takes every absolute-form; §3.2.1 and §3.2.4 say what stands for a path that is missing."""
    head = parse_head(f"{line}\r\nHost: a\r\n\r\n".encode())
    assert (head.path, head.raw_path, head.query_string) == (path, path.encode(), query)


def test_the_scope_is_standard(server: LoopbackServer) -> None:
    with server.connect() as connection:
        name = connection.getsockname()
        connection.sendall(get("/scope", "X-Odd: \t a b \t ", "x-odd: \xe9", "X-Empty:"))
        text = read_answer(connection)[2].decode()
    scope = eval(text)  # a repr of literals that the test's own application made
    assert scope["headers"] == [
        (b"host", b"a"),
        (b"x-odd", b"a b"),
        (b"x-odd", "\xe9".encode()),
        (b"x-empty", b""),
    ]
    assert scope["client"] == name
    assert scope["server"] == ("127.0.0.1", server.port)
    assert (scope["type"], scope["http_version"], scope["scheme"], scope["method"]) == (
        "http",
        "1.1",
        "http",
        "GET",
    )
    assert (scope["root_path"], scope["state"]) == ("", {})
    assert scope["asgi"]["version"] == "3.0"
    assert "extensions" not in scope


def wait_for_pause(server: LoopbackServer) -> int:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for connection in list(server.server.server_state.connections):
            if isinstance(connection, LeanProtocol) and connection.writable is not None:
                return connection.transport.get_write_buffer_size()
    raise AssertionError("the application was never held back")


@both
def test_a_slow_reader_holds_the_application_back(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection:
        connection.sendall(get(f"/{kind}/flood", "Connection: close"))
        unsent = wait_for_pause(server)
        assert 0 < unsent < 300_000
        assert len(read_to_end(connection)) > 20_000_000


@both
def test_the_application_learns_that_the_client_has_left(kind: str) -> None:
    application = Application()
    with LoopbackServer(application) as server:
        with server.connect() as connection:
            connection.sendall(get(f"/{kind}/disconnect"))
            assert b"begun" in read_until(connection.recv, b"begun")
        assert application.release.wait(5)
    assert "http.disconnect" in application.log


def test_a_hot_handler_runs_in_no_task_and_any_other_in_one(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(get("/hot/where") + get("/task/where"))
        assert [read_answer(connection)[2] for _ in range(2)] == [b"no task", b"a task"]


@both
def test_a_handler_may_wait_for_futures(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection:
        connection.sendall(get(f"/{kind}/future"))
        assert read_answer(connection)[2] == b"kept kept raised"


@both
def test_context_variables_do_not_leak_into_the_next_request(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection, server.connect() as other:
        connection.sendall(get(f"/{kind}/context") * 3)
        other.sendall(get(f"/{kind}/context") * 3)
        for _ in range(3):
            assert read_answer(connection)[2] == b"none, of another request"
            assert read_answer(other)[2] == b"none, of another request"


@both
@pytest.mark.parametrize("fault", ["fault", "silence", "split", "wrong_length"])
def test_a_fault_is_answered_with_a_plain_500_and_logged_without_the_request(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture, kind: str, fault: str
) -> None:
    with caplog.at_level(logging.ERROR, "watchword.http"):
        raw = server.talk(post(f"/{kind}/{fault}", b"s3cret"))
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert raw.endswith(b'\r\n\r\n{"error":"server_error","error_description":"Internal Server Error."}')
    assert b"set-cookie" not in raw
    assert len(caplog.records) == 1
    assert "s3cret" not in caplog.text
    assert "Error" in caplog.text or "without a complete answer" in caplog.text


@both
def test_a_fault_under_a_head_request_is_answered_without_content(server: LoopbackServer, kind: str) -> None:
    raw = server.talk(get(f"/{kind}/fault", method="HEAD"))
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert raw.endswith(b"\r\n\r\n"), "whoever reads on would take it for the next answer"


@both
def test_a_fault_in_the_middle_of_an_answer_breaks_the_connection(server: LoopbackServer, kind: str) -> None:
    try:
        raw = server.talk(get(f"/{kind}/late_fault"))
    except ConnectionResetError:
        return
    assert not raw.endswith(b"0\r\n\r\n")


@both
def test_graceful_shutdown_finishes_the_requests_in_hand_and_on_their_way(kind: str) -> None:
    application = Application()
    late = post("/hot/echo", b"late")
    with LoopbackServer(application) as server:
        with server.connect() as idle, server.connect() as begun, server.connect() as connection:
            begun.sendall(late[:9])
            connection.sendall(get(f"/{kind}/slow"))
            assert application.release.wait(5)
            server.server.should_exit = True
            assert idle.recv(1) == b""
            begun.sendall(late[9:])
            for waiting, expected in ((begun, b"late"), (connection, b"finished")):
                status, headers, body = read_answer(waiting)
                assert (status, headers["connection"], body) == (200, "close", expected)
                assert read_to_end(waiting) == b""
        server.stop()
        assert server.server.server_state.total_requests == 2
    assert application.log == ["startup", "lifespan.shutdown"]


@both
def test_graceful_shutdown_answers_what_was_sent_before_the_client_could_know(kind: str) -> None:
    """Under load there is always something that was not read yet: at each rolling restart it would be lost on every connection."""
    with LoopbackServer(Application()) as server, server.connect() as client, server.connect() as other:
        for connection in (client, other):
            connection.sendall(get(f"/{kind}/echo"))
            assert read_answer(connection)[0] == 200
        [first, second] = server.server.server_state.connections

        def stop_with_input_unread() -> None:
            """Runs in the server's loop, which reads nothing meanwhile."""
            client.sendall(post(f"/{kind}/echo", b"sent"))
            server.server.should_exit = True
            first.shutdown()
            second.shutdown()

        first.loop.call_soon_threadsafe(stop_with_input_unread)
        status, headers, body = read_answer(client)
        assert (status, headers["connection"], body) == (200, "close", b"sent")
        assert read_to_end(client) == read_to_end(other) == b""


def test_idle_clients_that_answer_no_end_of_tls_do_not_hold_up_the_stop(tmp_path: Path) -> None:
    own = certificates.make(tmp_path, "server", names=certificates.LOCALHOST, is_authority=True)
    trusts = certificates.trusting(own)
    with (
        LoopbackServer(
            Application(), Brisk, tls=certificates.serving(own), timeout_graceful_shutdown=600
        ) as server,
        server.connect() as plain,
        trusts.wrap_socket(plain, server_hostname="localhost") as idle,
    ):
        idle.sendall(get("/task/echo"))
        assert read_answer(idle)[0] == 200
        server.server.should_exit = True
        server.thread.join(20)
        assert not server.thread.is_alive(), "it waits neither for the client nor for its grace period"


@both
def test_a_request_that_outlives_the_grace_period_is_cancelled(kind: str) -> None:
    application = Application()
    with LoopbackServer(application, timeout_graceful_shutdown=0) as server:
        with server.connect() as connection:
            connection.sendall(get(f"/{kind}/stuck"))
            assert application.release.wait(5)
            server.stop()
        assert not server.server.server_state.connections
    assert "cancelled" in application.log


def test_starlette_works_with_streams_lifespan_state_and_background_tasks() -> None:
    done = threading.Event()

    async def ticks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            done.set()

    async def events(request: Request) -> Response:
        return StreamingResponse(ticks(), media_type="text/event-stream")

    async def form(request: Request) -> Response:
        text = json.dumps([request.state.greeting, (await request.body()).decode(), str(request.url)])
        return PlainTextResponse(text, background=BackgroundTask(done.clear))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"greeting": "hello"}

    routes = [Route("/events", events), Route("/form", form, methods=["POST"])]
    with LoopbackServer(Starlette(routes=routes, lifespan=lifespan)) as server:
        with server.connect() as connection:
            connection.sendall(get("/events"))
            assert read_until(connection.recv, b"\n\n\r\nc\r\n").count(b"tick") >= 1
        assert done.wait(5)
        with server.connect() as connection:
            connection.sendall(post("/form", b"x=y") * 2)
            for _ in range(2):
                assert json.loads(read_answer(connection)[2]) == ["hello", "x=y", "http://a/form"]


def self_signed(directory: Path) -> tuple[Path, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "pair.pem"
    path.write_bytes(pem)
    return path, certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("presents", [True, False], ids=["with a client certificate", "without one"])
def test_tls_requests_say_so_and_carry_the_client_certificate(tmp_path: Path, presents: bool) -> None:
    pair, der = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    context.load_verify_locations(pair)
    context.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context(cafile=str(pair))
    if presents:
        client.load_cert_chain(pair)
    with (
        LoopbackServer(Application(), tls=context) as server,
        client.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(get("/scope"))
        scope = eval(read_answer_tls(connection))  # a repr of literals that the test's own application made
        assert scope["scheme"] == "https"
        shown = {"client_certificate": der, "client_certificate_chain": (der,)}
        nothing = {"client_certificate": None, "client_certificate_chain": ()}
        assert scope["extensions"] == {"watchword.tls": shown if presents else nothing}
        connection.sendall(post("/hot/echo", b"a" * 300_000, "Connection: close"))
        assert read_to_end(connection).endswith(b"a" * 300_000)


def read_answer_tls(connection: ssl.SSLSocket) -> str:
    status, _, body = read_answer(connection)
    assert status == 200
    return body.decode()
