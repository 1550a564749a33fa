"""A certificate authenticates the client that registered it, and binds tokens to itself (MT rows)."""

import base64
import ipaddress
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from watchword.jose import jwk
from watchword.oauth import mtls
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

NOW = 1_800_000_000
KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")
SUBJECT = [
    (NameOID.COUNTRY_NAME, "CH"),
    (NameOID.ORGANIZATION_NAME, "Acme, Inc."),
    (NameOID.EMAIL_ADDRESS, "ops@acme.example"),
    (NameOID.COMMON_NAME, "client"),
]
NAMES: list[x509.GeneralName] = [
    x509.DNSName("client.example"),
    x509.UniformResourceIdentifier("spiffe://acme/client"),
    x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    x509.RFC822Name("client@acme.example"),
]


def certificate(key: jwk.Key = KEY, *, start: int = -100, end: int = 100, names: bool = True) -> bytes:
    """Make a self-signed certificate that is valid between two offsets from now, in seconds."""
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in SUBJECT])
    moment = datetime.fromtimestamp(NOW, UTC)
    assert isinstance(key.private, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public)
        .serial_number(1)
        .not_valid_before(moment + timedelta(seconds=start))
        .not_valid_after(moment + timedelta(seconds=end))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
    return builder.sign(key.private, hashes.SHA256()).public_bytes(Encoding.DER)


def authority(name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    return signed(name, name, key, key, is_authority=True), key


def leaf_of(issuer: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Make a certificate that an authority issued."""
    name = str(issuer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    own = ec.generate_private_key(ec.SECP256R1())
    return signed("client", name, own, key, is_authority=False).public_bytes(Encoding.DER)


def signed(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    """Make a certificate."""
    moment = datetime.fromtimestamp(NOW, UTC)
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(seconds=100))
        .not_valid_after(moment + timedelta(seconds=100))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(by, hashes.SHA256())
    )


CERTIFICATE = certificate()
DN = "CN=client,1.2.840.113549.1.9.1=ops@acme.example,O=Acme\\, Inc.,C=CH"


def issued(kind: str, value: str) -> Client:
    """Return a client that authenticates with a certificate of an authority."""
    return Client(
        client_id="app",
        name="App",
        token_endpoint_auth_method="tls_client_auth",
        tls_client_auth_subject=(kind, value),
    )


SELF_SIGNED = Client(
    client_id="app",
    name="App",
    token_endpoint_auth_method="self_signed_tls_client_auth",
    jwks=(jwk.public_document(KEY),),
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("subject_dn", DN),
        ("subject_dn", "CN=client,emailAddress=ops@acme.example,O=Acme\\2C Inc.,C=CH"),
        ("san_dns", "client.example"),
        ("san_dns", "Client.Example"),
        ("san_uri", "spiffe://acme/client"),
        ("san_ip", "192.0.2.1"),
        ("san_ip", "2001:DB8:0::1"),
        ("san_email", "client@acme.example"),
    ],
)
def test_a_certificate_of_an_authority_names_its_client(kind: str, value: str) -> None:
    mtls.check_certificate(CERTIFICATE, issued(kind, value), now=NOW)


def test_an_address_that_is_none_is_not_registered() -> None:
    assert mtls.registered_subject(["san_ip", "2001:db8::1"]) == ("san_ip", "2001:db8::1")
    with pytest.raises(OAuthError, match="an IP address after san_ip") as caught:
        mtls.registered_subject(["san_ip", "client.example"])
    assert (caught.value.code, caught.value.field) == ("invalid_client_metadata", "tls_client_auth_subject")
    with pytest.raises(OAuthError, match="Name subject_dn, san_dns"):
        mtls.registered_subject(["cn", "client.example"])


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param("subject_dn", "CN=client", id="MT-01 a part of the name"),
        pytest.param("subject_dn", DN.replace("client", "other"), id="MT-01 another name"),
        pytest.param("subject_dn", DN.replace("client", "Client"), id="a name in other case"),
        pytest.param("subject_dn", "C=CH,O=Acme\\, Inc.,CN=client", id="the name backwards and incomplete"),
        pytest.param("subject_dn", "", id="an empty name"),
        pytest.param("subject_dn", "no name", id="something that is no name"),
        pytest.param("subject_dn", "\ud800", id="a lone surrogate"),
        pytest.param("san_dns", "x.client.example", id="a subdomain"),
        pytest.param("san_dns", "*.example", id="a wildcard"),
        pytest.param("san_uri", "spiffe://acme/client/", id="a trailing slash"),
        pytest.param("san_uri", "client.example", id="a value of another kind"),
        pytest.param("san_ip", "192.0.2.2", id="another address"),
        pytest.param("san_ip", "client.example", id="something that is no address"),
        pytest.param("san_email", "x@acme.example", id="another mailbox"),
        pytest.param("unknown", "client.example", id="an unknown kind"),
    ],
)
def test_mt_01_a_certificate_that_names_another_is_refused(kind: str, value: str) -> None:
    with pytest.raises(OAuthError) as caught:
        mtls.check_certificate(CERTIFICATE, issued(kind, value), now=NOW)
    assert caught.value.code == "invalid_client"


def test_mt_01_a_client_without_a_registered_name_is_refused() -> None:
    client = msgspec.structs.replace(issued("san_dns", "x"), tls_client_auth_subject=None)
    with pytest.raises(OAuthError, match="invalid_client"):
        mtls.check_certificate(CERTIFICATE, client, now=NOW)
    with pytest.raises(OAuthError, match="invalid_client"):
        mtls.check_certificate(certificate(names=False), issued("san_dns", "client.example"), now=NOW)


@pytest.mark.parametrize(("start", "end"), [(-100, -1), (1, 100)], ids=["expired", "not yet valid"])
@pytest.mark.parametrize(
    "client", [SELF_SIGNED, issued("san_dns", "client.example")], ids=["self-signed", "issued"]
)
def test_mt_01_a_certificate_outside_its_dates_is_refused(client: Client, start: int, end: int) -> None:
    mtls.check_certificate(CERTIFICATE, client, now=NOW)
    with pytest.raises(OAuthError, match="invalid_client"):
        mtls.check_certificate(certificate(start=start, end=end), client, now=NOW)


@pytest.mark.parametrize(("start", "end"), [(-100, 0), (0, 100)], ids=["its last second", "its first second"])
def test_a_certificate_is_valid_in(start: int, end: int) -> None:
    # RFC 5280 §4.1.2.5: "the period of time from notBefore through notAfter, inclusive"
    mtls.check_certificate(certificate(start=start, end=end), SELF_SIGNED, now=NOW)


def test_a_self_signed_certificate_is_known_by_its_key_or_by_itself() -> None:
    mtls.check_certificate(CERTIFICATE, SELF_SIGNED, now=NOW)
    named = {**jwk.public_document(OTHER), "x5c": [base64.b64encode(CERTIFICATE).decode()]}
    mtls.check_certificate(CERTIFICATE, msgspec.structs.replace(SELF_SIGNED, jwks=(named,)), now=NOW)
    fetched = msgspec.structs.replace(SELF_SIGNED, jwks=None, jwks_uri="https://rp.example/jwks")
    mtls.check_certificate(CERTIFICATE, fetched, now=NOW, documents=[jwk.public_document(KEY)])


@pytest.mark.parametrize(
    "jwks",
    [
        pytest.param(None, id="no keys"),
        pytest.param((), id="an empty set"),
        pytest.param((jwk.public_document(OTHER),), id="another key"),
        pytest.param(({**jwk.public_document(OTHER), "x5c": ["é"]},), id="a malformed certificate"),
        pytest.param(({**jwk.public_document(OTHER), "x5c": [5]},), id="a certificate that is a number"),
        pytest.param(({"kty": "EC"},), id="a malformed key"),
    ],
)
def test_mt_02_a_self_signed_certificate_that_was_not_registered_is_refused(
    jwks: tuple[dict[str, object], ...] | None,
) -> None:
    with pytest.raises(OAuthError, match="invalid_client"):
        mtls.check_certificate(CERTIFICATE, msgspec.structs.replace(SELF_SIGNED, jwks=jwks), now=NOW)


# One whose key is of a kind that nobody knows: id-ecPublicKey (RFC 5480 §2.1.1) with another end
UNKNOWN_KEY = CERTIFICATE.replace(bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0203"))


@pytest.mark.parametrize(
    "der", [b"", b"junk", CERTIFICATE[:-1], CERTIFICATE + b"x", bytes(20_000), UNKNOWN_KEY]
)
def test_what_is_no_certificate_is_refused(der: bytes) -> None:
    with pytest.raises(OAuthError, match="invalid_client"):
        mtls.check_certificate(der, SELF_SIGNED, now=NOW)


def test_mt_02_only_a_certificate_that_chains_to_an_authority_is_issued() -> None:
    """A client's self-signed certificate is trusted in handshakes as an authority is; it makes nobody another's client."""
    made = authority("ours"), authority("another's")
    (ours, key), (others, other_key) = made
    leaf, stray = leaf_of(ours, key), leaf_of(others, other_key)
    root = ours.public_bytes(Encoding.DER)
    assert mtls.is_issued([leaf, root], [ours])
    assert mtls.is_issued([leaf], [others, ours]), "after a resumed handshake"
    version = leaf.index(b"\xa0\x03\x02\x01\x02") + 4  # RFC 5280 §4.1.2.1
    for chain in (
        [],
        [stray],
        [leaf[:version] + b"\x04" + leaf[version + 1 :]],
        [CERTIFICATE],
        [leaf, others.public_bytes(Encoding.DER)],
        [stray, CERTIFICATE],
    ):
        assert not mtls.is_issued(chain, [ours])


def test_mt_03_a_bound_token_needs_its_own_certificate() -> None:
    bound = jwk.certificate_thumbprint(CERTIFICATE)
    assert mtls.is_bound(CERTIFICATE, bound)
    assert not mtls.is_bound(certificate(OTHER), bound)
    assert not mtls.is_bound(None, bound)
    assert not mtls.is_bound(CERTIFICATE, "")
    assert not mtls.is_bound(CERTIFICATE, "\ud800")
