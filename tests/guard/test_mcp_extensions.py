"""MCP's two extensions to authorization, by the SDK's own clients: an account of the client's own, and an enterprise's provider."""

import os
from collections.abc import Iterator

import httpx2
import pytest
from mcp.client.auth.extensions.client_credentials import (
    PrivateKeyJWTOAuthProvider,
    static_assertion_provider,
)
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.mcp_memory import Memory
from tests.fixtures.servers import free_port
from tests.fixtures.trusted_issuers import JWKS, KEY, PROVIDER
from tests.guard.mcp_calls import connected
from tests.guard.mcp_servers import by_wrapping

from watchword.flows.clients.client_registry import Registered
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.jose import jwt


@pytest.fixture
def mcp_server(live: Live) -> Iterator[str]:
    """The address of an MCP server that is guarded by the live server."""
    port = free_port()
    resource = f"http://localhost:{port}/mcp"
    with LoopbackServer(by_wrapping(live.issuer, resource), port=port):
        yield resource


async def forecast(mcp_server: str, auth: httpx2.Auth) -> str:
    """Call the server's tool; return what it says."""
    async with connected(mcp_server, auth) as session:
        result = await session.call_tool("forecast", {"city": "Ulm"})
    return str(result.content[0].text)  # type: ignore[union-attr]  # a text


def spoken(live: Live, **claims: object) -> dict[str, object]:
    """Return what every assertion for the live server says, and more."""
    now = int(live.clock())
    return {"aud": live.issuer, "iat": now, "exp": now + 300, "jti": os.urandom(8).hex()} | claims


async def test_a_client_with_a_key_calls_a_tool(live: Live, mcp_server: str) -> None:
    client_id = live.client(
        scope="weather:read", resources=[mcp_server], token_endpoint_auth_method="private_key_jwt", jwks=JWKS
    ).client.client_id
    assertion = jwt.encode(KEY, spoken(live, iss=client_id, sub=client_id), typ="JWT")
    provider = PrivateKeyJWTOAuthProvider(
        mcp_server, Memory(), client_id, static_assertion_provider(assertion), issuer=live.issuer
    )
    assert await forecast(mcp_server, provider) == f"Sunny in Ulm, {client_id}."


def agent(live: Live, mcp_server: str, method: str) -> Registered:
    """Register an enterprise's client, whose provider is trusted for its people."""
    made = live.client(
        grant_types=["jwt_bearer"],
        scope="weather:read",
        resources=[mcp_server],
        token_endpoint_auth_method=method,
    )
    rule = TrustInput(
        name="acme", kind="people", issuer=PROVIDER, jwks=JWKS, subject="acme:{sub}",
        scope="weather:read", resources=[mcp_server], clients=[made.client.client_id],
    )  # fmt: skip
    live.run(trust_rules.create(live.runtime, rule, actor="test"))
    return made


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_an_enterprises_client_calls_a_tool_for_a_person(
    live: Live, mcp_server: str, method: str
) -> None:
    made = agent(live, mcp_server, method)
    client_id = made.client.client_id

    async def assertion(audience: str, resource: str) -> str:
        assert (audience, resource) == (live.issuer, mcp_server)
        said = spoken(
            live, iss=PROVIDER, sub="u1", client_id=client_id, scope="weather:read", resource=resource
        )
        return jwt.encode(KEY, said, typ="oauth-id-jag+jwt")

    provider = IdentityAssertionOAuthProvider(
        mcp_server, Memory(), client_id, made.client_secret or "", live.issuer, assertion,
        token_endpoint_auth_method=method,  # type: ignore[arg-type]  # one of its two
    )  # fmt: skip
    assert await forecast(mcp_server, provider) == "Sunny in Ulm, acme:u1."
