"""RFC 8705 §3: tokens bound to a certificate, as ASGI and WSGI servers hand the certificate over."""

import datetime
import hashlib
import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from watchword.guard import Guard, Refused, asgi, wsgi
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


@pytest.mark.parametrize("present", [by_asgi, by_wsgi])
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
