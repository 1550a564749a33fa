"""The peer of a connection: its address, its certificate, and whether it has left.

A client that gave up while its connection waited to be accepted (no worker was there to take it) has retried elsewhere. Serving its
first request now would reorder the two: a refresh token that is two generations old looks like a stolen one.
"""

import socket
import ssl
import sys
from asyncio import BaseTransport
from typing import Any, Final

# In `struct tcp_info` of Linux, the state is the first byte, and `tcpi_last_data_recv` (milliseconds) is at this offset.
TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
LAST_DATA: Final = slice(52, 56)
CLOSE_WAIT: Final = 8
MAX_CHAINS: Final = 4096

# On what the verification of a certificate hung, by the session of its handshake.
_chains: dict[bytes, tuple[bytes, ...]] = {}


def has_left(transport: BaseTransport, seconds: float) -> bool:
    """Whether a client that was just accepted has hung up, and sent its last byte `seconds` ago or earlier; False where that is unknown."""
    connection = transport.get_extra_info("socket")
    if TCP_INFO is None or connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    facts = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, LAST_DATA.stop)
    if len(facts) < LAST_DATA.stop or facts[0] != CLOSE_WAIT:
        return False
    return int.from_bytes(facts[LAST_DATA], sys.byteorder) >= seconds * 1000


def tls_facts(session: ssl.SSLObject) -> dict[str, Any]:
    """The facts of a TLS handshake for applications: the peer's certificate and its verified chain, as DER."""
    chain = peer_chain(session)
    return {"client_certificate": chain[0] if chain else None, "client_certificate_chain": chain}


def peer_chain(session: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the peer's verified certificate chain as DER, its own certificate first; empty when it sent none.

    TLS 1.2 resumes a session by its identifier, which no option of `ssl` forbids: the peer then sends no chain, so the chain of the
    handshake that began the session is remembered (RFC 5246 §7.3).
    """
    certificate = session.getpeercert(binary_form=True)
    if certificate is None:
        return ()
    if sys.version_info >= (3, 13):
        chain = list(session.get_verified_chain())
    else:  # the same, before it got a public name
        found = session._sslobj.get_verified_chain() or ()  # type: ignore[attr-defined] # not in the stubs
        chain = [ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in found]
    if not chain:
        return _chains.get(_identifier(session), (certificate,))
    if len(chain) > 2 and session.version() == "TLSv1.2":
        _remember(_identifier(session), tuple(chain))
    return tuple(chain)


def _identifier(session: ssl.SSLObject) -> bytes:
    return session.session.id if session.session is not None else b""


def _remember(identifier: bytes, chain: tuple[bytes, ...]) -> None:
    if len(_chains) >= MAX_CHAINS:
        del _chains[next(iter(_chains))]
    _chains[identifier] = chain


def address(name: object) -> tuple[str, int | None] | None:
    """Host and port of a socket, or the path of a Unix socket that has one."""
    if isinstance(name, tuple):
        return (name[0], name[1])
    return (name, None) if isinstance(name, str) and name else None
