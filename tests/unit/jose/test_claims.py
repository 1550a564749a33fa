"""RFC 7519 §4.1: what a claims set may say, signed or not."""

from typing import Any

import pytest

from watchword.jose import JoseError, jwk, jwt
from watchword.jose.jwt import MAX_DATE
from watchword.jose.strict_json import encode

KEY = jwk.generate("ES256")
HONEST: dict[str, Any] = {
    "iss": "a",
    "sub": "b",
    "aud": ["c", "d"],
    "exp": 2,
    "nbf": 1.5,
    "iat": 0,
    "jti": "e",
}


def unsigned(claims: object) -> str:
    """Return a token that says these things, with a signature by nobody."""
    return ".".join(map(jwk.b64encode, (b'{"alg":"ES256"}', encode(claims), bytes(64))))


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param([], id="a list"),
        pytest.param("text", id="a text"),
        pytest.param(None, id="null"),
        *(
            pytest.param({**HONEST, name: value}, id=f"{name} {value!r}")
            for name in ("iss", "sub", "jti")
            for value in (7, None, ["a"])
        ),
        *(
            pytest.param({**HONEST, "aud": value}, id=f"aud {value!r}")
            for value in (7, None, [7], ["c", None], {"c": 1}, [["c"]])
        ),
        *(
            pytest.param({**HONEST, name: value}, id=f"{name} {value!r}")
            for name in ("exp", "nbf", "iat")
            for value in (-1, MAX_DATE + 1, True, None, "1", [1])
        ),
    ],
)
def test_a_claims_set_is_refused_that_is_or_has(claims: object) -> None:
    """Who reads without trust, to find the keys, is as careful as who verifies."""
    last = {**HONEST, "exp": MAX_DATE, "aud": "c"}
    assert (jwt.peek(unsigned(HONEST)), jwt.peek(unsigned(last))) == (HONEST, last)
    with pytest.raises(JoseError, match="malformed"):
        jwt.peek(unsigned(claims))
    payload: Any = claims
    with pytest.raises(JoseError, match="malformed"):
        jwt.decode(jwt.encode(KEY, payload), [KEY], algorithms=["ES256"], typ=None, now=1)
