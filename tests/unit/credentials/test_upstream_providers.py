"""Providers to sign in with: what their discovery documents may say, and GitHub, which has none. Row SS-02."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.credentials.providers import CALLBACK, ISSUER, METADATA, PROVIDER, reason

from watchword.credentials import upstream, upstream_discovery, upstream_github
from watchword.credentials.upstream import Identity, Provider, TokenAnswer


def discover(changes: dict[str, object], **options: Any) -> Provider:
    document = {name: value for name, value in (METADATA | changes).items() if value is not ...}
    return upstream_discovery.check_discovery(
        json.dumps(document).encode(), **{"issuer": ISSUER, "client_id": "us", **options}
    )


def test_a_discovery_document_describes_its_issuer() -> None:
    assert upstream_discovery.discovery_url(ISSUER) == f"{ISSUER}/.well-known/openid-configuration"
    assert (
        upstream_discovery.discovery_url("https://x.example/a/")
        == "https://x.example/a/.well-known/openid-configuration"
    )
    assert PROVIDER.algorithms == ("ES256", "RS256")
    assert PROVIDER.says_iss


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"issuer": "https://evil.example"}, "issuer", id="another issuer"),
        pytest.param({"issuer": ISSUER + "/"}, "issuer", id="a slash more"),
        pytest.param({"issuer": ...}, "issuer", id="no issuer"),
        pytest.param({"token_endpoint": "https://evil.example/token"}, "endpoint", id="another host"),
        pytest.param(
            {"token_endpoint": f"{ISSUER}.evil.example/token"}, "endpoint", id="a host that begins like it"
        ),
        pytest.param(
            {"token_endpoint": "https://login.example.com@evil.example/"}, "endpoint", id="user information"
        ),
        pytest.param(
            {"token_endpoint": "https://login.example.com\\@evil.example/"}, "endpoint", id="a backslash"
        ),
        pytest.param({"jwks_uri": "http://login.example.com/jwks"}, "endpoint", id="no TLS"),
        pytest.param({"jwks_uri": "https://169.254.169.254/"}, "endpoint", id="a metadata service"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, "endpoint", id="a file"),
        pytest.param({"jwks_uri": ...}, "endpoint", id="no keys"),
        pytest.param({"jwks_uri": 5}, "endpoint", id="a number"),
        pytest.param({"jwks_uri": f"{ISSUER}:99999/jwks"}, "endpoint", id="a port that does not exist"),
        pytest.param({"userinfo_endpoint": "https://evil.example/"}, "endpoint", id="userinfo elsewhere"),
        pytest.param({"authorization_endpoint": "javascript:alert(1)"}, "endpoint", id="a script"),
        pytest.param(
            {"authorization_endpoint": f"{ISSUER}/a\r\nSet-Cookie: x"}, "endpoint", id="a line break"
        ),
        pytest.param({"authorization_endpoint": f"{ISSUER}/a#b"}, "endpoint", id="a fragment"),
        pytest.param(
            {"id_token_signing_alg_values_supported": ["none", "HS256"]}, "discovery", id="no signature"
        ),
        pytest.param(
            {"id_token_signing_alg_values_supported": "ES256"}, "discovery", id="a text of algorithms"
        ),
    ],
)
def test_a_discovery_document_that_leads_elsewhere_is_refused(
    changes: dict[str, object], expected: str
) -> None:
    """SS-02."""
    assert discover({})
    assert reason(lambda: discover(changes)) == expected


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"null", b"\xff", b"{" * 100_000, b'{"issuer":1,"issuer":2}', b" " * 70_000]
)
def test_what_is_no_discovery_document_is_refused(document: bytes) -> None:
    """SS-02."""
    found = reason(lambda: upstream_discovery.check_discovery(document, issuer=ISSUER, client_id="us"))
    assert found in {"answer", "discovery"}


def test_further_hosts_are_the_operators_to_name() -> None:
    elsewhere: dict[str, object] = {"jwks_uri": "https://keys.example.net/jwks"}
    assert reason(lambda: discover(elsewhere)) == "endpoint"
    assert discover(elsewhere, extra_hosts={"keys.example.net"}).jwks_uri == "https://keys.example.net/jwks"
    google: dict[str, object] = {
        "issuer": "https://accounts.google.com",
        "authorization_endpoint": "https://accounts.google.com/o/oauth2/v2/auth",
        "token_endpoint": "https://oauth2.googleapis.com/token",
        "userinfo_endpoint": "https://openidconnect.googleapis.com/v1/userinfo",
        "jwks_uri": "https://www.googleapis.com/oauth2/v3/certs",
    }
    assert not discover(google, issuer="https://accounts.google.com").tells_time, "unless that was arranged"
    assert discover({}).tells_time


def test_an_algorithm_may_be_named_with_its_curve() -> None:
    """RFC 9864."""
    for named in (["EdDSA"], ["Ed25519"], ["Ed25519", "EdDSA", "none"]):
        assert discover({"id_token_signing_alg_values_supported": named}).algorithms == ("EdDSA",)
    assert reason(lambda: discover({"id_token_signing_alg_values_supported": ["Ed448", {}]})) == "discovery"


def test_loopback_is_for_tests_alone() -> None:
    local = "http://127.0.0.1:9000"
    moved: dict[str, object] = {
        name: value.replace(ISSUER, local) if isinstance(value, str) else value
        for name, value in METADATA.items()
    }
    assert discover(moved, issuer=local, allow_loopback=True).jwks_uri == f"{local}/jwks"
    assert reason(lambda: discover(moved, issuer=local)) == "issuer"


GITHUB_USER = {"id": 583231, "login": "octocat", "name": "The Octocat", "email": "public@example.com"}


GITHUB_EMAILS = [
    {"email": "other@example.com", "primary": False, "verified": True},
    {"email": "octocat@example.com", "primary": True, "verified": True},
]


def github(user: object, emails: object = None) -> Identity:
    return upstream_github.read_identity(
        json.dumps(user).encode(), None if emails is None else json.dumps(emails).encode()
    )


def test_github_signs_in_by_number_with_pkce_and_state() -> None:
    provider = upstream_github.provider("us")
    url, attempt = upstream.begin(provider, redirect_uri=CALLBACK, random=bytes(range(96)))
    query = parse_qs(urlsplit(url).query)
    assert query["code_challenge_method"] == ["S256"]
    assert "nonce" not in query
    assert upstream.check_callback(provider, attempt, {"state": attempt.state, "code": "c"}) == "c"
    found = github(GITHUB_USER, GITHUB_EMAILS)
    assert found.key == ("https://github.com/login/oauth", "583231")
    assert (found.verified_email, found.preferred_username) == ("octocat@example.com", "octocat")
    assert github({**GITHUB_USER, "login": "renamed"}).key == found.key


@pytest.mark.parametrize(
    "emails",
    [
        None,
        [],
        [{"email": "octocat@example.com", "primary": True, "verified": False}],
        [{"email": "octocat@example.com", "primary": True, "verified": "yes"}],
        [{"email": ["x"], "primary": True, "verified": True}],
        [None, 5],
    ],
)
def test_github_gives_no_address_that_it_has_not_verified(emails: object) -> None:
    """FD-01: the address of the profile is not verified."""
    assert github(GITHUB_USER, GITHUB_EMAILS).verified_email
    assert github(GITHUB_USER, emails).verified_email is None


@pytest.mark.parametrize("number", [None, "583231", True, 0, -1, 1.5, [1]])
def test_a_github_account_without_its_number_is_refused(number: object) -> None:
    """FD-01."""
    assert reason(lambda: github({**GITHUB_USER, "id": number})) == "subject"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"error":"bad_verification_code"}', "error"),
        (b'{"access_token":"a"}', "answer"),
        (b'{"access_token":"a","token_type":"mac"}', "answer"),
        (b'{"access_token":5,"token_type":"bearer"}', "answer"),
        (b'{"access_token":"a","token_type":"bearer","id_token":5}', "answer"),
        (b"access_token=a&token_type=bearer", "answer"),
        (b"", "answer"),
        (b"[]", "answer"),
        (b"9" * 5000, "answer"),
    ],
)
def test_an_answer_without_a_token_is_refused(body: bytes, expected: str) -> None:
    good = b'{"access_token":"a","token_type":"Bearer","id_token":"x.y.z"}'
    assert upstream.read_token_answer(good) == TokenAnswer("a", "x.y.z")
    assert reason(lambda: upstream.read_token_answer(body)) == expected


@pytest.mark.parametrize(
    ("offered", "basic"),
    [
        pytest.param(
            None, True, id="nothing said: how clients are registered unless they ask for another way"
        ),
        pytest.param(["client_secret_post", "client_secret_basic"], True, id="both"),
        pytest.param(["client_secret_post"], False, id="the form alone"),
        pytest.param("client_secret_basic", False, id="no list"),
    ],
)
def test_a_secret_goes_where_the_provider_takes_it(offered: object, basic: bool) -> None:
    said = {} if offered is None else {"token_endpoint_auth_methods_supported": offered}
    document = json.dumps({**METADATA, **said}).encode()
    assert upstream_discovery.check_discovery(document, issuer=ISSUER, client_id="us").basic is basic
