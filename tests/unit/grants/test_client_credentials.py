"""What the client credentials grant gives, before anything is made or stored."""

import pytest

from watchword.flows.issuing import Extent
from watchword.grants.client_credentials import Request, decide
from watchword.oauth.authorization import Rules
from watchword.oauth.authorization_details import DetailType
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

API = "https://api.example"


def client(method: str) -> Client:
    """Return a client that authenticates by a method."""
    return Client(
        client_id="c",
        name="c",
        token_endpoint_auth_method=method,
        scope=("read", "write"),
        authorization_details_types=("payment",),
    )


def test_it_is_for_clients_that_authenticate() -> None:
    asked = Request(("read",), ())
    assert decide(asked, client("client_secret_basic"), Rules(API)) == Extent(("read",), (API,))
    with pytest.raises(OAuthError, match="unauthorized_client"):
        decide(asked, client("none"), Rules(API))


def test_a_request_without_a_scope_is_for_all_that_the_client_may_have() -> None:
    assert decide(Request((), ()), client("tls_client_auth"), Rules(API)).scope == ("read", "write")


@pytest.mark.parametrize("scope", [(), ("read",)])
def test_a_request_for_details_is_for_no_scope_that_it_does_not_name(scope: tuple[str, ...]) -> None:
    asked = Request(scope, (), '[{"type":"payment"}]')
    rules = Rules(API, {"payment": DetailType()})
    assert decide(asked, client("private_key_jwt"), rules) == Extent(scope, (API,), ({"type": "payment"},))
