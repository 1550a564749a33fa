"""`watchword doctor` and the certificates of the servers that it walks: what is to be changed is the certificate, not a route."""

from pathlib import Path

import httpx
import pytest
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.fixtures import certificates
from tests.fixtures.certificates import LOCALHOST, Pair

from watchword.client.doctor import Report, examine
from watchword.client.doctor.web import Web
from watchword.testing.loopback import LoopbackServer

ELSEWHERE = (x509.DNSName("auth.example.com"),)


def server(shows: Pair, token_endpoint: str = "") -> LoopbackServer:
    """Return an issuer that shows a certificate, with its token endpoint perhaps elsewhere."""

    async def metadata(request: Request) -> Response:
        issuer = str(request.base_url).rstrip("/")
        return JSONResponse({"issuer": issuer, "token_endpoint": token_endpoint or f"{issuer}/token"})

    async def token(_request: Request) -> Response:
        return JSONResponse({"error": "invalid_request"}, 400)

    routes = [
        Route("/.well-known/oauth-authorization-server", metadata),
        Route("/token", token, methods=["POST"]),
    ]
    return LoopbackServer(Starlette(routes=routes), tls=certificates.serving(shows))  # type: ignore[arg-type]  # plain ASGI


def seen(address: str, authority: Pair) -> Report:
    """Examine an address as somebody who trusts an authority."""
    with httpx.Client(verify=certificates.trusting(authority)) as http:
        return examine(address, Web(http))


CASES = {
    "that has expired": ({"days": -1, "names": LOCALHOST}, "renew the certificate of localhost"),
    "of another name": ({"names": ELSEWHERE}, "a certificate that names localhost"),
    "of an authority that nobody knows": ({"names": LOCALHOST, "issuer": None}, "the whole chain"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_certificate_is_to_be_changed(tmp_path: Path, case: str) -> None:
    authority = certificates.make(tmp_path, "authority", is_authority=True)
    good = certificates.make(tmp_path, "good", issuer=authority, names=LOCALHOST)
    given, line = CASES[case]
    bad = certificates.make(tmp_path, "bad", **({"issuer": authority} | given))  # type: ignore[arg-type]
    with server(good) as sound, server(bad) as broken:
        assert seen(f"https://localhost:{sound.port}", authority).kind == "authorization server"
        (finding,) = seen(f"https://localhost:{broken.port}", authority).findings
        assert finding.change.startswith(line)
        endpoint = f"https://localhost:{broken.port}/token"
        with server(good, endpoint) as apart:
            report = seen(f"https://localhost:{apart.port}", authority)
    (change,) = [
        found.change for found in report.findings if (found.code, found.at) == ("endpoint", endpoint)
    ]
    assert change.startswith(line)
