"""An enterprise's provider speaks for its people, to one client and one server (ID-JAG)."""

from typing import Any

import pytest

from watchword.jose import jwk, jwt
from watchword.oauth import identity_assertion
from watchword.oauth.errors import OAuthError
from watchword.oauth.identity_assertion import IdentityAssertion

NOW = 1_800_000_000
PROVIDER, ISSUER = "https://idp.example", "https://as.example"
KEY = jwk.generate("ES256")
CLAIMS: dict[str, object] = {
    "iss": PROVIDER,
    "sub": "u1",
    "aud": ISSUER,
    "client_id": "agent",
    "jti": "j",
    "exp": NOW + 300,
    "iat": NOW,
    "scope": "read write",
    "resource": "https://mcp.example",
    "email": "alice@example.com",
}


def check(*, typ: str | None = "oauth-id-jag+jwt", key: jwk.Key = KEY, **change: Any) -> IdentityAssertion:
    """Check an assertion with some claims changed, or left out where None."""
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}
    return verified(jwt.encode(key, claims, typ=typ))


def verified(assertion: str) -> IdentityAssertion:
    """Check an assertion as it is."""
    return identity_assertion.check(
        assertion,
        keys=[KEY],
        provider=PROVIDER,
        issuer=ISSUER,
        client_id="agent",
        algorithms=("ES256",),
        now=NOW,
    )


def test_a_good_assertion_names_person_scope_and_resource() -> None:
    found = check()
    assert (found.issuer, found.subject, found.jti) == (PROVIDER, "u1", "j")
    assert found.scope == ("read", "write")
    assert found.resources == ("https://mcp.example",)
    assert found.email == "alice@example.com"
    assert found.expires_at > NOW + 300


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"typ": "JWT"}, id="that is an ID token"),
        pytest.param({"typ": None}, id="without type"),
        pytest.param({"typ": "at+jwt"}, id="that is an access token"),
        pytest.param({"key": jwk.generate("ES256")}, id="of another key"),
        pytest.param({"cnf": {"jkt": "a key"}}, id="for a key that was not proven"),
        pytest.param({"iss": "https://evil.example"}, id="of another provider"),
        pytest.param({"aud": "https://other.example"}, id="for another server"),
        pytest.param({"aud": [ISSUER, "https://other.example"]}, id="for several servers"),
        pytest.param({"client_id": "other"}, id="for another client"),
        pytest.param({"client_id": None}, id="for no client"),
        pytest.param({"exp": NOW - 60}, id="that has expired"),
        pytest.param({"exp": NOW + 3600}, id="that lives too long"),
        pytest.param({"exp": None}, id="that never expires"),
        pytest.param({"iat": NOW + 600}, id="of the future"),
        pytest.param({"jti": None}, id="without jti"),
        pytest.param({"jti": "x" * 300}, id="with a long jti"),
        pytest.param({"sub": ""}, id="about nobody"),
        pytest.param({"resource": [1]}, id="with a resource that is a number"),
        pytest.param({"scope": ["read"]}, id="with a list for a scope"),
    ],
)
def test_no_assertion_is_accepted(change: dict[str, Any]) -> None:
    check()
    with pytest.raises(OAuthError) as caught:
        check(**change)
    assert caught.value.code == "invalid_grant"


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param({"exp": NOW + 630}, {"exp": NOW + 631}, id="its life"),
        pytest.param({"exp": NOW - 29}, {"exp": NOW - 30}, id="its expiry"),
        pytest.param({"iat": NOW + 90}, {"iat": NOW + 91}, id="a clock ahead"),
        pytest.param({"jti": "x" * 256}, {"jti": "x" * 257}, id="the length of its jti"),
        pytest.param({"jti": "x"}, {"jti": ""}, id="a jti that is there"),
        pytest.param({"sub": "x" * 256}, {"sub": "x" * 257}, id="the length of its subject"),
    ],
)
def test_an_assertion_is_accepted_up_to_the_limit_of(last: dict[str, Any], beyond: dict[str, Any]) -> None:
    check(**last)
    with pytest.raises(OAuthError, match="invalid_grant"):
        check(**beyond)


def test_a_malformed_hint_is_no_hint() -> None:
    assert check(email=5, acr=[], auth_time=True).email is None


@pytest.mark.parametrize("said", [False, None, "false", "true", 0, 1])
def test_fd_01_an_address_that_the_provider_has_not_verified_finds_nobody(said: object) -> None:
    assert check(email_verified=True).email == check().email == "alice@example.com"
    unverified = CLAIMS | {"email_verified": said}
    assertion = jwt.encode(KEY, unverified, typ="oauth-id-jag+jwt")
    assert verified(assertion).email is None


@pytest.mark.parametrize(
    ("told", "known"), [(NOW - 60, NOW - 60), (NOW + 86_400, NOW), (-1, None), (True, None), ("now", None)]
)
def test_nobody_has_signed_in_after_now(told: object, known: int | None) -> None:
    assert check(auth_time=told).auth_time == known
