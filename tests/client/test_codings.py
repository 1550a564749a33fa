"""Answers that are compressed: once is read, and what a few bytes make gigabytes of is not even begun with."""

import gzip
import json
import zlib
from http.server import BaseHTTPRequestHandler

import httpx
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


def test_a_client_of_the_programs_own_asks_for_what_is_read() -> None:
    """By itself it would ask for other codings, too, and such an answer would be refused."""
    with OtherIssuer() as issuer:
        token = {"access_token": "token", "token_type": "Bearer", "expires_in": 60}
        issuer.documents["/.well-known/openid-configuration"] |= {"token_endpoint": f"{issuer.issuer}/token"}
        for path, document in (issuer.documents | {"/token": token}).items():
            body = json.dumps(document).encode()

            def answer(handler: BaseHTTPRequestHandler, body: bytes = body) -> None:
                asked = handler.headers["accept-encoding"]
                handler.send_response(200)
                if "deflate" in asked:
                    handler.send_header("content-encoding", "deflate")
                    body = zlib.compress(body)
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            issuer.documents[path] = answer
        with httpx.Client() as own:
            assert own.get(f"{issuer.issuer}/token").headers["content-encoding"] == "deflate"
            source = TokenSource(issuer.issuer, ClientSecret("a", "b"), READ, api=API, http=own)
            assert source.token() == "token"
