"""What is left of a request for a person of some groups."""

import pytest

from watchword.flows import membership
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.settings import ScopeText, Settings
from watchword.store.users import User

SETTINGS = Settings(scopes={"write": ScopeText(groups=("staff",)), "openid": ScopeText(sentence="Sign in")})
CLIENT, ADA = (
    Client(client_id="c", name="c", token_endpoint_auth_method="none"),
    User("user_1", "ada", groups=("staff",)),
)
EVE = User("user_2", "eve")


def test_signing_in_may_be_described_when_it_is_for_everybody() -> None:
    membership.check(SETTINGS)


def test_a_request_of_which_nothing_is_left_is_denied_and_one_for_nothing_is_not() -> None:
    assert membership.require_open(SETTINGS, CLIENT, ADA, ("write",)) == ("write",)
    with pytest.raises(OAuthError, match="access_denied"):
        membership.require_open(SETTINGS, CLIENT, EVE, ("write",))
    assert membership.require_open(SETTINGS, CLIENT, EVE, ("write", "read")) == ("read",)
    assert membership.require_open(SETTINGS, CLIENT, EVE, ("write",), may_be_empty=True) == ()
    assert membership.require_open(SETTINGS, CLIENT, EVE, ()) == ()
