"""The peer of a connection: its address, its certificate, and whether it has left.

A client that gave up while its connection waited to be accepted (no worker was there to take it) has retried elsewhere. Serving its
first request now would reorder the two: a refresh token that is two generations old looks like a stolen one.
"""

import select
import socket
import ssl
import sys
from asyncio import BaseTransport
from functools import lru_cache
from typing import Any, Final

# In `struct tcp_info` of Linux, the state is the first byte, and `tcpi_last_data_recv` (milliseconds) is at this offset.
TCP_INFO: Final[int | None] = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
LAST_DATA: Final = slice(52, 56)
CLOSE_WAIT: Final = 8
# What `poll` of Linux reports of a socket once the end of the peer's side (FIN) has arrived, read or not.
PEER_ENDED: Final[int | None] = getattr(select, "POLLRDHUP", None)
INPUT: Final[int | None] = getattr(select, "POLLIN", None)
MAX_SESSIONS: Final = 20_480  # as many as OpenSSL keeps to be resumed, so that none of them lacks its issuers

# The issuers on which the verification of a certificate hung, by the session of its handshake.
_issuers: dict[bytes, tuple[bytes, ...]] = {}


def has_left(transport: BaseTransport, seconds: float) -> bool:
    """Whether a client that was just accepted has hung up, and sent its last byte `seconds` ago or earlier; False where that is unknown."""
    connection = transport.get_extra_info("socket")
    if TCP_INFO is None or connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    facts = connection.getsockopt(socket.IPPROTO_TCP, TCP_INFO, LAST_DATA.stop)
    if len(facts) < LAST_DATA.stop or facts[0] != CLOSE_WAIT:
        return False
    return int.from_bytes(facts[LAST_DATA], sys.byteorder) >= seconds * 1000


def has_ended(transport: BaseTransport) -> bool:
    """Whether the peer has ended its side or broken off the connection by now, though that was not read yet; False where that is unknown."""
    return PEER_ENDED is not None and _reports(transport, PEER_ENDED)


def has_input(transport: BaseTransport) -> bool:
    """Whether the peer has sent something, its end included, that was not read yet; False where that is unknown."""
    return INPUT is not None and _reports(transport, INPUT)


def _reports(transport: BaseTransport, event: int) -> bool:
    connection = transport.get_extra_info("socket")
    if connection is None:
        return False
    descriptor = connection.fileno()
    if descriptor < 0:
        return True  # closed on this side as well
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(0))  # a broken connection is reported whatever is asked for


def tls_facts(session: ssl.SSLObject | None) -> dict[str, Any] | None:
    """The facts of a TLS handshake for applications: the peer's certificate and its verified chain, as DER; None without TLS."""
    if session is None:
        return None
    chain = peer_chain(session)
    return {"client_certificate": chain[0] if chain else None, "client_certificate_chain": chain}


def peer_chain(session: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return the peer's verified certificate chain as DER, its own certificate first; empty when it sent none.

    TLS 1.2 resumes a session by its identifier, which no option of `ssl` forbids: the peer then sends no chain, so the issuers in that
    of the handshake that began the session are remembered (RFC 5246 §7.3). The certificate itself is always that of the session.
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
        return (certificate, *_issuers.get(_identifier(session), ()))
    if len(chain) > 2 and session.version() == "TLSv1.2":
        remember(_identifier(session), tuple(chain[1:]))
    return tuple(chain)


def _identifier(session: ssl.SSLObject) -> bytes:
    return session.session.id if session.session is not None else b""


def remember(identifier: bytes, issuers: tuple[bytes, ...]) -> None:
    """Remember the issuers in the chain of a session that is begun; the oldest are forgotten for the newest."""
    if len(_issuers) >= MAX_SESSIONS:
        del _issuers[next(iter(_issuers))]
    _issuers[identifier] = _shared(issuers)


@lru_cache(maxsize=256)
def _shared(issuers: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return issuers  # the first of those that are equal, so that all sessions share it


def address(name: object) -> tuple[str, int | None] | None:
    """Host and port of a socket, or the path of a Unix socket that has one."""
    if isinstance(name, tuple):
        return (name[0], name[1])
    return (name, None) if isinstance(name, str) and name else None
