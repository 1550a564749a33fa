"""RFC 8705: mutual TLS: clients that authenticate with a certificate, and tokens bound to one."""

import hmac
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from watchword.jose import JoseError, jwk
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError


def check_certificate(der: bytes, client: Client, *, now: int) -> None:
    """Check the certificate that authenticates a client, by the method it is registered for; raise `invalid_client`."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        moment = datetime.fromtimestamp(now, UTC)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise _refused("not valid now")
        if client.token_endpoint_auth_method == "self_signed_tls_client_auth":
            accepted = _is_registered(certificate, client)
        else:
            accepted = _names_subject(certificate, client)
    except (ValueError, JoseError):
        raise _refused("unreadable") from None
    if not accepted:
        raise _refused("not the registered one")


def _is_registered(certificate: x509.Certificate, client: Client) -> bool:
    # §2.2: the client's key, registered by value; the chain means nothing here.
    presented = certificate.public_key()
    return any(key.public == presented for key in jwk.parse_set({"keys": list(client.jwks or ())}))


def _names_subject(certificate: x509.Certificate, client: Client) -> bool:
    if client.tls_client_auth_subject is None:
        return False
    kind, wanted = client.tls_client_auth_subject
    if kind == "subject_dn":
        return certificate.subject.rfc4514_string() == wanted
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return False
    types: dict[str, type[x509.GeneralName]] = {
        "san_dns": x509.DNSName,
        "san_uri": x509.UniformResourceIdentifier,
        "san_ip": x509.IPAddress,
        "san_email": x509.RFC822Name,
    }
    found = [str(name.value) for name in names if isinstance(name, types[kind])]  # type: ignore[attr-defined]  # a SubjectAlternativeName
    return wanted in found


def is_bound(der: bytes | None, thumbprint: str) -> bool:
    """Whether a certificate is the one that a token is bound to (§3)."""
    return der is not None and hmac.compare_digest(
        jwk.certificate_thumbprint(der).encode(), thumbprint.encode()
    )


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_client", "Client authentication failed.", detail=f"certificate: {reason}")
