"""Encryption goes to keys that are meant for it, strong enough, and public; to no other."""

from typing import Any

import pytest
from joserfc import jwe as library
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from watchword.jose import JoseError, jwe
from watchword.jose.jwk import b64encode

EC: Any = ECKey.generate_key("P-256")
RSA: Any = RSAKey.generate_key(2048)
OKP: Any = OKPKey.generate_key("X25519")


def public(key: Any, **more: object) -> dict[str, object]:
    """Return the public part of a key, with more members."""
    return {**key.as_dict(private=False), **more}


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (RSA, "RSA-OAEP-256"),
        (EC, "ECDH-ES"),
        (EC, "ECDH-ES+A128KW"),
        (ECKey.generate_key("P-521"), "ECDH-ES+A256KW"),
        (OKP, "ECDH-ES"),
        (OKP, "ECDH-ES+A256KW"),
    ],
)
@pytest.mark.parametrize("enc", jwe.ENCODINGS)
def test_who_holds_the_key_reads_what_was_encrypted(key: Any, alg: str, enc: str) -> None:
    found = jwe.find_key([public(key, kid="k")], alg)
    assert found is not None
    token = jwe.encrypt(b"content", found, alg=alg, enc=enc, cty="JWT")
    opened = library.decrypt_compact(token, key, algorithms=[alg, enc])
    assert opened.plaintext == b"content"
    assert (opened.protected["kid"], opened.protected["cty"]) == ("k", "JWT")
    assert jwe.encrypt(b"content", found, alg=alg, enc=enc) != token, "never the same twice"


@pytest.mark.parametrize(
    ("members", "alg"),
    [
        pytest.param(public(EC, use="sig"), "ECDH-ES", id="for signatures"),
        pytest.param(public(EC, key_ops=["verify"]), "ECDH-ES", id="for verifying"),
        pytest.param(public(EC, key_ops="deriveKey"), "ECDH-ES", id="malformed key_ops"),
        pytest.param(public(EC, alg="ECDH-ES+A128KW"), "ECDH-ES", id="for another algorithm"),
        pytest.param(public(EC), "RSA-OAEP-256", id="of another type"),
        pytest.param(public(ECKey.generate_key("secp256k1")), "ECDH-ES", id="on another curve"),
        pytest.param(public(OKPKey.generate_key("Ed25519")), "ECDH-ES", id="that can only sign"),
        pytest.param({**public(EC), "y": public(EC)["x"]}, "ECDH-ES", id="off the curve"),
        pytest.param({**public(RSA), "n": b64encode(b"\xff" * 128)}, "RSA-OAEP-256", id="of 1024 bits"),
        pytest.param({"kty": "RSA", "n": "", "e": ""}, "RSA-OAEP-256", id="empty"),
        pytest.param({"kty": "EC"}, "ECDH-ES", id="incomplete"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": 1, "y": 2}, "ECDH-ES", id="of numbers"),
        pytest.param(OctKey.generate_key(256).as_dict(), "ECDH-ES", id="symmetric"),
        pytest.param({}, "ECDH-ES", id="nothing"),
    ],
)
def test_nothing_is_encrypted_to_a_key(members: dict[str, object], alg: str) -> None:
    good = {"RSA-OAEP-256": public(RSA), "ECDH-ES": public(EC)}[alg]
    assert jwe.find_key([members], alg) is None
    assert jwe.find_key([members, good], alg) == good


@pytest.mark.parametrize(
    ("key", "alg", "operations"),
    [
        (EC, "ECDH-ES", ["deriveKey"]),
        (OKP, "ECDH-ES", ["x", "deriveBits"]),
        (RSA, "RSA-OAEP-256", ["wrapKey"]),
    ],
)
def test_a_key_may_say_that_it_is_for_encryption(key: Any, alg: str, operations: list[str]) -> None:
    """RFC 7517 §4.2, §4.3: by its use, its operations, or both."""
    for members in ({"use": "enc"}, {"key_ops": operations}, {"use": "enc", "key_ops": operations}):
        document = public(key, **members)
        assert jwe.find_key([document], alg) == document


def test_a_private_part_is_never_used() -> None:
    found = jwe.find_key([EC.as_dict(private=True)], "ECDH-ES")
    assert found is not None
    token = jwe.encrypt(b"content", found, alg="ECDH-ES", enc="A128GCM")
    assert library.decrypt_compact(token, EC, algorithms=["ECDH-ES", "A128GCM"]).plaintext == b"content"


def test_a_point_of_small_order_is_an_error_and_no_crash() -> None:
    weak = {"kty": "OKP", "crv": "X25519", "x": b64encode(bytes(32))}
    with pytest.raises(JoseError):
        jwe.encrypt(b"content", weak, alg="ECDH-ES", enc="A128GCM")


@pytest.mark.parametrize(("alg", "enc"), [("RSA1_5", "A128GCM"), ("dir", "A128GCM"), ("ECDH-ES", "A192GCM")])
def test_no_other_algorithm_is_used(alg: str, enc: str) -> None:
    with pytest.raises(JoseError):
        jwe.encrypt(b"content", public(EC), alg=alg, enc=enc)
