"""Answers go back with state and issuer, to an address that stays as registered (AZ-07, AZ-13)."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.oauth.authorization_response import response_location, response_parameters
from watchword.oauth.errors import OAuthError

ISSUER = "https://as.example"
DENIED = OAuthError("access_denied", "The person refused.", detail="for the log")


def test_az_13_success_and_error_name_the_issuer() -> None:
    assert response_parameters(issuer=ISSUER, state="s", code="c") == {
        "code": "c",
        "state": "s",
        "iss": ISSUER,
    }
    assert response_parameters(issuer=ISSUER, state=None, error=DENIED) == {
        "error": "access_denied",
        "error_description": "The person refused.",
        "iss": ISSUER,
    }


def test_an_answer_is_never_both_nor_neither() -> None:
    with pytest.raises(ValueError):
        response_parameters(issuer=ISSUER, state=None)
    with pytest.raises(ValueError):
        response_parameters(issuer=ISSUER, state=None, code="c", error=DENIED)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=50))
def test_az_07_any_state_comes_back_exactly_and_adds_nothing(state: str) -> None:
    location = response_location(
        "https://rp.example/cb?a=1", response_parameters(issuer=ISSUER, state=state, code="c")
    )
    assert location.startswith("https://rp.example/cb?a=1&code=c&state=")
    assert location.isascii()
    assert parse_qs(urlsplit(location).query, keep_blank_values=True) == {
        "a": ["1"],
        "code": ["c"],
        "state": [state],
        "iss": [ISSUER],
    }


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://rp.example", "https://rp.example?x=1%202"),
        ("https://rp.example/cb?", "https://rp.example/cb?x=1%202"),
        ("com.example.app:/cb", "com.example.app:/cb?x=1%202"),
        ("http://[::1]:9/cb?a=b&", "http://[::1]:9/cb?a=b&x=1%202"),
    ],
)
def test_parameters_join_the_query(address: str, expected: str) -> None:
    assert response_location(address, {"x": "1 2"}) == expected
