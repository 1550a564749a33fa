"""Where an access token may stand in a request, and how its absence is answered (UI-01 to UI-03)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.oauth import bearer
from watchword.oauth.bearer import PresentedToken
from watchword.oauth.errors import OAuthError


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        pytest.param(["Bearer abc"], PresentedToken("bearer", "abc"), id="Bearer"),
        pytest.param(["bearer abc"], PresentedToken("bearer", "abc"), id="a scheme in lower case"),
        pytest.param(["Bearer   abc "], PresentedToken("bearer", "abc"), id="more spaces"),
        pytest.param(["DPoP a.b-c_d~e+f/g=="], PresentedToken("dpop", "a.b-c_d~e+f/g=="), id="DPoP"),
        pytest.param([], None, id="no header"),
        pytest.param(["Basic dTpw"], None, id="another scheme"),
        pytest.param([""], None, id="an empty header"),
        pytest.param(["Bearerabc"], None, id="no space"),
        pytest.param(["Bearer"], None, id="UI-01 a scheme alone"),
        pytest.param(["DPoP  "], None, id="UI-01 a scheme and spaces"),
    ],
)
def test_the_header_is_read(headers: list[str], found: PresentedToken | None) -> None:
    assert bearer.read_request(headers) == found
    assert bearer.read_authorization(headers) == found


def test_the_body_is_read() -> None:
    assert bearer.read_request([], body_token="abc") == PresentedToken("bearer", "abc")


@pytest.mark.parametrize(
    ("headers", "body_token", "query_token"),
    [
        pytest.param([], None, "abc", id="UI-02 in the query"),
        pytest.param([], None, "", id="UI-02 empty in the query"),
        pytest.param(["Bearer abc"], None, "abc", id="UI-02 in the query beside the header"),
        pytest.param(["Bearer abc"], "abc", None, id="UI-03 in header and body"),
        pytest.param(["Bearer abc"], "", None, id="UI-03 in header and, empty, in the body"),
        pytest.param(["Bearer abc", "Bearer abc"], None, None, id="UI-03 in two headers"),
        pytest.param(["Basic x", "Bearer abc"], None, None, id="UI-03 in two headers of different schemes"),
    ],
)
def test_a_doubtful_request_is_refused(
    headers: list[str], body_token: str | None, query_token: str | None
) -> None:
    assert bearer.read_request(["Bearer abc"]) is not None
    with pytest.raises(OAuthError) as caught:
        bearer.read_request(headers, body_token=body_token, query_token=query_token)
    assert caught.value.code == "invalid_request"


@pytest.mark.parametrize(
    "token",
    ["a b", "a,b", "ü", "\ud800", "a\x00", "a\nb", "abc\n", 'token="x"', "=", "a" * 20_000],
    ids=ascii,
)
def test_ui_01_a_malformed_token_is_an_invalid_token(token: str) -> None:
    with pytest.raises(OAuthError, match="invalid_token"):
        bearer.read_request([f"Bearer {token}"])
    with pytest.raises(OAuthError, match="invalid_token"):
        bearer.read_request([], body_token=token)


@given(st.text(max_size=60))
def test_no_header_raises_anything_else(header: str) -> None:
    with contextlib.suppress(OAuthError):
        bearer.read_request([header])


@pytest.mark.parametrize(
    ("scheme", "parameters", "expected"),
    [
        ("Bearer", {}, 'Bearer realm="api"'),
        ("Bearer", {"error": "invalid_token", "scope": None}, 'Bearer error="invalid_token"'),
        (
            "Bearer",
            {"error": "insufficient_user_authentication", "acr_values": "gold", "max_age": "0"},
            'Bearer error="insufficient_user_authentication", acr_values="gold", max_age="0"',
        ),
        (
            "Bearer",
            {"resource_metadata": "https://api.example/.well-known/oauth-protected-resource"},
            'Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource"',
        ),
        ("DPoP", {"algs": "ES256 EdDSA"}, 'DPoP algs="ES256 EdDSA"'),
        (
            "Bearer",
            {"error_description": 'a" realm="evil\\\r\nSet-Cookie: x\x00é'},
            'Bearer error_description="a? realm=?evil???Set-Cookie: x??"',
        ),
    ],
)
def test_a_challenge_is_built_and_cannot_be_broken_out_of(
    scheme: str, parameters: dict[str, str | None], expected: str
) -> None:
    assert bearer.challenge(scheme, parameters) == expected
