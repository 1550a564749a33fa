"""Tokens and userinfo say exactly what they should, and no mapping can change who is meant (AD-06, ID-02, UI-04)."""

import pytest
from tests.fixtures.rows import in_turn

from watchword.oauth import claims
from watchword.oauth.claims import Authentication
from watchword.oauth.claims_request import ClaimWish
from watchword.oauth.errors import OAuthError

NOW = 1_800_000_000
ISSUER = "https://as.example"
PERSON: dict[str, object] = {
    "name": "Alice",
    "nickname": "",
    "email": "a@example.com",
    "email_verified": False,
    "address": {},
    "phone_number": None,
    "department": "R&D",
    "sub": "admin",
    "roles": ["admin"],
}
KNOWN = {**claims.SCOPE_CLAIMS, "staff": ("department", "roles", "sub")}
ALICE = Authentication("alice", NOW - 10, "mfa", ("pwd", "otp"), "s1")


def test_an_id_token_says_who_when_and_how() -> None:
    assert claims.id_token_claims(
        ALICE, issuer=ISSUER, client_id="app", nonce="n", now=NOW, lifetime=300, alg="ES256"
    ) == {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "app",
        "exp": NOW + 300,
        "iat": NOW,
        "auth_time": NOW - 10,
        "nonce": "n",
        "acr": "mfa",
        "amr": ["pwd", "otp"],
        "sid": "s1",
    }


@pytest.mark.parametrize("nonce", ["x" * 500, "é \"'<>&\n%00"])
def test_id_02_a_nonce_is_echoed_exactly_or_absent(nonce: str) -> None:
    plain = Authentication("alice", NOW)
    common = {"issuer": ISSUER, "client_id": "app", "now": NOW, "lifetime": 300, "alg": "ES256"}
    assert claims.id_token_claims(plain, nonce=nonce, **common)["nonce"] == nonce  # type: ignore[arg-type]  # a table
    assert set(claims.id_token_claims(plain, nonce=None, **common)) == {  # type: ignore[arg-type]  # a table
        *("iss", "sub", "aud", "exp", "iat", "auth_time")
    }


def test_an_id_token_holds_only_what_was_asked_for_by_name() -> None:
    wishes = {"email": ClaimWish(), "name": ClaimWish(), "department": ClaimWish(), "sub": ClaimWish()}
    found = claims.id_token_claims(
        ALICE,
        issuer=ISSUER,
        client_id="app",
        nonce=None,
        now=NOW,
        lifetime=300,
        alg="ES256",
        person=PERSON,
        wishes=wishes,
        permitted=("email", "staff"),
        known=KNOWN,
    )
    assert found["email"] == "a@example.com"
    assert found["department"] == "R&D"
    assert "name" not in found
    assert found["sub"] == "alice"


@pytest.mark.parametrize(
    ("value", "alg", "expected"),
    [
        # OpenID Connect Core Appendix A.3 and A.4, both RS256
        ("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "RS256", "77QmUPtjPfzWtF2AnpK9RQ"),
        ("Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk", "RS256", "LDktKdoQak3Pk0cnXxCltA"),
    ],
)
def test_hashes_are_those_of_the_specification(value: str, alg: str, expected: str) -> None:
    assert claims.half_hash(value, alg) == expected


@pytest.mark.parametrize(("alg", "size"), [("ES256", 22), ("PS384", 32), ("ES512", 43), ("EdDSA", 43)])
def test_hashes_follow_the_algorithm(alg: str, size: int) -> None:
    found = claims.id_token_claims(
        ALICE,
        issuer=ISSUER,
        client_id="app",
        nonce=None,
        now=NOW,
        lifetime=1,
        alg=alg,
        access_token="t",
    )
    assert len(str(found["at_hash"])) == size


@pytest.mark.parametrize(
    ("scope", "wishes", "expected"),
    [
        pytest.param(("openid",), (), set(), id="UI-04 openid alone tells only the subject"),
        pytest.param(("openid", "profile"), (), {"name"}, id="profile"),
        pytest.param(("openid", "email"), (), {"email", "email_verified"}, id="email, false included"),
        pytest.param(("openid", "address", "phone"), (), set(), id="what is not known is left out"),
        pytest.param(("openid",), ("email",), {"email"}, id="by name, permitted by its scope"),
        pytest.param(("openid",), ("name",), set(), id="by name, not permitted"),
        pytest.param(("openid",), ("department",), {"department"}, id="a custom claim, by name"),
        pytest.param(
            ("openid", "staff"),
            (),
            {"department"},
            id="AD-06 a custom claim by its scope, reserved ones never",
        ),
        pytest.param(
            ("openid",), ("roles", "sub"), set(), id="AD-06 a reserved name is never a person's claim"
        ),
    ],
)
def test_userinfo_tells(scope: tuple[str, ...], wishes: tuple[str, ...], expected: set[str]) -> None:
    found = claims.userinfo_claims(
        "alice", PERSON, scope, dict.fromkeys(wishes, ClaimWish()), ("email", "staff"), KNOWN
    )
    assert found.pop("sub") == "alice"
    assert set(found) == expected


@pytest.mark.parametrize("name", ["department", "given_name", "https://example.com/claims/level", "x-team"])
def test_a_mapping_may_set(name: str) -> None:
    assert claims.check_custom_name(name) == name


@in_turn(
    "name",
    [
        *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "typ", "alg", "kid"),
        *("azp", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "s_hash", "sid", "sub_jwk"),
        *(
            "client_id",
            "scope",
            "scp",
            "cnf",
            "act",
            "may_act",
            "events",
            "toe",
            "txn",
            "active",
            "token_type",
        ),
        *("authorization_details", "status", "token_kind", "limited", "grant_id", "sid_grant", "username"),
        *("roles", "groups", "entitlements", "permissions", "is_admin", "tenant", "organization"),
        *("_claim_names", "_claim_sources", "_sd", "_sd_alg", "vct"),
        *("name", "preferred_username", "email", "email_verified", "phone_number_verified", "updated_at"),
        *("", "a b", "ä", "a\x00", "x" * 201, "\ud800"),
    ],
    ids=ascii,
)
def test_ad_06_a_mapping_may_not_set(name: str) -> None:
    with pytest.raises(OAuthError):
        claims.check_custom_name(name)


def access_token(**change: object) -> dict[str, object]:
    given: dict[str, object] = {
        "issuer": ISSUER,
        "subject": "alice",
        "audience": ("https://api.example",),
        "client_id": "app",
        "scope": ("read", "write"),
        "jti": "j",
        "now": NOW,
        "lifetime": 600,
    }
    return claims.access_token_claims(**{**given, **change})  # type: ignore[arg-type]  # a table of claims


def test_id_03_an_access_token_says_what_rfc_9068_demands() -> None:
    assert access_token(extra={"cnf": {"jkt": "x"}}) == {
        "iss": ISSUER,
        "sub": "alice",
        "aud": "https://api.example",
        "exp": NOW + 600,
        "iat": NOW,
        "jti": "j",
        "client_id": "app",
        "scope": "read write",
        "cnf": {"jkt": "x"},
    }
    assert access_token(audience=("a", "b"))["aud"] == ["a", "b"]


def test_ad_06_nothing_extra_overwrites_the_protocols_own() -> None:
    assert access_token(extra={"sub": "admin", "scope": "all", "aud": "x"}) == access_token()


@pytest.mark.parametrize("audience", [(), ("app",), ("https://api.example", "app")])
def test_id_03_an_access_token_is_never_meant_for_its_client(audience: tuple[str, ...]) -> None:
    with pytest.raises(OAuthError, match="invalid_target"):
        access_token(audience=audience)
