"""The event loop of `watchword serve`: uvloop's, which connects to a name only when it has its addresses, and whose clients begin in time.

uvloop (0.23) lets a DNS look-up go on when the connection that needs it is cancelled (a time limit, another host that answered, the end
of the process). If the name then turns out not to exist, nobody retrieves the error, and asyncio logs it with a traceback. The libraries
for mail and PostgreSQL pass host names to the loop.

A client of TLS may take as long for its handshake as for the head of a request, instead of uvloop's minute. The alert of a handshake that
fails (RFC 8446 §6.2) is not sent: uvloop closes the connection with it unwritten, as asyncio does, and offers no way to write it.
"""

import socket
from collections.abc import Callable
from typing import Any, ClassVar

import uvloop

from watchword.http_server.protocol import LeanProtocol

Connected = tuple[Any, Any]  # transport and protocol, as the loop gives them


class EventLoop(uvloop.Loop):
    """uvloop's loop, whose look-ups are cancelled with the connection that needs them, and whose clients have so many seconds for a TLS handshake."""

    handshake_timeout: ClassVar[float] = LeanProtocol.timeouts["head"]

    async def create_server(
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: int | None = None,
        **options: Any,
    ) -> Any:
        """Listen, on addresses or on a socket that is given."""
        if options.get("ssl"):
            options.setdefault("ssl_handshake_timeout", self.handshake_timeout)
        return await super().create_server(protocol_factory, host, port, **options)

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> Connected:
        """Connect to a socket that is given, or to the first address of a host that can be connected to."""
        if host is None and port is None:
            return await super().create_connection(protocol_factory, **options)
        wanted = {name: options.pop(name) for name in ("family", "proto", "flags") if name in options}
        found = await self.getaddrinfo(host, port, type=socket.SOCK_STREAM, **wanted)
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host  # the certificate is for the name
        protocol, failures = protocol_factory(), []
        for family, _, proto, _, address in found:
            try:
                return await super().create_connection(
                    lambda: protocol, _numeric(address), address[1], family=family, proto=proto, **options
                )
            except OSError as error:
                failures.append(error)
        if not failures:
            raise OSError("the name has no address")
        if len({str(error) for error in failures}) == 1:
            raise failures[0]
        raise OSError(f"Multiple exceptions: {', '.join(map(str, failures))}")  # as asyncio says it


def _numeric(address: Any) -> str:
    """Return the host of an address, with the zone where it has one (RFC 4007 §11)."""
    zone = address[3] if len(address) > 3 else 0
    return f"{address[0]}%{zone}" if zone else str(address[0])
