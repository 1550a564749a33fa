"""RFC 7800: what another issuer's token says of the key or certificate that it is bound to."""

import time

import pytest
from tests.fixtures.other_issuer import OtherIssuer, ask, other, refusal

from watchword.guard import Guard

API = "https://api.example.com"
OPAQUE = "an-opaque-token-of-theirs"
__all__ = ["other"]


@pytest.mark.parametrize("opaque", [False, True], ids=["a JWT", "introspected"])
async def test_a_token_that_does_not_say_properly_to_what_it_is_bound_is_nobodys(
    other: OtherIssuer, opaque: bool
) -> None:
    guard = Guard(other.issuer, audience=API, cache_seconds=0)

    def token(cnf: object) -> str:
        more = {} if cnf is None else {"cnf": cnf}
        claims = {"active": True, "sub": "them", "aud": API, "exp": int(time.time()) + 60, **more}
        other.documents["/introspect"] = claims
        return OPAQUE if opaque else other.token(**more)

    for unbound in (None, {}, {"kid": "of a key that the API does not know"}):
        assert (await ask(guard, token(unbound))).jkt is None
    for bound in ({"jkt": "a" * 43}, {"x5t#S256": "a" * 43}, {"jkt": ""}, {"x5t#S256": ""}):
        assert await refusal(guard, token(bound)) == 401
    for malformed in (
        "a",
        ["a"],
        5,
        True,
        {"jkt": 5},
        {"jkt": None},
        {"x5t#S256": None},
        {"kid": "k", "jkt": {}},
    ):
        assert await refusal(guard, token(malformed)) == 401, malformed
    await guard.close()
