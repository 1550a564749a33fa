"""The guard for FastMCP: an auth provider that verifies tokens and publishes where they come from.

FastMCP itself serves the metadata (RFC 9728) and writes the challenges. The audience is the address that clients connect to,
which FastMCP makes of `base_url` and its own path.
"""

from collections.abc import Sequence

from watchword.extras import needing
from watchword.guard.mcp import resource_guard
from watchword.guard.misuse import check_address, check_issuer, check_scopes
from watchword.guard.policy import Refused
from watchword.guard.resource import check_resource
from watchword.guard.trusted import Local

with needing("'fastmcp>=4'", "fastmcp"):
    from fastmcp.server.auth import AccessToken, RemoteAuthProvider, TokenVerificationError, TokenVerifier
    from pydantic import AnyHttpUrl, ConfigDict, TypeAdapter

    from watchword.guard.mcp_sdk import GuardVerifier

__all__ = ["WatchwordAuth"]


class _Verifier(TokenVerifier):
    """FastMCP's `TokenVerifier`, answered by a guard that is made when the server's address is known."""

    def __init__(self, issuer: str | Local, scopes: Sequence[str]) -> None:
        check_scopes("scopes", scopes)
        super().__init__(required_scopes=list(scopes))
        self._issuer = issuer
        self._verifier: GuardVerifier | None = None

    def serve(self, resource: str) -> None:
        """Accept tokens for a resource from now on; raise ValueError when it serves another one already."""
        if self._verifier is not None and self._verifier.guard.audience != resource:
            # The first of two servers that share this object would accept the tokens of the second.
            raise ValueError(
                f"this WatchwordAuth is for {self._verifier.guard.audience!r}: make another one for {resource!r}"
            )
        self._verifier = GuardVerifier(resource_guard(self._issuer, resource))

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return a bearer token's claims, None when it is not valid; raise TokenVerificationError when it is used too often or cannot be verified now."""
        if self._verifier is None:
            raise TokenVerificationError("the server does not know its own address yet")
        try:
            found = await self._verifier.verify_token(token)
        except Refused as refused:
            raise TokenVerificationError(refused.description) from None
        return AccessToken(**found.model_dump()) if found else None


class WatchwordAuth(RemoteAuthProvider):
    """Makes a FastMCP server accept an issuer's tokens: `FastMCP(name, auth=WatchwordAuth(issuer, base_url=…))`.

    `base_url` is where clients reach the server, without the path; `scopes` are those that every call needs.
    """

    def __init__(
        self, issuer: str | Local, *, base_url: str, scopes: Sequence[str] = (), name: str | None = None
    ) -> None:
        verifier = _Verifier(issuer, scopes)
        address = issuer if isinstance(issuer, str) else issuer.issuer
        check_issuer(address)
        check_address("base_url", base_url)
        super().__init__(
            token_verifier=verifier,
            authorization_servers=[_exact(address)],
            base_url=_exact(check_resource(base_url)),
            resource_name=name,
        )
        self._verifier = verifier

    def set_mcp_path(self, mcp_path: str | None) -> None:
        """Learn the path of the MCP endpoint: the audience of tokens is the whole address."""
        super().set_mcp_path(mcp_path)
        if self._resource_url is not None:
            self._verifier.serve(str(self._resource_url))

    def _get_resource_url(self, path: str | None = None) -> AnyHttpUrl | None:
        # For the path "/" FastMCP's address ends with a slash: the metadata would name a resource that is no token's audience.
        address = super()._get_resource_url(path)
        return None if address is None else _exact(str(address).rstrip("/"))


_ADDRESS = TypeAdapter(AnyHttpUrl, config=ConfigDict(url_preserve_empty_path=True))


def _exact(address: str) -> AnyHttpUrl:
    # Kept letter by letter: with a slash that a parser adds it would be another issuer (RFC 8414 §3.3).
    return _ADDRESS.validate_python(address)
