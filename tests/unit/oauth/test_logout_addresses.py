"""Where clients may want to hear of the end of a session, and how the browser is sent there."""

import pytest

from watchword.oauth import logout_addresses as addresses
from watchword.oauth.errors import OAuthError

REDIRECTS = ("https://app.example.com/cb", "http://localhost:5000/cb", "com.example.app:/cb")


@pytest.mark.parametrize(
    "uri",
    ["https://app.example.com/logout", "https://app.example.com:8443/out?tenant=1", "http://localhost:5000/out",
     "http://127.0.0.1/out", "https://app.example.com"],
)  # fmt: skip
def test_a_backchannel_address_is_https_or_on_this_machine(uri: str) -> None:
    assert addresses.check_backchannel(uri) == uri


@pytest.mark.parametrize(
    "uri",
    ["http://app.example.com/out", "https://app.example.com/out#x", "https://ada@app.example.com/", "javascript:alert(1)",
     "https://app.example.com:99999/", "https://app.example.com/\n", "https://[2001:db8::1]/out", "//app.example.com/",
     "https://app.example.com/ x", "https:///out", "https://" + "a" * 2000],
    ids=ascii,
)  # fmt: skip
def test_no_other_address_is_registered(uri: str) -> None:
    for check in (addresses.check_backchannel, lambda uri: addresses.check_frontchannel(uri, REDIRECTS)):
        with pytest.raises(OAuthError, match="invalid_client_metadata"):
            check(uri)


def test_a_frontchannel_address_has_the_origin_of_a_redirect_uri() -> None:
    assert addresses.check_frontchannel("https://APP.example.com/out?a=1", REDIRECTS)
    assert addresses.check_frontchannel("http://localhost:5000/out", REDIRECTS)
    for uri in (
        "https://other.example.com/out",
        "https://app.example.com:8443/out",
        "http://localhost:5001/out",
        "https://app.example.com/out?sid=1",
        "https://app.example.com/out?a=1&iss=x",
    ):
        with pytest.raises(OAuthError, match="invalid_client_metadata"):
            addresses.check_frontchannel(uri, REDIRECTS)


def test_who_registers_itself_has_only_its_own_host_called() -> None:
    known = ("https://app.example.com/client.json", *REDIRECTS)
    addresses.check_own_host("https://App.example.com:8443/out", known)
    addresses.check_own_host("http://127.0.0.1:9/out", known)
    for uri in ("https://victim.example/out", "https://app.example.com.evil.example/out", "not an address"):
        with pytest.raises(OAuthError, match="invalid_client_metadata"):
            addresses.check_own_host(uri, known)


def test_the_browser_is_told_the_session_where_the_client_wants_to_know_it() -> None:
    issuer = "https://auth.example.com"
    assert addresses.frontchannel_address("https://a.example/out", issuer, None) == "https://a.example/out"
    told = addresses.frontchannel_address("https://a.example/out", issuer, "s 1")
    assert told == "https://a.example/out?iss=https%3A%2F%2Fauth.example.com&sid=s+1"
    assert addresses.frontchannel_address("https://a.example/out?a=1", issuer, "s").startswith(
        "https://a.example/out?a=1&iss="
    )
