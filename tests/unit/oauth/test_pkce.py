"""Who redeems a code must hold the verifier of its challenge (PK-01 to PK-06)."""

import pytest

from watchword.oauth import pkce
from watchword.oauth.errors import OAuthError

# RFC 7636 Appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def refused(code: str, call, *arguments: object) -> None:  # type: ignore[no-untyped-def]  # any rule
    with pytest.raises(OAuthError) as caught:
        call(*arguments)
    assert caught.value.code == code


def test_the_example_of_the_specification_holds() -> None:
    assert pkce.challenge_of(VERIFIER) == CHALLENGE
    assert pkce.check_challenge(CHALLENGE, "S256") == CHALLENGE
    pkce.verify(VERIFIER, CHALLENGE)


def test_a_verifier_in_ordinary_base64_is_accepted() -> None:
    verifier = "sa1RfHqnVYy0eLxL2MmppDMjCnHffxC9l+Ru/mpaPC4="  # as git-credential-oauth 0.4 makes them
    pkce.verify(verifier, pkce.challenge_of(verifier))


@pytest.mark.parametrize(
    "verifier", ["sa1RfHqnVYy0eLxL2MmppDMjCnHffxC9l Ru mpaPC4", "%" * 43, "a" * 42 + '"']
)
def test_a_verifier_of_other_characters_is_refused_although_it_fits(verifier: str) -> None:
    refused("invalid_grant", pkce.verify, verifier, pkce.challenge_of(verifier))


@pytest.mark.parametrize("length", [43, 128])
def test_the_shortest_and_the_longest_verifier_are_accepted(length: int) -> None:
    verifier = "~" * length
    pkce.verify(verifier, pkce.challenge_of(verifier))


def test_a_request_without_challenge_has_none() -> None:
    assert pkce.check_challenge(None, None) is None
    pkce.verify(None, None)


@pytest.mark.parametrize(
    ("challenge", "method"),
    [
        pytest.param("", "S256", id="PK-06 an empty challenge"),
        pytest.param(" " * 43, "S256", id="PK-06 a blank challenge"),
        pytest.param(CHALLENGE[:-1], "S256", id="PK-06 a short challenge"),
        pytest.param(CHALLENGE + "=", "S256", id="PK-06 a padded challenge"),
        pytest.param(CHALLENGE + "\n", "S256", id="PK-06 a challenge with a line feed"),
        pytest.param("A" * 200, "S256", id="PK-06 a long challenge"),
        pytest.param("é" * 43, "S256", id="PK-06 a challenge beyond ASCII"),
        pytest.param("\udcff" * 43, "S256", id="PK-06 a challenge of lone surrogates"),
        pytest.param(CHALLENGE[:-1] + "N", "S256", id="PK-06 a challenge that no hash encodes to"),
        pytest.param(CHALLENGE, "plain", id="the method plain"),
        pytest.param(CHALLENGE, "S512", id="PK-06 the method S512"),
        pytest.param(CHALLENGE, "s256", id="PK-06 the method s256"),
        pytest.param(CHALLENGE, "", id="PK-06 an empty method"),
        pytest.param(CHALLENGE, None, id="an absent method, which would mean plain"),
        pytest.param(None, "S256", id="PK-06 a method without challenge"),
    ],
)
def test_a_malformed_challenge_is_refused(challenge: str | None, method: str | None) -> None:
    refused("invalid_request", pkce.check_challenge, challenge, method)


@pytest.mark.parametrize(
    ("verifier", "challenge"),
    [
        pytest.param("x" * 43, CHALLENGE, id="PK-04 a wrong verifier"),
        pytest.param(None, CHALLENGE, id="PK-04 no verifier"),
        pytest.param("", CHALLENGE, id="PK-04 an empty verifier"),
        pytest.param(CHALLENGE, CHALLENGE, id="PK-04 the challenge in place of the verifier"),
        pytest.param(VERIFIER[:-1], CHALLENGE, id="a truncated verifier"),
        pytest.param(VERIFIER + "\n", CHALLENGE, id="a verifier with a line feed"),
        pytest.param("x" * 129, CHALLENGE, id="a verifier that is too long"),
        pytest.param("é" * 50, CHALLENGE, id="a verifier beyond ASCII"),
        pytest.param("\ud800" * 50, CHALLENGE, id="a verifier of lone surrogates"),
        pytest.param(VERIFIER, None, id="PK-05 a verifier for a code without challenge"),
        pytest.param("", None, id="PK-05 an empty verifier for a code without challenge"),
    ],
)
def test_a_code_is_not_redeemed_with(verifier: str | None, challenge: str | None) -> None:
    refused("invalid_grant", pkce.verify, verifier, challenge)
