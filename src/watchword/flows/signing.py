"""Signing what the requests of one turn of the event loop issue, one token right after the other.

Theory of operation. To sign, OpenSSL reads the whole table of multiples of a curve's base point, 150 KB for P-256, and everything else that
a request does pushes the table out of the processor's cache: a signature among other work costs two to three times what it costs
behind another one. So a request puts down what it wants signed and waits; when all requests of the turn have come that far, everything
is signed in a row and each gets its own. A request that comes alone waits for one turn of an idle loop, some microseconds.
"""

import asyncio
from collections.abc import Mapping

from watchword.jose import jwt
from watchword.jose.jwk import Key

_Wanted = tuple[Key, Mapping[str, object], str, asyncio.Future[str]]


class Signatures:
    """What waits to be signed in this turn of each event loop."""

    __slots__ = ("_wanted",)

    def __init__(self) -> None:
        self._wanted: dict[asyncio.AbstractEventLoop, list[_Wanted]] = {}

    async def sign(self, key: Key, claims: Mapping[str, object], typ: str) -> str:
        """Return claims as a signed JWT, made with the others of this turn; raise JoseError without a private key."""
        loop = asyncio.get_running_loop()
        token: asyncio.Future[str] = loop.create_future()
        wanted = self._wanted.get(loop)
        if wanted is None:
            wanted = self._wanted[loop] = []
            loop.call_soon(self._sign_all, loop)
        wanted.append((key, claims, typ, token))
        return await token

    def _sign_all(self, loop: asyncio.AbstractEventLoop) -> None:
        for key, claims, typ, token in self._wanted.pop(loop):
            if token.done():
                continue  # whoever wanted it has gone
            try:
                token.set_result(jwt.encode(key, claims, typ))
            except Exception as error:  # the fault of this one token, and told to whoever wanted it
                token.set_exception(error)
