"""The ways in which a program may send requests with the client."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
import requests
from tests.fixtures.live import Live

from watchword.client import (
    ClientCredentials,
    ClientSecret,
    HttpxAuth,
)
from watchword.client.credential import Source
from watchword.client.requests_auth import RequestsAuth

READ = ClientCredentials("orders:read")


def secret_of(live: Live, **given: Any) -> ClientSecret:
    """Register a client with a secret."""
    registered = live.client(scope="orders:read", **given)
    return ClientSecret(registered.client.client_id, registered.client_secret or "")


def by_httpx(source: Source, address: str, **given: Any) -> int:
    """Ask with httpx; return the status."""
    with httpx.Client(auth=HttpxAuth(source), follow_redirects=True) as client:
        return client.request("POST", address, **given).status_code


def by_async_httpx(source: Source, address: str, **given: Any) -> int:
    """Ask with httpx in an event loop."""

    async def ask() -> int:
        async with httpx.AsyncClient(auth=HttpxAuth(source), follow_redirects=True) as client:
            return (await client.request("POST", address, **given)).status_code

    return asyncio.run(ask())


def by_httpx2(source: Source, address: str, **given: Any) -> int:
    """Ask with httpx2."""
    with httpx2.Client(auth=HttpxAuth(source), follow_redirects=True) as client:
        return client.request("POST", address, **given).status_code


def by_async_httpx2(source: Source, address: str, **given: Any) -> int:
    """Ask with httpx2 in an event loop."""

    async def ask() -> int:
        async with httpx2.AsyncClient(auth=HttpxAuth(source), follow_redirects=True) as client:
            return (await client.request("POST", address, **given)).status_code

    return asyncio.run(ask())


def by_requests(source: Source, address: str, **given: Any) -> int:
    """Ask with requests."""
    given = {("data" if name == "content" else name): value for name, value in given.items()}
    return requests.request("POST", address, auth=RequestsAuth(source), timeout=10, **given).status_code


WAYS = pytest.mark.parametrize(
    "ask",
    [by_httpx, by_async_httpx, by_httpx2, by_async_httpx2, by_requests],
    ids=["httpx", "async httpx", "httpx2", "async httpx2", "requests"],
)
Ask = Callable[..., int]
