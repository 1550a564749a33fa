"""A client proves itself with an assertion for this issuer, once and shortly (CA rows, CL-06)."""

from typing import Any

import pytest

from watchword.jose import jwk, jws, jwt
from watchword.jose.strict_json import encode
from watchword.oauth import assertion
from watchword.oauth.assertion import CheckedAssertion
from watchword.oauth.errors import OAuthError

NOW = 1_800_000_000
ISSUER = "https://as.example"
KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")
CLAIMS: dict[str, object] = {"iss": "app", "sub": "app", "aud": ISSUER, "exp": NOW + 60, "jti": "j"}


def made(*, key: jwk.Key = KEY, typ: str | None = "JWT", **change: Any) -> str:
    """Make an assertion with some claims changed, or left out where None."""
    return jwt.encode(
        key, {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}, typ=typ
    )


def check(
    token: str, *, keys: list[jwk.Key] | None = None, fapi: bool = False, algorithm: str | None = None
) -> CheckedAssertion:
    """Check an assertion of the client, which may have registered its algorithm."""
    return assertion.check_client_assertion(
        token,
        keys=[KEY] if keys is None else keys,
        client_id="app",
        issuer=ISSUER,
        fapi=fapi,
        algorithm=algorithm,
        now=NOW,
    )


@pytest.mark.parametrize("signer", [KEY, jwk.generate("EdDSA")], ids=lambda key: key.alg)
def test_whoever_registered_an_algorithm_signs_with_no_other(signer: jwk.Key) -> None:
    for said in ("ES256", "EdDSA", "Ed25519"):
        token, fits = made(key=signer), (said == "ES256") == (signer is KEY)
        if fits:
            assert check(token, keys=[signer], algorithm=said).jti == "j"
            continue
        with pytest.raises(OAuthError) as refused:
            check(token, keys=[signer], algorithm=said)
        assert refused.value.code == "invalid_client"


@pytest.mark.parametrize(("said", "fapi"), [("none", False), ("HS256", False), ("RS256", True), ("", False)])
def test_an_algorithm_that_proves_nothing_is_not_registered(said: str, fapi: bool) -> None:
    assert assertion.registered("ES256", fapi) == "ES256"
    with pytest.raises(OAuthError) as refused:
        assertion.registered(said, fapi)
    assert (refused.value.code, refused.value.field) == (
        "invalid_client_metadata",
        "token_endpoint_auth_signing_alg",
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="in order"),
        pytest.param({"typ": None}, id="without type"),
        pytest.param({"typ": "client-authentication+jwt"}, id="with its explicit type"),
        pytest.param({"iat": NOW + 10, "nbf": NOW + 10}, id="of a clock ten seconds ahead"),
        pytest.param({"iat": NOW + 60}, id="of a clock a minute ahead"),
        pytest.param({"exp": NOW + 600}, id="of ten minutes"),
    ],
)
def test_an_assertion_is_accepted_that_is(change: dict[str, Any]) -> None:
    found = check(made(**change), fapi=True)
    assert found.jti == "j"
    assert found.expires_at >= NOW + 60


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"aud": "https://other.example"}, id="CA-02 for another server"),
        pytest.param({"aud": None}, id="CA-02 for no server"),
        pytest.param({"aud": [ISSUER]}, id="CA-02 for a list"),
        pytest.param({"aud": [ISSUER, ISSUER + "/oauth/token"]}, id="CA-02 for a longer list"),
        pytest.param({"aud": {"x": ISSUER}}, id="CA-02 for an object"),
        pytest.param({"aud": ISSUER + "/oauth/token"}, id="CL-06 for the token endpoint"),
        pytest.param({"aud": ISSUER + "/"}, id="CL-06 for the issuer with a slash"),
        pytest.param(
            {"aud": "https://as.example/tenant2/oauth/token"}, id="CL-06 for another issuer's endpoint"
        ),
        pytest.param({"exp": NOW - 31}, id="CA-02 that has expired"),
        pytest.param({"exp": None}, id="CA-02 that never expires"),
        pytest.param({"exp": NOW + 315_360_000}, id="CA-02 that lives ten years"),
        pytest.param({"exp": str(NOW + 60)}, id="with an expiry that is text"),
        pytest.param({"nbf": NOW + 90}, id="CA-02 whose time has not come"),
        pytest.param({"iss": "other"}, id="CA-02 whose issuer is another"),
        pytest.param({"sub": "other"}, id="CA-02 whose subject is another"),
        pytest.param({"iss": None}, id="without issuer"),
        pytest.param({"jti": None}, id="CA-02 without jti"),
        pytest.param({"jti": ""}, id="with an empty jti"),
        pytest.param({"jti": "x" * 257}, id="with a long jti"),
        pytest.param({"jti": 5}, id="with a jti that is a number"),
        pytest.param({"typ": "at+jwt"}, id="that is an access token"),
        pytest.param({"typ": "dpop+jwt"}, id="that is a proof"),
        pytest.param({"typ": "oauth-authz-req+jwt"}, id="that is a request object"),
        pytest.param({"key": OTHER}, id="CA-04 of another key"),
    ],
)
def test_an_assertion_is_refused(change: dict[str, Any]) -> None:
    check(made())
    with pytest.raises(OAuthError) as caught:
        check(made(**change))
    assert caught.value.code == "invalid_client"
    assert caught.value.description == "Client authentication failed."


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param({"exp": NOW + 630}, {"exp": NOW + 631}, id="its life by FAPI"),
        pytest.param({"exp": NOW - 29}, {"exp": NOW - 30}, id="its expiry"),
        pytest.param({"nbf": NOW + 30}, {"nbf": NOW + 31}, id="its beginning"),
        pytest.param({"iat": NOW + 60}, {"iat": NOW + 61}, id="a clock ahead by FAPI"),
        pytest.param({"jti": "x" * 256}, {"jti": "x" * 257}, id="the length of its jti"),
    ],
)
def test_an_assertion_is_accepted_up_to_the_limit_of(last: dict[str, Any], beyond: dict[str, Any]) -> None:
    check(made(**last), fapi=True)
    with pytest.raises(OAuthError, match="invalid_client"):
        check(made(**beyond), fapi=True)


def test_an_assertion_lives_an_hour_at_most_and_ten_minutes_by_fapi() -> None:
    assert check(made(exp=NOW + 3600)).expires_at > NOW + 3600, "as libraries in wide use make them"
    for token, fapi in ((made(exp=NOW + 3700), False), (made(exp=NOW + 3600), True)):
        with pytest.raises(OAuthError, match="invalid_client"):
            check(token, fapi=fapi)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", "HS256", "HS512"])
def test_ca_03_no_other_algorithm_is_accepted(alg: str) -> None:
    header = jwk.b64encode(encode({"alg": alg, "typ": "JWT"}))
    with pytest.raises(OAuthError, match="invalid_client"):
        check(f"{header}.{made().split('.')[1]}.")


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": jwk.public_document(OTHER)},
        {"jku": "http://127.0.0.1/jwks"},
        {"x5u": "http://127.0.0.1/x"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
    ],
    ids=lambda header: ", ".join(header),
)
def test_ca_04_ca_05_a_key_or_demand_in_the_header_changes_nothing(header: dict[str, object]) -> None:
    with pytest.raises(OAuthError, match="invalid_client"):
        check(jws.sign(OTHER, header, encode(CLAIMS)))


def test_fapi_takes_no_pkcs1_signatures() -> None:
    rsa = jwk.generate("RS256")
    assert check(made(key=rsa), keys=[rsa]).jti == "j"
    with pytest.raises(OAuthError, match="invalid_client"):
        check(made(key=rsa), keys=[rsa], fapi=True)


def test_cl_07_a_client_without_keys_is_nobody() -> None:
    with pytest.raises(OAuthError, match="invalid_client"):
        check(made(), keys=[])


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "..",
        "a.b.c",
        "a.b.c.d",
        "\ud800.a.b",
        "é.é.é",
        "." * 1000,
        "a" * 700_000,
        jwk.b64encode(DEEP.encode()) + ".e30.",
        jwk.b64encode(b'{"alg":"ES256"}') + "." + jwk.b64encode(b'{"exp":' + b"1" * 5000 + b"}") + ".AA",
        jwk.b64encode(b'{"alg":"ES256"}') + "." + jwk.b64encode(b'{"sub":"\\ud800"}') + ".AA",
        jwk.b64encode(b'{"alg":"ES256"}') + "." + jwk.b64encode(b'{"sub":"a","sub":"b"}') + ".AA",
        jwk.b64encode(b'{"alg":"ES256"}') + "." + jwk.b64encode(b'{"exp":NaN}') + ".AA",
    ],
    ids=lambda token: ascii(token[:20]),
)
def test_ca_06_garbage_is_refused(token: str) -> None:
    assert assertion.peek_subject(token) is None
    with pytest.raises(OAuthError, match="invalid_client"):
        check(token)


def test_the_client_is_found_by_an_unverified_subject() -> None:
    assert assertion.peek_subject(made(key=OTHER)) == "app"
    assert assertion.peek_subject(made(sub="")) is None
