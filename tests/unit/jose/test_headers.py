"""RFC 7515 §4.1: what the header of a signed token may say."""

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
