"""The certificate of a connection's peer, and those on which its verification hung, as long as OpenSSL resumes the session."""

import contextlib
import ssl
from pathlib import Path

from tests.fixtures import certificates

from watchword.http_server.peer import peer_chain, remember

CACHED = 20_480  # sessions that OpenSSL keeps in a context (SSL_SESSION_CACHE_MAX_SIZE_DEFAULT)


def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, begun: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return both ends of a connection."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(back, there, server_hostname="localhost", session=begun),
        server.wrap_bio(there, back, server_side=True),
    )
    for _ in range(3):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends


def test_issuers_are_known_as_long_as_a_session_is_resumed(tmp_path: Path) -> None:
    authority = certificates.make(tmp_path, "authority", is_authority=True)
    issuing = certificates.make(tmp_path, "issuing", issuer=authority, is_authority=True)
    own = certificates.make(tmp_path, "localhost", issuer=authority, names=certificates.LOCALHOST)
    shown = certificates.make(tmp_path, "client", issuer=issuing)
    shown.path.write_text(shown.path.read_text() + issuing.pem)
    server = certificates.serving(own)
    server.verify_mode = ssl.CERT_OPTIONAL
    server.load_verify_locations(cadata=authority.pem)
    server.options |= ssl.OP_NO_TICKET
    client = certificates.trusting(authority, shown)
    client.maximum_version = ssl.TLSVersion.TLSv1_2

    began, first = shake_hands(client, server)
    chain = (shown.der, issuing.der, authority.der)
    assert peer_chain(first) == chain
    for number in range(CACHED - 1):
        remember(number.to_bytes(32), chain[1:])
    resumed, later = shake_hands(client, server, began.session)
    assert (resumed.session_reused, peer_chain(later)) == (True, chain)
    remember(b"one more", chain[1:])
    assert peer_chain(later) == chain[:1], "what is remembered has a bound"
