"""What a client's tokens are bound to, by what its request proved and what it is registered for."""

from typing import Any

import pytest

from watchword.flows.binding import UNBOUND, Binding
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

KEY, CERTIFICATE = Binding(jkt="key"), Binding(x5t="certificate")
BOTH = Binding("key", "certificate")


def client(**registered: bool) -> Client:
    """Return a client that is registered for bindings."""
    given: dict[str, Any] = registered
    return Client(client_id="c", name="c", token_endpoint_auth_method="none", **given)


ANY, DPOP = client(), client(dpop_bound_access_tokens=True)
MTLS = client(tls_client_certificate_bound_access_tokens=True)
STRICT = client(dpop_bound_access_tokens=True, tls_client_certificate_bound_access_tokens=True)


@pytest.mark.parametrize(
    ("registered", "proved", "cnf"),
    [
        pytest.param(ANY, UNBOUND, {}, id="nothing"),
        pytest.param(ANY, KEY, {"jkt": "key"}, id="a key that is proved binds though nobody demands it"),
        pytest.param(ANY, CERTIFICATE, {}, id="a certificate binds only where that is registered"),
        pytest.param(ANY, BOTH, {"jkt": "key"}, id="which it is not here either"),
        pytest.param(DPOP, KEY, {"jkt": "key"}, id="a key as registered"),
        pytest.param(MTLS, CERTIFICATE, {"x5t#S256": "certificate"}, id="a certificate as registered"),
        pytest.param(MTLS, BOTH, {"jkt": "key", "x5t#S256": "certificate"}, id="and a key besides"),
        pytest.param(STRICT, BOTH, {"jkt": "key", "x5t#S256": "certificate"}, id="both as registered"),
    ],
)
def test_a_token_is_bound_to_what_was_proved(
    registered: Client, proved: Binding, cnf: dict[str, object]
) -> None:
    assert proved.confirmation(registered) == ({"cnf": cnf} if cnf else {})


@pytest.mark.parametrize(
    ("registered", "proved", "error"),
    [
        pytest.param(DPOP, UNBOUND, "invalid_dpop_proof", id="nothing instead of a key"),
        pytest.param(DPOP, CERTIFICATE, "invalid_dpop_proof", id="a certificate instead of a key"),
        pytest.param(MTLS, UNBOUND, "invalid_request", id="nothing instead of a certificate"),
        pytest.param(MTLS, KEY, "invalid_request", id="a key instead of a certificate"),
        pytest.param(STRICT, KEY, "invalid_request", id="a key and no certificate"),
        pytest.param(STRICT, CERTIFICATE, "invalid_dpop_proof", id="a certificate and no key"),
    ],
)
def test_what_a_client_is_registered_for_it_has_to_prove(
    registered: Client, proved: Binding, error: str
) -> None:
    with pytest.raises(OAuthError) as refused:
        proved.confirmation(registered)
    assert refused.value.code == error
