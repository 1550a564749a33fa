"""RFC 8705: mutual TLS: clients that authenticate with a certificate, and tokens bound to one."""

import base64
import binascii
import hmac
import ipaddress
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from watchword.jose import JoseError, jwk
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

MAX_CERTIFICATE = 16 * 1024
_ARMOUR = re.compile(r"-----BEGIN CERTIFICATE-----|\s")

# Attribute names that many tools write, besides those of RFC 4514 §3.
_MORE_NAMES = {"emailAddress": NameOID.EMAIL_ADDRESS, "serialNumber": NameOID.SERIAL_NUMBER}
_SAN_TYPES: dict[str, type[x509.GeneralName]] = {
    "san_dns": x509.DNSName,
    "san_uri": x509.UniformResourceIdentifier,
    "san_ip": x509.IPAddress,
    "san_email": x509.RFC822Name,
}
_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    JoseError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)

Documents = Sequence[Mapping[str, object]]


def registered_subject(given: Sequence[str] | None) -> tuple[str, str] | None:
    """Return the certificate subject that a client registers, as (kind, value); raise `invalid_client_metadata`."""
    if given is None:
        return None
    kind, value = given
    if kind != "subject_dn" and kind not in _SAN_TYPES:  # §2.1.2
        raise OAuthError(
            "invalid_client_metadata",
            "Name subject_dn, san_dns, san_uri, san_ip or san_email, then its value.",
            field="tls_client_auth_subject",
        )
    if kind == "san_ip" and not _is_address(value):
        raise OAuthError(
            "invalid_client_metadata",
            "Write an IP address after san_ip, such as 192.0.2.1 or 2001:db8::1.",
            field="tls_client_auth_subject",
        )
    return kind, value


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_certificate(der: bytes, client: Client, *, now: int, documents: Documents | None = None) -> None:
    """Check the certificate that authenticates a client by its registered method; raise `invalid_client`.

    `documents` are the client's keys if they were fetched from its `jwks_uri`, else the registered ones are used. That a certificate
    for `tls_client_auth` was issued by a trusted authority has been checked where TLS was terminated (§2.1).
    """
    if len(der) > MAX_CERTIFICATE:
        raise _refused("too large")
    try:
        certificate = x509.load_der_x509_certificate(der)
        moment = datetime.fromtimestamp(now, UTC)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise _refused("not valid now")
        if client.token_endpoint_auth_method == "self_signed_tls_client_auth":
            accepted = _is_registered(certificate, der, client.jwks if documents is None else documents)
        else:
            accepted = _names_subject(certificate, client)
    except _UNREADABLE:
        raise _refused("unreadable") from None
    if not accepted:
        raise _refused("not the registered one")


def read_header(value: str) -> bytes:
    """Return the certificate (DER) in a header that a proxy wrote: `:base64:` (RFC 9440 §2.1), escaped PEM, or base64.

    Of a chain the first one counts. Raises `invalid_request` when it cannot be read.
    """
    text = unquote(value) if "%" in value else value
    text = text.partition("-----END")[0].partition(",")[0].strip().strip(":")
    try:
        der = base64.b64decode(_ARMOUR.sub("", text).encode("ascii"), validate=True)
        if not der or len(der) > MAX_CERTIFICATE:
            raise ValueError
        x509.load_der_x509_certificate(der)
    except _UNREADABLE:
        raise OAuthError(
            "invalid_request", "The certificate that the proxy passed on cannot be read."
        ) from None
    return der


def is_issued(chain: Sequence[bytes], authorities: Sequence[x509.Certificate]) -> bool:
    """Whether a certificate that a handshake verified chains to one of the authorities, and not to one that a client registered (§2.1).

    `chain` (DER) begins with the certificate; after a resumed handshake it has nothing more.
    """
    known = {authority.public_bytes(Encoding.DER) for authority in authorities}
    if len(chain) > 1 or not chain:
        return bool(chain) and chain[-1] in known
    try:
        leaf = x509.load_der_x509_certificate(chain[0])
    except (ValueError, x509.InvalidVersion):  # OpenSSL takes some that this does not read
        return False
    return any(_issued_by(leaf, authority) for authority in authorities)


def _issued_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_registered(certificate: x509.Certificate, der: bytes, documents: Documents | None) -> bool:
    # §2.2: the client registered the certificate itself, or its key; the chain does not matter.
    presented = certificate.public_key()
    known = list(documents or ())
    if any(first_certificate(document) == der for document in known):
        return True
    return any(key.public == presented for key in jwk.parse_set({"keys": known}))


def is_own(der: bytes) -> bool:
    """Whether a certificate is self-signed and names its own key correctly as subject key identifier (RFC 5280 §4.2.1.2).

    Then TLS does not take it for the issuer of a certificate that names another issuer's key (§4.2.1.1), even if the issuer names
    agree: anybody can copy an authority's public key into a certificate, but only the authority can sign with it.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        said = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        is_named = said == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        return is_named and _issued_by(certificate, certificate)
    except (*_UNREADABLE, x509.ExtensionNotFound):
        return False


def first_certificate(document: Mapping[str, object]) -> bytes | None:
    """Return the certificate (DER) that a registered JWK carries (RFC 7517 §4.7), or None."""
    chain = document.get("x5c")
    if not isinstance(chain, Sequence) or not chain or not isinstance(chain[0], str):
        return None
    try:
        return base64.b64decode(chain[0].encode("ascii"), validate=True)  # §4.7: base64, not base64url
    except (ValueError, binascii.Error):
        return None


def _names_subject(certificate: x509.Certificate, client: Client) -> bool:
    if client.tls_client_auth_subject is None:
        return False
    kind, wanted = client.tls_client_auth_subject
    if kind == "subject_dn":
        return _same_name(certificate.subject, wanted)
    if kind not in _SAN_TYPES:
        return False
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except x509.ExtensionNotFound:
        return False
    if not isinstance(names, x509.SubjectAlternativeName):
        return False
    return any(
        _same_value(kind, str(name.value), wanted) for name in names if isinstance(name, _SAN_TYPES[kind])
    )


def _same_name(subject: x509.Name, wanted: str) -> bool:
    # §2.1.2: parsed, since RFC 4514 allows several spellings of spaces, escapes and attribute names.
    if subject.rfc4514_string() == wanted:
        return True
    try:
        return subject == x509.Name.from_rfc4514_string(wanted, _MORE_NAMES)
    except ValueError:
        return False


def _same_value(kind: str, found: str, wanted: str) -> bool:
    if kind == "san_dns":
        return found.lower() == wanted.lower()
    if kind == "san_ip":
        return ipaddress.ip_address(found) == ipaddress.ip_address(wanted)
    return found == wanted


def is_bound(der: bytes | None, thumbprint: str) -> bool:
    """Whether a certificate is the one that a token is bound to (§3)."""
    return der is not None and hmac.compare_digest(
        jwk.certificate_thumbprint(der).encode(), thumbprint.encode("utf-8", "replace")
    )


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_client", "Client authentication failed.", detail=f"certificate: {reason}")
