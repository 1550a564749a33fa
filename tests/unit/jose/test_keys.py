"""RFC 7517, RFC 7518 §6: what a key must say to be one, for signatures and for the algorithm that it is used with."""

import math
from typing import Any

import pytest

from watchword.jose import JoseError, jwk

EC, OKP, RSA = (jwk.private_document(jwk.generate(alg)) for alg in ("ES256", "EdDSA", "RS256"))
OTHER_EC, OTHER_OKP = (jwk.private_document(jwk.generate(alg)) for alg in ("ES256", "EdDSA"))

PUBLIC = ("kty", "crv", "x", "y", "n", "e", "alg", "kid")


def padded(number: str) -> str:
    """Return a number with a zero octet before it."""
    return jwk.b64encode(b"\0" + jwk.b64decode(number))


@pytest.mark.parametrize(
    ("document", "change"),
    [
        pytest.param(EC, {"kid": ""}, id="an empty name"),
        pytest.param(EC, {"kid": 7}, id="a name that is no text"),
        pytest.param(EC, {"kid": "k" * (jwk.MAX_KID + 1)}, id="a name that is too long"),
        pytest.param(EC, {"alg": 256}, id="an algorithm that is no text"),
        pytest.param(OKP, {"alg": ["EdDSA"]}, id="a list of algorithms"),
        pytest.param(EC, {"use": "enc"}, id="a key for encryption"),
        pytest.param(EC, {"use": "enc", "key_ops": ["verify"]}, id="a key for encryption that says both"),
        pytest.param(EC, {"key_ops": ["encrypt"]}, id="operations that are none of signatures"),
        pytest.param(EC, {"key_ops": "verify"}, id="operations that are no list"),
        pytest.param(EC, {"d": OTHER_EC["d"]}, id="the private part of another key"),
        pytest.param(OKP, {"d": OTHER_OKP["d"]}, id="the private part of another key of Ed25519"),
        pytest.param(OKP, {"crv": "X25519"}, id="a curve for key agreement"),
        pytest.param(OKP, {"x": ""}, id="an empty coordinate"),
        pytest.param(RSA, {"n": padded(RSA["n"])}, id="a modulus with a zero octet before it"),
        pytest.param(RSA, {"e": padded(RSA["e"])}, id="an exponent with a zero octet before it"),
        pytest.param(RSA, {"e": jwk.b64encode(b"\x01")}, id="an exponent of one"),
        pytest.param(RSA, {"e": jwk.b64encode(b"\x01\x00\x00")}, id="an even exponent"),
        pytest.param(RSA, {"e": jwk.b64encode(b"\x01" * 9)}, id="an exponent that is too large"),
    ],
)
def test_it_is_no_key_for_signatures_with(document: dict[str, Any], change: dict[str, Any]) -> None:
    public = {
        name: value for name, value in document.items() if name in ("kty", "crv", "x", "y", "n", "e", "alg")
    }
    assert jwk.parse(document).private is not None
    assert jwk.parse(public).private is None
    for kept in (public, document) if "d" not in change else (document,):
        with pytest.raises(JoseError):
            jwk.parse(kept | change)


@pytest.mark.parametrize("operations", [["sign"], ["verify"], ["sign", "verify"]])
def test_it_may_say_that_it_is_for_signatures(operations: list[str]) -> None:
    assert jwk.parse(EC | {"key_ops": operations, "use": "sig"}).alg == "ES256"


def test_it_is_for_its_own_algorithm_whatever_is_asked() -> None:
    open_to_all = {name: value for name, value in RSA.items() if name != "alg"}
    assert jwk.parse(open_to_all, "PS256").alg == "PS256"
    assert jwk.parse(RSA | {"alg": "PS256"}, "PS256").alg == "PS256"
    with pytest.raises(JoseError, match="algorithm"):
        jwk.parse(RSA | {"alg": "RS256"}, "PS256")


def test_a_set_has_a_bounded_number_of_keys_and_each_is_an_object() -> None:
    assert len(jwk.parse_set({"keys": [jwk.public_document(jwk.parse(EC))] * jwk.MAX_KEYS})) == jwk.MAX_KEYS
    refused: list[tuple[object, str]] = [
        ([EC] * (jwk.MAX_KEYS + 1), "more than 100 keys"),
        ({"0": EC}, "malformed"),
        ([EC, "a key"], "malformed"),
        ([EC, EC | {"kty": ["EC"]}], "malformed"),
    ]
    for keys, reason in refused:
        with pytest.raises(JoseError, match=reason):
            jwk.parse_set({"keys": keys})


def test_a_modulus_with_the_marks_of_a_flawed_library_is_no_key() -> None:
    """CVE-2017-15361: one of the marks is to be 1 modulo each of certain small primes."""
    product = math.prod((11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157))
    marked = 1 + product * (2**2047 // product + 2 & ~1)

    def parse(modulus: int) -> jwk.Key:
        assert (modulus.bit_length(), modulus % 2) == (2048, 1)
        return jwk.parse({"kty": "RSA", "e": "AQAB", "n": jwk.b64encode(modulus.to_bytes(256, "big"))})

    assert parse(marked + 2).alg == "RS256"
    with pytest.raises(JoseError, match="key"):
        parse(marked)


@pytest.mark.parametrize(
    ("document", "unknown"),
    [
        pytest.param(EC, {"crv": "secp256k1"}, id="another curve"),
        pytest.param(OKP, {"crv": "Ed448"}, id="another curve of Edwards"),
        pytest.param(EC, {"alg": "ECDH-ES"}, id="a key for encryption on a curve that signs as well"),
        pytest.param(RSA, {"alg": "RSA-OAEP"}, id="an RSA key for encryption"),
    ],
)
def test_a_key_for_what_is_not_supported_stands_in_nobodys_way(
    document: dict[str, Any], unknown: dict[str, str]
) -> None:
    """RFC 7517 §5: an unknown algorithm or curve makes one key of a set unusable, not the set."""
    keys = [document | {"kid": "one"}, document | {"kid": "two"} | unknown]
    public = [{name: value for name, value in key.items() if name in PUBLIC} for key in keys]
    assert {key.kid for key in jwk.parse_set({"keys": public})} == {"one"}


@pytest.mark.parametrize("document", [EC, OKP, RSA], ids=["EC", "OKP", "RSA"])
def test_of_what_others_send_the_private_part_is_not_looked_at(document: dict[str, Any]) -> None:
    """Of the largest RSA key, to check it keeps the whole process from working for a quarter of a minute."""
    wrong = document | {name: "AQ" for name in ("d", "p", "q") if name in document}
    with pytest.raises(JoseError):
        jwk.parse(wrong)
    for keys in (jwk.parse_set({"keys": [wrong]}), jwk.parse_published({"keys": [wrong]})):
        assert [(key.thumbprint, key.private) for key in keys] == [(jwk.parse(document).thumbprint, None)]
    assert jwk.parse_set({"keys": [document]}, is_private=True)[0].private is not None
