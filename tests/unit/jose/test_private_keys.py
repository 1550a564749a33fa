"""RFC 7518 §6: private keys as they are read: those of others are looked through, our own come back as they were made."""

import pytest

from watchword.jose import JoseError, jwk, jws

RSA = jwk.generate("RS256")


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256", "PS256"])
def test_an_own_key_signs_as_it_did(alg: str) -> None:
    made = jwk.generate(alg)
    kept = jwk.parse(jwk.private_document(made), alg, is_own=True)
    assert kept.thumbprint == made.thumbprint
    assert jws.verify(jws.sign(kept, {}, b"payload"), [made], [alg])[1] == b"payload"


def test_numbers_of_rsa_that_do_not_fit_together_are_no_key() -> None:
    document = jwk.private_document(RSA)
    assert jwk.parse(document).private is not None
    for member in ("d", "p", "q", "dp", "dq", "qi"):
        number = int.from_bytes(jwk.b64decode(document[member]), "big")
        for other in (number + 2, number - 2, 3):
            wrong = jwk.b64encode(other.to_bytes((other.bit_length() + 7) // 8, "big"))
            with pytest.raises(JoseError, match="key"):
                jwk.parse(document | {member: wrong})
