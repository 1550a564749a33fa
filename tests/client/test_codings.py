"""Answers that are compressed: once is read, and what a few bytes make gigabytes of is not even begun with."""

import gzip
import json
from http.server import BaseHTTPRequestHandler

import pytest
from tests.fixtures.other_issuer import OtherIssuer, ask, refusal

from watchword.client import ClientCredentials, ClientSecret, TokenSource, Unreachable
from watchword.client.doctor import examine
from watchword.guard import Guard

READ = ClientCredentials("orders:read")
API = "https://api.example.com"


def serve(issuer: OtherIssuer, layers: int, coding: str) -> None:
    """Have each document of an issuer compressed so many times, with what its answers say of that."""
    token = {"access_token": "token", "token_type": "Bearer", "expires_in": 60}
    plain = {name: document for name, document in issuer.documents.items() if isinstance(document, dict)}
    plain["/.well-known/openid-configuration"] |= {"token_endpoint": f"{issuer.issuer}/token"}
    for path, document in (plain | {"/token": token}).items():
        body = json.dumps(document).encode()
        for _ in range(layers):
            body = gzip.compress(body)

        def answer(handler: BaseHTTPRequestHandler, body: bytes = body) -> None:
            handler.send_response(200)
            handler.send_header("content-type", "application/json")
            handler.send_header("content-length", str(len(body)))
            handler.send_header("content-encoding", coding)
            handler.end_headers()
            handler.wfile.write(body)

        issuer.documents[path] = answer


@pytest.mark.parametrize(
    ("layers", "coding"), [(2, "gzip, gzip"), (0, "br")], ids=["twice", "as nobody asked"]
)
async def test_what_is_compressed_otherwise_than_once_is_not_read(layers: int, coding: str) -> None:
    with OtherIssuer() as honest, OtherIssuer() as hostile:
        serve(honest, 1, "gzip")
        serve(hostile, layers, coding)
        assert TokenSource(honest.issuer, ClientSecret("a", "b"), READ, api=API).token() == "token"
        with pytest.raises(Unreachable, match="compressed"):
            TokenSource(hostile.issuer, ClientSecret("a", "b"), READ, api=API).token()
        assert examine(honest.issuer).kind == "authorization server"
        assert "compressed" in str(examine(hostile.issuer).findings)
        assert (await ask(Guard(honest.issuer, audience=API), honest.token())).subject == "them"
        assert await refusal(Guard(hostile.issuer, audience=API), hostile.token()) == 503
