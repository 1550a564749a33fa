"""Whose word becomes a token, and how exactly it must be given (TK-15)."""

from typing import Any

import pytest
from msgspec import structs

from watchword.jose import jwk, jwt
from watchword.oauth import trust
from watchword.oauth.errors import OAuthError
from watchword.oauth.trust import Trusted, TrustRule

NOW = 1_800_000_000
CI = "https://ci.example"
AUDIENCE = "https://as.example"
KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")
RULE = TrustRule(
    name="deploy",
    issuer=CI,
    audience=AUDIENCE,
    claims={"repository": "acme/*", "ref": "refs/heads/main"},
    scope=("deploy", "read"),
    subject="ci:{repository}:{run}",
)
NEVER = structs.replace(RULE, name="strict", algorithms=("EdDSA",))
CLAIMS: dict[str, object] = {
    "iss": CI,
    "sub": "repo:acme/app:ref:refs/heads/main",
    "aud": AUDIENCE,
    "exp": NOW + 300,
    "iat": NOW,
    "jti": "j1",
    "repository": "acme/app",
    "ref": "refs/heads/main",
    "run": 17,
}


def check(
    *, rules: tuple[TrustRule, ...] = (RULE,), key: jwk.Key = KEY, typ: str | None = "JWT", **change: Any
) -> Trusted:
    """Check an assertion with some claims changed, or left out where None."""
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}
    return trust.check_assertion(jwt.encode(key, claims, typ=typ), rules, [KEY], now=NOW)


def refused(**change: Any) -> OAuthError:
    """Return the error of a changed assertion."""
    check()
    with pytest.raises(OAuthError) as caught:
        check(**change)
    return caught.value


def test_a_job_gets_what_its_rule_grants() -> None:
    found = check()
    assert found.rule is RULE
    assert found.subject == "ci:acme/app:17"
    assert found.scope == ("deploy", "read")
    assert found.jti == "j1"
    assert found.used_until > NOW + 300


@pytest.mark.parametrize(
    ("subject", "one", "other"),
    [
        ("ci:{repository}:{run}", ("acme/app", "prod:eu"), ("acme/app:prod", "eu")),
        ("ci:{repository}::{run}", ("acme/app", ":eu"), ("acme/app:", "eu")),
    ],
)
def test_two_jobs_are_never_one_subject(subject: str, one: tuple[str, str], other: tuple[str, str]) -> None:
    rules = (structs.replace(RULE, subject=subject),)
    between = subject.removeprefix("ci:{repository}").removesuffix("{run}")
    assert other[0] + between + other[1] == one[0] + between + one[1]
    found = check(rules=rules, repository=one[0], run=one[1])
    assert found.subject == f"ci:{one[0]}{between}{one[1]}"
    error = refused(rules=rules, repository=other[0], run=other[1])
    assert error.code == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"iss": "https://other.example"}, id="TK-15 an unknown issuer"),
        pytest.param({"iss": CI + "/"}, id="nearly the issuer"),
        pytest.param({"aud": "https://other.example"}, id="TK-15 another audience"),
        pytest.param({"aud": [AUDIENCE, "https://other.example"]}, id="several audiences"),
        pytest.param({"aud": None}, id="no audience"),
        pytest.param({"sub": None}, id="no subject"),
        pytest.param({"jti": None}, id="no jti"),
        pytest.param({"jti": ""}, id="an empty jti"),
        pytest.param({"exp": None}, id="no expiry"),
        pytest.param({"exp": NOW - 31}, id="an expired assertion"),
        pytest.param({"exp": NOW + 86_400}, id="a life that is too long"),
        pytest.param({"nbf": NOW + 100}, id="a time that has not come"),
        pytest.param({"repository": "evil/app"}, id="another repository"),
        pytest.param({"repository": "acme/app/sub"}, id="a star across a slash"),
        pytest.param({"repository": "xacme/app"}, id="a pattern that would match inside"),
        pytest.param({"repository": None}, id="a missing claim"),
        pytest.param({"repository": {"a": "acme/x"}}, id="a claim that is an object"),
        pytest.param({"repository": "acme/a b"}, id="a claim that cannot stand in a subject"),
        pytest.param({"repository": "acme/" + "a" * 300}, id="a subject that would be too long"),
        pytest.param({"ref": "refs/heads/main\n"}, id="a trailing line feed"),
        pytest.param({"ref": "refs/heads/maín"}, id="a look-alike"),
        pytest.param({"run": None}, id="a claim that the subject needs"),
        pytest.param({"typ": "at+jwt"}, id="an access token"),
        pytest.param({"typ": "oauth-id-jag+jwt"}, id="an identity assertion"),
        pytest.param({"key": OTHER}, id="another key"),
        pytest.param({"cnf": {"jkt": "a key"}}, id="a key that was not proven"),
        pytest.param({"rules": ()}, id="no rule"),
        pytest.param(
            {"rules": (structs.replace(RULE, algorithms=("EdDSA",)),)}, id="an algorithm that is not trusted"
        ),
    ],
)
def test_an_assertion_is_refused_for(change: dict[str, Any]) -> None:
    assert refused(**change).code == "invalid_grant"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"aud": "https://github.com/acme"}, "deploy: aud"),  # what a CI names unless it is told otherwise
        ({"exp": NOW + 86_400}, "deploy: exp"),
        ({"repository": "evil/app", "ref": "refs/heads/dev"}, "deploy: repository, ref"),
        ({"rules": (NEVER, structs.replace(RULE, claims={"ref": "x"}))}, "strict: alg; deploy: ref"),
        (
            {"ref": "x", "rules": (RULE, structs.replace(RULE, name="any", audience=CI))},
            "deploy: ref; any: aud, ref",
        ),
    ],
)
def test_operators_are_told_what_did_not_match(change: dict[str, Any], why: str) -> None:
    error = refused(**change)
    assert (error.code, error.detail) == ("invalid_grant", f"assertion: no trust rule matches [{why}]")
    assert error.description == "The assertion is not accepted."


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param({"exp": NOW + 3630}, {"exp": NOW + 3631}, id="the life that its rule allows"),
        pytest.param({"exp": NOW - 29}, {"exp": NOW - 30}, id="its expiry"),
        pytest.param({"nbf": NOW + 30}, {"nbf": NOW + 31}, id="its beginning"),
        pytest.param({"jti": "x" * 256}, {"jti": "x" * 257}, id="the length of its jti"),
        pytest.param({"run": "x" * 243}, {"run": "x" * 244}, id="the length of its subject"),
    ],
)
def test_an_assertion_is_accepted_up_to_the_limit_of(last: dict[str, Any], beyond: dict[str, Any]) -> None:
    check(**last)
    assert refused(**beyond).code == "invalid_grant"


def test_the_audience_may_be_a_list_of_one() -> None:
    assert check(aud=[AUDIENCE]).rule is RULE


def test_a_rule_counts_only_for_its_own_algorithms() -> None:
    strict = structs.replace(RULE, name="strict", algorithms=("EdDSA",), scope=("admin",))
    ed25519 = jwk.generate("EdDSA")
    rules, keys = (strict, RULE), [KEY, ed25519]
    found = [trust.check_assertion(jwt.encode(key, CLAIMS), rules, keys, now=NOW) for key in (ed25519, KEY)]
    assert [one.scope for one in found] == [("admin",), RULE.scope]


@pytest.mark.parametrize("token", ["", "a.b.c", "\ud800.a.b", "." * 99, "a" * 50_000])
def test_garbage_is_refused(token: str) -> None:
    assert trust.peek_issuer(token) is None
    with pytest.raises(OAuthError, match="invalid_grant"):
        trust.check_assertion(token, [RULE], [KEY], now=NOW)


def test_the_first_rule_that_matches_counts() -> None:
    narrow = structs.replace(RULE, name="main", claims={"ref": "refs/heads/release"}, scope=("release",))
    assert check(rules=(narrow, RULE)).rule is RULE
    assert check(rules=(narrow, RULE), ref="refs/heads/release", repository="evil/x").scope == ("release",)


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("acme/*", "acme/app", True),
        ("**", "a/b/c", True),
        ("repo:acme/app:**", "repo:acme/app:ref:refs/heads/x", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("true", True, True),
        ("1", True, False),
        ("42", 42, True),
        ("dev", ["ops", "dev"], True),
        ("dev", ["ops", ["dev"]], False),
        ("dev", None, False),
        ("*", "a/b", False),
        ("*", "x" * 1001, False),
        ("*a*a*a*a*a*a*ab", "a" * 1000, False),
        ("**a*b", "a/ab", True),
        ("a**", "a", True),
        ("é*", "éx", True),
        ("a*", "b", False),
    ],
)
def test_a_pattern(pattern: str, value: object, matches: bool) -> None:
    rule = structs.replace(RULE, claims={"c": pattern}, subject="x")
    if matches:
        assert check(rules=(rule,), c=value).subject == "x"
    else:
        with pytest.raises(OAuthError):
            check(rules=(rule,), c=value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"claims": {}}, id="that trusts everybody of an issuer"),
        pytest.param({"claims": {"repository": "**", "ref": "*"}}, id="whose patterns say nothing"),
        pytest.param({"claims": {"repository": ""}}, id="with an empty pattern"),
        pytest.param({"claims": {"repository": "a" * 257}}, id="with a long pattern"),
        pytest.param({"claims": {"aud": "x", "repository": "a"}}, id="with a pattern for the audience"),
        pytest.param({"scope": ()}, id="that grants nothing"),
        pytest.param({"issuer": ""}, id="without issuer"),
        pytest.param({"max_lifetime": 0}, id="that trusts for no time"),
        pytest.param({"max_lifetime": 86_401}, id="that trusts for more than a day"),
        pytest.param({"subject": "ci:{repository}{run}"}, id="whose subject runs its claims together"),
        pytest.param({"subject": "ci:{"}, id="with a broken template"),
        pytest.param({"subject": ""}, id="without a subject"),
        pytest.param({"algorithms": ("HS256",)}, id="with a symmetric algorithm"),
    ],
)
def test_no_rule_is_kept(change: dict[str, Any]) -> None:
    for lifetime in (1, 86_400):
        assert trust.check_rule(structs.replace(RULE, max_lifetime=lifetime))
    with pytest.raises(OAuthError, match="invalid_request"):
        trust.check_rule(structs.replace(RULE, **change))
