"""Certificates that clients refuse: `watchword doctor` says that they are to be changed, and `watchword.client` that they are why."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.client.ways import READ
from tests.fixtures import certificates
from tests.fixtures.certificates import LOCALHOST, Pair
from tests.fixtures.loopback import LoopbackServer

from watchword.client import PublicClient, TokenSource, Unreachable
from watchword.client.doctor import Report, examine
from watchword.client.doctor.web import Seen, Web, line_for

ELSEWHERE = (x509.DNSName("auth.example.com"),)


def server(shows: Pair, token_endpoint: str = "") -> LoopbackServer:
    """Return an issuer that shows a certificate, with its token endpoint perhaps elsewhere."""

    async def metadata(request: Request) -> Response:
        issuer = str(request.base_url).rstrip("/")
        return JSONResponse({"issuer": issuer, "token_endpoint": token_endpoint or f"{issuer}/token"})

    async def token(_request: Request) -> Response:
        return JSONResponse({"access_token": "a", "token_type": "Bearer"})

    routes = [
        Route("/.well-known/oauth-authorization-server", metadata),
        Route("/token", token, methods=["POST"]),
    ]
    return LoopbackServer(Starlette(routes=routes), tls=certificates.serving(shows))  # type: ignore[arg-type]  # plain ASGI


def seen(address: str, authority: Pair) -> Report:
    """Examine an address as somebody who trusts an authority."""
    with httpx.Client(verify=certificates.trusting(authority)) as http:
        return examine(address, Web(http))


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "that has expired": ({"days": -1, "names": LOCALHOST}, "renew the certificate of localhost"),
    "of another name": ({"names": ELSEWHERE}, "a certificate that names localhost"),
    "of an authority that nobody knows": ({"names": LOCALHOST, "issuer": None}, "the whole chain"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_certificate_is_to_be_changed(tmp_path: Path, case: str) -> None:
    authority = certificates.make(tmp_path, "authority", is_authority=True)
    good = certificates.make(tmp_path, "good", issuer=authority, names=LOCALHOST)
    given, line = CASES[case]
    bad = certificates.make(tmp_path, "bad", **({"issuer": authority} | given))
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


def test_a_host_that_is_called_expired_has_a_certificate_of_another_name() -> None:
    said = "[SSL: CERTIFICATE_VERIFY_FAILED] Hostname mismatch, certificate is not valid for 'expired.example.com'."
    line = line_for(Seen(0, problem=f"ConnectError {said}"), "https://expired.example.com", "")
    assert line.startswith("a certificate that names expired.example.com")


def test_a_program_is_told_of_a_certificate_that_has_expired(tmp_path: Path) -> None:
    authority = certificates.make(tmp_path, "authority", is_authority=True)

    def token(days: int) -> str:
        shown = certificates.make(tmp_path, "shown", issuer=authority, names=LOCALHOST, days=days)
        with server(shown) as issuer, httpx.Client(verify=certificates.trusting(authority)) as http:
            address = f"https://localhost:{issuer.port}"
            return TokenSource(address, PublicClient("a"), READ, api=address, http=http).token()

    assert token(days=1) == "a"
    with pytest.raises(Unreachable, match=r"no connection to https://localhost:.*certificate has expired"):
        token(days=-1)
