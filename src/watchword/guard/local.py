"""Verifying the tokens of an authorization server in this process: it is asked about each, and knows of a revocation at once."""

from collections.abc import Mapping

from watchword.guard import once
from watchword.guard.presented import Presented
from watchword.guard.transport import without_port
from watchword.guard.trusted import IssuerUnavailable, Local
from watchword.guard.verified import Known, Rules, check_meant_for, not_active, principal_of


class LocalVerifier:
    """Verifies the tokens of an authorization server in this process, by asking it: revocation takes effect at once."""

    def __init__(self, server: Local, rules: Rules) -> None:
        self.issuer = server.issuer
        self.audience = rules.audience
        self._server = server
        self._clock = rules.clock

    def holds(self, known: Known, token: str, address: str | None) -> bool:
        """Whether the server would answer the very same about a token as before."""
        return self._server.recall(token, without_port(address) or "") is known.answer

    async def verify(self, token: str, presented: Presented) -> Known:
        """Return a verified token; raise Invalid, or IssuerUnavailable when it cannot be verified now."""
        server = (id(self._server), self.audience)
        claims = once.noted_answer(presented.kept, server, token) or await self._ask(token, presented)
        once.note_answer(presented.kept, server, token, claims)
        if claims.get("active") is not True:
            raise not_active(claims)
        principal = principal_of(claims, self.issuer)
        check_meant_for(principal, self.audience)
        return Known(principal, 0.0, 0.0, answer=claims, limited=bool(claims.get("limited")))

    async def _ask(self, token: str, presented: Presented) -> Mapping[str, object]:
        try:
            return await self._server.introspect(
                token,
                address=without_port(presented.address),
                path=presented.told_path,
                audience=self.audience,
            )
        except ConnectionError as error:
            raise IssuerUnavailable(str(error)) from None

    def verify_now(self, _token: str) -> Known | None:
        """Return None: the server has to be asked."""
        return None

    async def report_exposed(self, token: str) -> None:
        """Report that a token was sent over unencrypted HTTP; raise IssuerUnavailable when the storage is unavailable."""
        try:
            await self._server.report_exposed(token)
        except ConnectionError as error:
            raise IssuerUnavailable(str(error)) from None

    async def session(self, cookies: str) -> Known | None:
        """Return the session in the server's own cookies, None when there is none; raise IssuerUnavailable when the storage is unavailable."""
        try:
            claims = await self._server.session(cookies)
        except ConnectionError as error:
            raise IssuerUnavailable(str(error)) from None
        return Known(principal_of(claims, self.issuer), 0.0, 0.0) if claims.get("active") is True else None

    async def close(self) -> None:
        """Nothing was opened."""
