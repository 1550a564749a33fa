"""Authorization requests and consent pages, and how they look when they are honest or refused."""

import json
from typing import Any

import httpx
from tests.fixtures.code_flow import request
from tests.fixtures.servers import Server

from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk

EVIL = "https://evil.example"


def is_refused_on_a_page(response: httpx.Response) -> bool:
    """Whether a request was refused without sending anybody anywhere."""
    return 400 <= response.status_code < 500 and "location" not in response.headers


async def begin(server: Server, client: Registered, **changes: str | None) -> httpx.Response:
    """Send the browser to the authorization endpoint."""
    return await server.http.get("/authorize", params=request(client, **changes))


def claims_of(token: str) -> Any:
    """Return what a JWT says."""
    return json.loads(jwk.b64decode(token.split(".")[1]))
