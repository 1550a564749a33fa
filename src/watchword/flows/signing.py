"""Batching signatures: all tokens of one turn of the event loop are signed one right after the other.

Theory of operation. To sign, OpenSSL reads the whole table of multiples of a curve's base point, 150 KB for P-256, and everything else
that a request does evicts the table from the processor's cache: a signature amid other work costs two to three times as much as one
right after another. So a request queues what it wants signed and waits; once all requests of the turn have got that far, everything is
signed in a row. A lone request waits for one turn of an idle loop, some microseconds.
"""

import asyncio
from collections.abc import Mapping

from watchword.jose import jwt
from watchword.jose.jwk import Key

_Wanted = tuple[Key, Mapping[str, object], str, asyncio.Future[str]]


class Signatures:
    """The queues of tokens to sign in the present turn, one for each event loop."""

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
                continue  # the request was cancelled
            try:
                token.set_result(jwt.encode(key, claims, typ))
            except Exception as error:  # it concerns this token alone: raised in the request that wants it
                token.set_exception(error)
