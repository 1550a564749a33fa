"""The ways in which a program may send requests with the client."""

from typing import Any

import httpx
from tests.fixtures.live import Live

from watchword.client import (
    ClientCredentials,
    ClientSecret,
    HttpxAuth,
)
from watchword.client.source import Source

READ = ClientCredentials("orders:read")


def secret_of(live: Live, **given: Any) -> ClientSecret:
    """Register a client with a secret."""
    registered = live.client(scope="orders:read", **given)
    return ClientSecret(registered.client.client_id, registered.client_secret or "")


def by_httpx(source: Source, address: str, **given: Any) -> int:
    """Ask with httpx; return the status."""
    with httpx.Client(auth=HttpxAuth(source), follow_redirects=True) as client:
        return client.request("POST", address, **given).status_code
