"""RFC 7515: what the header of a signed token may say, what form it has, and which key verifies it."""

import json

import pytest

from watchword.jose import JoseError, jwk, jws


def peek(**members: object) -> jws.Header:
    """Read the header of a token that says these things."""
    return jws.peek(".".join(map(jwk.b64encode, (json.dumps(members).encode(), b"{}", bytes(64)))))


@pytest.mark.parametrize("value", [7, None, True, ["a"], {"a": "b"}], ids=repr)
@pytest.mark.parametrize("name", ["alg", "kid", "typ", "cty"])
def test_a_name_that_is_no_text_is_refused(name: str, value: object) -> None:
    honest = {"alg": "ES256", "kid": "a", "typ": "JWT", "cty": "JWT"}
    header = peek(**honest)
    assert (header.alg, header.kid, header.typ, header.cty) == ("ES256", "a", "JWT", "JWT")
    with pytest.raises(JoseError, match="malformed"):
        peek(**{**honest, name: value})


@pytest.mark.parametrize("value", ["a key", 7, ["a"]], ids=repr)
def test_a_key_in_a_header_is_an_object(value: object) -> None:
    assert peek(alg="ES256", jwk={"kty": "EC"}).jwk == {"kty": "EC"}
    with pytest.raises(JoseError, match="malformed"):
        peek(alg="ES256", jwk=value)


@pytest.mark.parametrize("header", [b"[]", b'"alg"', b"7", b"null", b""], ids=repr)
def test_a_header_is_an_object(header: bytes) -> None:
    assert peek(alg="ES256").members == {"alg": "ES256"}
    with pytest.raises(JoseError, match="malformed"):
        jws.peek(".".join(map(jwk.b64encode, (header, b"{}", bytes(64)))))


def test_a_token_has_three_parts_of_ascii_and_a_bounded_length() -> None:
    key = jwk.generate("ES256")
    start = len(jws.sign(key, {}, b""))
    longest = jws.sign(key, {}, bytes((jws.MAX_TOKEN - start) * 3 // 4))
    assert jws.verify(longest, [key], ["ES256"])[0].alg == "ES256"
    head, payload, signature = longest.split(".")
    for token in (
        f"{head}.{payload}",
        f"{longest}.{signature}",
        f"{head}.é.{signature}",
        f"{head}.{payload}AAAA.{signature}",
    ):
        with pytest.raises(JoseError, match="malformed"):
            jws.verify(token, [key], ["ES256"])


@pytest.mark.parametrize("members", [{"crit": ["b64"], "b64": False}, {"crit": []}, {"b64": True}], ids=repr)
def test_no_extension_is_understood(members: dict[str, object]) -> None:
    """RFC 7515 §4.1.11, RFC 7797 §6."""
    with pytest.raises(JoseError, match="critical"):
        peek(alg="ES256", **members)


def test_a_key_verifies_by_its_own_name_and_algorithm_only() -> None:
    elliptic, rsa = jwk.generate("ES256", "a"), jwk.generate("RS256", "a")
    for key, change in ((elliptic, {"kid": "b"}), (rsa, {"kid": "b"}), (rsa, {"alg": "PS256"})):
        token = jws.sign(key, {}, b"x")
        assert jws.verify(token, [key], jws.NAMES)[1] == b"x"
        with pytest.raises(JoseError, match="signature"):
            jws.verify(token, [jwk.parse({**jwk.public_document(key), **change})], jws.NAMES)


@pytest.mark.parametrize("zeros", [(1, 0), (0, 1)], ids=["before R", "before S"])
def test_no_second_token_has_the_same_signature(zeros: tuple[int, int]) -> None:
    """RFC 7518 §3.4: R and S have their full size and no more."""
    key = jwk.generate("ES256")
    token = jws.sign(key, {}, b"x")
    assert jws.verify(token, [key], ["ES256"])[1] == b"x"
    start, _, last = token.rpartition(".")
    signature = jwk.b64decode(last)
    longer = bytes(zeros[0]) + signature[:32] + bytes(zeros[1]) + signature[32:]
    with pytest.raises(JoseError, match="signature"):
        jws.verify(f"{start}.{jwk.b64encode(longer)}", [key], ["ES256"])
