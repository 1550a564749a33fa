"""The client: obtains and renews a program's tokens from any OAuth authorization server, and presents them to one API.

    source = TokenSource("https://auth.example.com", ClientSecret("app", "…"), ClientCredentials("orders:read"),
                         api="https://api.example.com")
    httpx.Client(auth=HttpxAuth(source))

Needs the base install only; `watchword.client.requests_auth` is for requests.
"""

from typing import TYPE_CHECKING

from watchword.client.credential import ApiToken
from watchword.client.errors import ClientError, Refused, SignInNeeded, Unreachable, WrongAddress
from watchword.client.grants import ClientCredentials, RefreshToken, TokenExchange
from watchword.client.httpx_auth import HttpxAuth
from watchword.client.identity import ClientSecret, PrivateKey, PublicClient
from watchword.client.source import TokenSource
from watchword.client.store import FileStore, MemoryStore

__all__ = [
    "ApiToken",
    "ClientCredentials",
    "ClientError",
    "ClientSecret",
    "FileStore",
    "HttpxAuth",
    "MemoryStore",
    "PrivateKey",
    "PublicClient",
    "RefreshToken",
    "Refused",
    "SignInNeeded",
    "TokenExchange",
    "TokenSource",
    "Unreachable",
    "WrongAddress",
]

if not TYPE_CHECKING:  # type checkers would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name == "RequestsAuth":  # named here, it would make requests a need of the base install
            raise ImportError("write: from watchword.client.requests_auth import RequestsAuth")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
