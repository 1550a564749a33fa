"""Whose consent is remembered, and what a person leaves out (RFC 6749 §10.2, RFC 8252 §8.6)."""

import pytest

from watchword.flows import consents
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.clients import Client
from watchword.settings import DetailText, ScopeText, Settings

HERE, THERE = "https://app.example/cb", "https://other.example/cb"
SETTINGS = Settings(
    scopes={"mail": ScopeText(optional=True), "openid": ScopeText(optional=True), "read": ScopeText()},
    authorization_details={
        "pay": DetailText(sentence="Pay", once=True),
        "see": DetailText(sentence="See"),
    },
)


def asked(*types: str, scope: str = "openid") -> AuthorizationRequest:
    return AuthorizationRequest(
        client_id="c",
        redirect_uri=HERE,
        redirect_uri_sent=True,
        scope=tuple(scope.split()),
        authorization_details=tuple({"type": one} for one in types),
    )


def client(**given: object) -> Client:
    wanted = {"origin": "registered", "redirect_uris": (HERE,), "token_endpoint_auth_method": "none", **given}
    return Client(client_id="c", name="c", **wanted)  # type: ignore[arg-type]  # each row names members of their types


SECRET = {"token_endpoint_auth_method": "client_secret_basic"}


@pytest.mark.parametrize(
    ("given", "types", "remembered"),
    [
        ({}, (), True),
        ({"application_type": "native"}, (), False),
        ({"application_type": "native"} | SECRET, (), True),
        ({"origin": "dynamic"}, (), False),
        ({"origin": "dynamic"} | SECRET, (), True),
        ({"origin": "dynamic", "redirect_uris": (HERE, THERE)} | SECRET, (), False),
        ({"redirect_uris": (HERE, THERE)}, (), True),
        ({"redirect_uris": (HERE, "cursor://app.example/cb")}, (), False),
        ({"redirect_uris": ("cursor://app.example/cb",)} | SECRET, (), True),
        ({"origin": "document"}, (), False),
        ({"origin": "document", "token_endpoint_auth_method": "private_key_jwt"}, (), False),
        ({}, ("see",), True),
        ({}, ("see", "pay"), False),
        (SECRET, ("pay",), False),
        ({}, ("gone",), False),
    ],
)
def test_a_consent_is_remembered_for_clients_that_nobody_else_can_be(
    given: dict[str, object], types: tuple[str, ...], remembered: bool
) -> None:
    assert consents.is_remembered(SETTINGS, asked(*types), client(**given)) is remembered


@pytest.mark.parametrize(
    ("ticked", "scope"),
    [((), "openid read"), (("mail",), "openid read mail"), (("read", "write"), "openid read")],
)
def test_only_what_is_optional_can_be_left_out_and_nothing_is_added(
    ticked: tuple[str, ...], scope: str
) -> None:
    agreed = consents.chosen(SETTINGS, asked("see", scope="openid read mail"), ticked)
    assert (agreed.scope, agreed.details) == (tuple(scope.split()), ({"type": "see"},))
