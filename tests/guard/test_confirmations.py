"""RFC 7800, RFC 7662: what another issuer says of a token: to which key or certificate it is bound, and whose it is."""

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


async def test_a_token_that_is_said_to_be_of_a_key_is_nobodys_without_it(other: OtherIssuer) -> None:
    """RFC 9449 §6.2: `token_type` is DPoP in an answer about a token that is bound to a key, which `cnf` names."""
    guard = Guard(other.issuer, audience=API, cache_seconds=0)

    def token(token_type: object, **more: object) -> str:
        claims = {"active": True, "sub": "them", "aud": API, "exp": int(time.time()) + 60}
        other.documents["/introspect"] = claims | {"token_type": token_type, **more}
        return OPAQUE

    for unbound in ("Bearer", "bearer", None, "access_token", 5):
        assert (await ask(guard, token(unbound))).jkt is None
    for bound in ({}, {"cnf": {}}, {"cnf": {"kid": "k"}}, {"cnf": None}):
        assert await refusal(guard, token("DPoP", **bound)) == 401, bound
        assert await refusal(guard, token("dpop", **bound)) == 401, bound
    await guard.close()


async def test_a_subject_that_is_null_is_none_and_no_name(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API, cache_seconds=0)
    for told, expected in (({"sub": "them"}, "them"), ({"sub": 7}, "7"), ({"sub": None}, ""), ({}, "")):
        other.documents["/introspect"] = {"active": True, "aud": API, **told}
        assert (await ask(guard, OPAQUE)).subject == expected
    await guard.close()
