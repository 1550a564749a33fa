"""What MCP servers are asked by: the SDK's own client, and bare requests with tokens."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from tests.fixtures.live import Live
from tests.fixtures.mcp_memory import Memory

from watchword.flows.clients.client_registry import Registered


def machine(live: Live, resource: str, scope: str = "weather:read") -> Registered:
    """Register a client of its own account for an MCP server."""
    return live.client(scope=scope, resources=[resource])


@asynccontextmanager
async def connected(resource: str, auth: httpx2.Auth) -> AsyncIterator[Client]:
    """The SDK's client of an MCP server."""
    async with (
        # A server imports what it needs at its first call, which takes long where much else runs.
        httpx2.AsyncClient(auth=auth, timeout=60) as http,
        Client(streamable_http_client(resource, http_client=http)) as client,
    ):
        yield client


def credentials_of(live: Live, resource: str, client: Registered) -> ClientCredentialsOAuthProvider:
    """The SDK's way to a token for a client of its own account."""
    return ClientCredentialsOAuthProvider(
        resource, Memory(), client.client.client_id, client.client_secret or "", issuer=live.issuer
    )


def token_for(live: Live, client: Registered, resource: str, scope: str = "weather:read") -> str:
    """Return a token of a client for a resource."""
    answer = httpx.post(
        f"{live.issuer}/token",
        data={"grant_type": "client_credentials", "resource": resource, "scope": scope},
        auth=(client.client.client_id, client.client_secret or ""),
    )
    return str(answer.json()["access_token"])


CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/list",
    "params": {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}},
}


def call(resource: str, token: str | None = None, **headers: str) -> httpx.Response:
    """Send a bare request to an MCP server."""
    sent = {"accept": "application/json, text/event-stream"} | headers
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    return httpx.post(resource, json=CALL, headers=sent)
