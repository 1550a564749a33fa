"""RFC 7518 §6: private keys as they are read: those of others are looked through, our own come back as they were made."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from msgspec.structs import replace
from tests.fixtures.rows import in_turn

from watchword.jose import JoseError, jwk, jws

RSA = jwk.generate("RS256")
NO_KEY = "no private key in PEM"


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256", "PS256"])
def test_an_own_key_signs_as_it_did(alg: str) -> None:
    made = jwk.generate(alg)
    kept = jwk.parse(jwk.private_document(made), alg, is_own=True)
    assert kept.thumbprint == made.thumbprint
    assert jws.verify(jws.sign(kept, {}, b"payload"), [made], [alg])[1] == b"payload"


def pem(private: Any, form: PrivateFormat = PrivateFormat.PKCS8, encryption: Any = NoEncryption()) -> str:
    """Return a private key as a file holds it."""
    return str(private.private_bytes(Encoding.PEM, form, encryption).decode())


@pytest.mark.parametrize(
    "form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS #8", "of OpenSSL"]
)
@pytest.mark.parametrize("alg", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"])
def test_a_key_in_pem_signs_like_the_same_key_as_a_jwk(alg: str, form: PrivateFormat) -> None:
    made = jwk.generate(alg)
    if alg == "EdDSA" and form is not PrivateFormat.PKCS8:
        return  # it has no other form
    written = pem(made.private, form)
    for text in (written, written.encode()):
        read = jwk.parse_pem(text, alg, kid="mine")
        assert (read.kid, read.alg, read.thumbprint) == ("mine", alg, made.thumbprint)
    assert jwk.parse_pem(written).kid is None
    assert jws.verify(jws.sign(read, {}, b"payload"), [replace(made, kid="mine")], [alg])[1] == b"payload"


@in_turn(
    ("text", "reason"),
    [
        pytest.param("", NO_KEY, id="nothing"),
        pytest.param(None, NO_KEY, id="a variable that is not there"),
        pytest.param("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", NO_KEY, id="no key"),
        pytest.param(pem(RSA.private, encryption=BestAvailableEncryption(b"x")), "the private key has a passphrase", id="a passphrase"),
        pytest.param(
            RSA.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), NO_KEY, id="a public key"
        ),
        pytest.param(pem(ec.generate_private_key(ec.SECP256K1())), "key type", id="another curve"),
        pytest.param(pem(x25519.X25519PrivateKey.generate()), "key type", id="a key for encryption"),
        pytest.param(pem(rsa.generate_private_key(65537, 1024)), "key", id="a short key of RSA"),
    ],
)  # fmt: skip
def test_pem_that_is_no_key_to_sign_with_is_refused(text: str, reason: str) -> None:
    with pytest.raises(JoseError) as refused:
        jwk.parse_pem(text)
    assert refused.value.reason == reason


def test_a_key_in_pem_is_for_algorithms_of_its_kind_alone() -> None:
    with pytest.raises(JoseError, match="algorithm"):
        jwk.parse_pem(pem(RSA.private), "ES256")


def test_numbers_of_rsa_that_do_not_fit_together_are_no_key() -> None:
    document = jwk.private_document(RSA)
    assert jwk.parse(document).private is not None
    for member in ("d", "p", "q", "dp", "dq", "qi"):
        number = int.from_bytes(jwk.b64decode(document[member]), "big")
        for other in (number + 2, number - 2, 3):
            wrong = jwk.b64encode(other.to_bytes((other.bit_length() + 7) // 8, "big"))
            with pytest.raises(JoseError, match="key"):
                jwk.parse(document | {member: wrong})
