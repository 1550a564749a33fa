"""A guard on a machine whose environment names proxies, and certificates of authorities."""

import pytest
from tests.fixtures.other_issuer import OtherIssuer, ask, other, refusal

from watchword.guard import Guard
from watchword.guard.verifier import Verifier

API = "https://api.example.com"
__all__ = ["other"]


async def test_what_is_for_this_machine_goes_through_no_proxy(
    other: OtherIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent in the clear, and a proxy is on another machine: it would read the token, and the guard's secret."""
    other.documents["/introspect"] = {"active": True, "sub": "them", "aud": API, "scope": "orders:read"}
    with OtherIssuer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.issuer)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        guard = Guard(other.issuer, audience=API, client_id="api", client_secret="secret")
        assert (await ask(guard, "an-opaque-token-of-theirs")).subject == "them"
        assert not proxy.asked
        await guard.close()


@pytest.mark.parametrize("named", ["socks5://localhost:1", "ftp://localhost:1"])
async def test_a_proxy_that_cannot_be_used_is_named_in_the_log(
    other: OtherIssuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, named: str
) -> None:
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, named)
    guard = Guard(other.issuer, audience=API)
    assert await refusal(guard, other.token()) == 503
    assert "the proxy that the environment names cannot be used" in caplog.text
    await guard.close()


async def test_certificates_that_cannot_be_read_are_named_in_the_log_and_read_again(
    other: OtherIssuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    guard = Guard(other.issuer, audience=API)
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
        assert await refusal(guard, other.token()) == 503
    assert "the certificates of authorities cannot be read: [Errno 2] No such file" in caplog.text
    verifier = guard._only
    assert isinstance(verifier, Verifier)
    for one in (verifier._issuer._discovery, verifier._keys.fetching):
        one.next_try = 0.0  # the pause after a failure is over
    assert (await ask(guard, other.token())).subject == "them"
    await guard.close()
