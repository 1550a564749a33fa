"""Conversations with an authorization server: refresh tokens that rotate, and the code flow of a person who is signed in.

The same ones drive every server; what differs is where its endpoints are and how its client authenticates.
"""

import base64
import hashlib
import itertools
import json
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import load
from bench.load import Conversation

CALLBACK = "https://app.example/cb"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPE = "openid offline_access"
WITHOUT_ID_TOKEN = "read offline_access"
_CODE = re.compile(rb"(?i)\r\nlocation: [^\r]*[?&]code=([^&\r]+)")
_REFRESH_TOKEN = re.compile(rb'"refresh_token":\s*"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Server:
    """A server to talk to: its port, its client's Basic credentials, its endpoints, and the scope that brings refresh tokens."""

    port: int
    credentials: str
    token: str = "/token"
    authorize: str = "/authorize"
    introspect: str = "/introspect"
    scope: str = SCOPE

    def post(self, path: str, **fields: str) -> bytes:
        """Return the bytes of a form POST with the client's credentials."""
        body = urllib.parse.urlencode(fields).encode()
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Basic {self.credentials}\r\n"
            f"Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def fetch(self, **fields: str) -> dict[str, str]:
        """Ask the token endpoint and return its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.token}",
            urllib.parse.urlencode(fields).encode(),
            {"Authorization": f"Basic {self.credentials}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            document: dict[str, str] = json.load(answer)
            return document

    def client_credentials(self) -> bytes:
        """Return a client_credentials request."""
        return self.post(self.token, grant_type="client_credentials", scope="read")

    def introspections(self, count: int, scope: str = "read") -> Callable[[], bytes]:
        """Return a factory of introspection requests for fresh tokens in turn."""
        tokens = [
            self.fetch(grant_type="client_credentials", scope=scope)["access_token"] for _ in range(count)
        ]
        asked = itertools.cycle([self.post(self.introspect, token=token) for token in tokens])
        return lambda: next(asked)


def refreshing(server: Server, tokens: Sequence[str]) -> Callable[[], Conversation]:
    """Return conversations that use a refresh token and then always the one that came of it, each its own, also from run to run."""
    families = itertools.cycle([_Family(server, token) for token in tokens])
    return lambda: next(families).ask


@dataclass(slots=True)
class _Family:
    server: Server
    token: str

    def ask(self, answer: bytes) -> bytes:
        found = _REFRESH_TOKEN.search(answer)
        self.token = found[1].decode() if found else self.token
        return self.server.post(self.server.token, grant_type="refresh_token", refresh_token=self.token)


def authorizing(server: Server, cookies: Sequence[str]) -> Callable[[], Conversation]:
    """Return conversations that get a code in somebody's live session and redeem it, again and again."""
    people = itertools.cycle(cookies)

    def begin() -> Conversation:
        asked = authorization_request(server, next(people))

        def converse(answer: bytes) -> bytes:
            found = _CODE.search(answer)
            return redemption(server, found[1].decode()) if found else asked

        return converse

    return begin


def refresh_tokens(server: Server, cookies: Sequence[str], scope: str = "") -> list[str]:
    """Go through the code flow once in each session and return the refresh tokens."""
    return [_exchange(server, authorization_request(server, cookie, scope)) for cookie in cookies]


def _exchange(server: Server, asked: bytes) -> str:
    answer = _once(server.port, asked)
    code = _CODE.search(answer)
    found = _REFRESH_TOKEN.search(_once(server.port, redemption(server, code[1].decode()))) if code else None
    if found is None:
        raise RuntimeError(f"no refresh token came of {answer[:300]!r}")
    return found[1].decode()


def _once(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while not load.complete(answer):
            data = connection.recv(65536)
            if not data:
                break
            answer += data
        return answer


def authorization_request(server: Server, cookie: str, scope: str = "") -> bytes:
    """Return an authorization request in a session, for the server's own scope where no other is named."""
    query = urllib.parse.urlencode(
        {
            "client_id": base64.b64decode(server.credentials).decode().partition(":")[0],
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": scope or server.scope,
            "state": "s-1",
            "nonce": "n-1",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
    )
    return (
        f"GET {server.authorize}?{query} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nCookie: {cookie}\r\n"
        "Accept: text/html\r\n\r\n"
    ).encode()


def redemption(server: Server, code: str) -> bytes:
    """Return the request that redeems a code."""
    fields = {"redirect_uri": CALLBACK, "code_verifier": VERIFIER, "code": urllib.parse.unquote(code)}
    return server.post(server.token, grant_type="authorization_code", **fields)
