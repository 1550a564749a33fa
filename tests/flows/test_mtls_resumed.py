"""RFC 8705 §2.1 over a TLS session that is resumed: the client shows no certificate again, and is known by the one it began with."""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import pytest
from tests.fixtures.certificates import LOCALHOST, Pair, make, trusting
from tests.fixtures.servers import serve
from tests.flows.test_mtls import NAMES, SUBJECTS, Secured

from watchword.flows.clients.client_registry import Registered


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """`watchword serve` that asks for certificates, with a client whose authority is below the one that is trusted."""
    folder = tmp_path_factory.mktemp("resumed")
    authority = make(folder, "authority", is_authority=True)
    issuing = make(folder, "issuing", issuer=authority, is_authority=True)
    own = make(folder, "localhost", issuer=authority, names=LOCALHOST)
    client = make(folder, "client", issuer=issuing, names=NAMES)
    client.path.write_text(client.path.read_text() + issuing.pem)  # as clients send what theirs hangs on
    anchors = folder / "anchors.pem"
    anchors.write_text(authority.pem)
    options = ["--tls-cert", str(own.path), "--tls-key", str(own.path), "--tls-client-ca", str(anchors)]
    with serve(folder, *options, tls=trusting(authority)) as process:
        yield Secured(process, authority, client, folder)


def ask(
    secured: Secured, registered: Registered, context: ssl.SSLContext, begun: ssl.SSLSession | None = None
) -> tuple[bytes, bool, ssl.SSLSession | None]:
    """Ask for a token on a connection of its own; return the status line, whether a session was resumed, and the session."""
    place = urlsplit(secured.process.issuer)
    form = {"grant_type": "client_credentials", "client_id": registered.client.client_id}
    body = urlencode(form).encode()
    head = (
        f"POST /token HTTP/1.1\r\nhost: {place.netloc}\r\nconnection: close\r\n"
        f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with (
        socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=begun) as connection,
    ):
        connection.sendall(head.encode() + body)
        answer = connection.makefile("rb").read()
        return answer.partition(b"\r\n")[0], bool(connection.session_reused), connection.session


def context_of(secured: Secured, shows: Pair, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a client's context of one version of TLS."""
    context = trusting(secured.authority, shows)
    context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_whose_authority_is_below_the_trusted_one_resumes_its_session(
    secured: Secured, version: ssl.TLSVersion
) -> None:
    method = "tls_client_auth"
    registered = secured.register(token_endpoint_auth_method=method, tls_client_auth_subject=SUBJECTS[0])
    context = context_of(secured, secured.client, version)
    first, resumed, session = ask(secured, registered, context)
    assert (first, resumed) == (b"HTTP/1.1 200 OK", False)
    for _ in range(2):
        again, resumed, _later = ask(secured, registered, context, session)
        assert (again, resumed) == (b"HTTP/1.1 200 OK", version is ssl.TLSVersion.TLSv1_2)


def test_mt_01_a_session_proves_no_other_client_than_the_one_that_began_it(secured: Secured) -> None:
    method = "tls_client_auth"
    mine = secured.register(token_endpoint_auth_method=method, tls_client_auth_subject=SUBJECTS[0])
    other = secured.register(
        token_endpoint_auth_method=method, tls_client_auth_subject=["subject_dn", "CN=other"]
    )
    context = context_of(secured, secured.client, ssl.TLSVersion.TLSv1_2)
    first, _, session = ask(secured, mine, context)
    assert first == b"HTTP/1.1 200 OK"
    assert ask(secured, other, context, session)[:2] == (b"HTTP/1.1 401 Unauthorized", True)
