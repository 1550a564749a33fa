"""RFC 8705 §3: tokens bound to a certificate, as ASGI and WSGI servers hand the certificate over."""

import datetime
import hashlib
import io
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from tests.guard.example_apps import load

from watchword.guard import Guard, Policy, Refused, asgi, wsgi
from watchword.guard.guard import Presented
from watchword.jose import jwk
from watchword.testing.kit import Auth


def certificate() -> str:
    """Return a new self-signed certificate as PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "caller")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, day, day + datetime.timedelta(days=9999))
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def by_asgi(token: str, pem: str | None) -> Presented:
    """Return what an ASGI request presents."""
    tls = {} if pem is None else {"tls": {"client_cert_chain": [pem]}}
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return asgi.presented({"headers": headers, "path": "/", "scheme": "https", "extensions": tls})


def by_wsgi(token: str, pem: str | None) -> Presented:
    """Return what a WSGI request presents."""
    environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "https", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    return wsgi.presented(environ if pem is None else environ | {"SSL_CLIENT_CERT": pem})


def by_django_on_asgi(token: str, pem: str | None) -> Presented:
    """Return what a request presents to Django where an ASGI server runs it."""
    load("drf_app")  # configures Django
    from django.core.handlers.asgi import ASGIRequest

    from watchword.guard import django

    tls = {} if pem is None else {"tls": {"client_cert_chain": [pem]}}
    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"method": "GET", "path": "/", "headers": headers, "scheme": "https", "extensions": tls}
    return django.presented(ASGIRequest(scope, io.BytesIO()))


@pytest.mark.parametrize("present", [by_asgi, by_wsgi, by_django_on_asgi])
def test_a_bound_token_needs_its_certificate(
    auth: Auth, present: Callable[[str, str | None], Presented]
) -> None:
    pem = certificate()
    thumbprint = jwk.b64encode(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest())
    token = auth.token("orders:read", claims={"cnf": {"x5t#S256": thumbprint}})
    guard = auth.guard(Guard)
    assert guard.authenticate_sync(present(token, pem)).x5t == thumbprint
    for wrong in (
        certificate(),
        None,
        "garbage",
        "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n",
    ):
        with pytest.raises(Refused) as refused:
            guard.authenticate_sync(present(token, wrong))
        assert (refused.value.status, refused.value.error) == (401, "invalid_token")


async def nothing(_scope: Any, _receive: Any, send: Any) -> None:
    """An application that answers 204."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_what_the_guide_puts_in_front_passes_on_what_a_proxy_has_seen(auth: Auth) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "how-to" / "guard.md").read_text()
    code = guide.partition('title="client_certificate.py"\n')[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)  # the guide's own words
    pem = certificate()
    thumbprint = jwk.b64encode(hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest())
    token = auth.token("orders:read", claims={"cnf": {"x5t#S256": thumbprint}})
    app = names["ClientCertificate"](asgi.GuardMiddleware(nothing, auth.guard(Guard), Policy(bound=True)))
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://api.test") as api:
        for sent, status in ((pem, 204), (certificate(), 401), (None, 401)):
            told = {} if sent is None else {"x-client-cert": quote(sent)}
            assert (await api.get("/orders", headers=headers | told)).status_code == status
