"""Answers go only to addresses that were registered, letter by letter (RU rows, DC-01)."""

import pytest
from tests.fixtures.rows import in_turn

from watchword.oauth import redirect_uri
from watchword.oauth.errors import OAuthError

GOOD = "https://rp.example/cb"


@pytest.mark.parametrize(
    ("uri", "application_type"),
    [
        pytest.param(GOOD, "web", id="https"),
        pytest.param("https://rp.example", "web", id="https without a path"),
        pytest.param("https://rp.example:8443/a/b?tenant=1&x=%20", "web", id="https with port and query"),
        pytest.param(
            "https://xn--bcher-kva.example/cb", "web", id="an internationalised name in its ASCII form"
        ),
        pytest.param("http://127.0.0.1/cb", "native", id="loopback IPv4"),
        pytest.param("http://127.0.0.1:3000/cb", "web", id="loopback for development"),
        pytest.param("http://[::1]:8080/cb", "native", id="loopback IPv6"),
        pytest.param("http://localhost:8080/cb", "native", id="localhost"),
        pytest.param("com.example.app:/oauth", "native", id="a private-use scheme"),
        pytest.param("com.example.App://oauth/cb", "native", id="a private-use scheme with an authority"),
        pytest.param("https://app.example/cb", "native", id="a claimed https address"),
    ],
)
def test_a_client_may_register(uri: str, application_type: str) -> None:
    assert redirect_uri.check_registered(uri, application_type) == uri
    assert redirect_uri.matches(uri, uri)


@in_turn(
    "uri",
    [
        "",
        "/cb",
        "//rp.example/cb",
        "rp.example/cb",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "javascript.x:/alert(1)//<script>",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "about:blank",
        "blob:https://rp.example/x",
        "urn:ietf:wg:oauth:2.0:oob",
        "ftp://rp.example/cb",
        "ws://rp.example/cb",
        "myapp:/cb",
        "myapp://cb",
        "http://rp.example/cb",
        "http://127.0.0.1.evil.example/cb",
        "http://127.0.0.2/cb",
        "http://0.0.0.0/cb",
        "http://2130706433/cb",
        "http://localhost.evil.example/cb",
        "http://localhost@evil.example/cb",
        "https://user@rp.example/cb",
        "https://user:pass@rp.example/cb",
        "https://rp.example\\@evil.example/cb",
        "https://rp.example/cb#fragment",
        "https://rp.example/cb#",
        "https://*.example/cb",
        "https://rp.example/*",
        "https://",
        "https:///cb",
        "https:rp.example/cb",
        "https://rp.example:99999/cb",
        "https://rp.example:/cb",
        "https://rp.example:0/cb",
        "https://rp..example/cb",
        "https://rp.example./cb",
        "https://-rp.example/cb",
        "https://rp.example/a/../cb",
        "https://rp.example/..;/cb",
        "https://rp.example/..",
        "https://rp.example/%2e%2e/cb",
        "https://rp.example/%2f..%2fcb",
        "https://rp.example/%5ccb",
        "https://rp.example/%0d%0aSet-Cookie:x",
        "https://rp.example/%00",
        "https://rp.example/%zz",
        "https://rp.example/cb?code=x",
        "https://rp.example/cb?a=1&state=x",
        " https://rp.example/cb",
        "https://rp.example/cb ",
        "https://rp.example/cb\n",
        "https://rp.exa\tmple/cb",
        "https://rp.example/cb\r\nX: y",
        "https://rp.example/\x00",
        "https://rp.example/é",
        "https://rp.example/\ud800",
        "https://bücher.example/cb",
        "https://rp.example/<script>",
        'https://rp.example/"onload="',
        "http://[",
        "https://[::1",
        "HTTPS://rp.example/cb",
        "https://rp.example/" + "a" * 2000,
    ],
)
@in_turn("application_type", ["web", "native"])
def test_dc_01_a_client_may_not_register(uri: str, application_type: str) -> None:
    with pytest.raises(OAuthError) as caught:
        redirect_uri.check_registered(uri, application_type)
    assert caught.value.code == "invalid_redirect_uri"
    assert caught.value.description.isascii()


def test_only_a_native_client_registers_a_private_use_scheme() -> None:
    assert redirect_uri.check_registered("com.example.app:/cb", "native")
    with pytest.raises(OAuthError):
        redirect_uri.check_registered("com.example.app:/cb", "web")


@in_turn(
    "requested",
    [
        pytest.param("https://evil.example/cb", id="RU-01 another host"),
        pytest.param("https://rp.example/cb/x", id="RU-02 a path suffix"),
        pytest.param("https://rp.example/cbx", id="RU-02 a longer path"),
        pytest.param("https://rp.example/c", id="RU-02 a path prefix"),
        pytest.param("https://rp.example/", id="RU-02 the root"),
        pytest.param("https://rp.example/cb/", id="RU-02 a trailing slash"),
        pytest.param("https://rp.example/cb?next=https://evil.example", id="RU-03 an added query"),
        pytest.param("https://rp.example/cb?", id="RU-03 an empty query"),
        pytest.param("https://rp.example/cb?code=x", id="RU-03 an added code"),
        pytest.param("https://rp.example/cb#frag", id="RU-04 a fragment"),
        pytest.param("https://rp.example/cb#", id="RU-04 an empty fragment"),
        pytest.param("https://rp.example:444/cb", id="another port"),
        pytest.param("https://rp.example:443/cb", id="the default port spelled out"),
        pytest.param("https://RP.example/cb", id="a host in other case"),
        pytest.param("https://rp.example.evil.example/cb", id="RU-06 the host as a prefix"),
        pytest.param("https://evilrp.example/cb", id="RU-06 the host as a suffix"),
        pytest.param("https://x.rp.example/cb", id="RU-06 a subdomain"),
        pytest.param("https://rp.example./cb", id="RU-06 a trailing dot"),
        pytest.param("https://rp.example/../cb", id="RU-07 a parent segment"),
        pytest.param("https://rp.example/..;/cb", id="RU-07 a parent segment with a parameter"),
        pytest.param("https://rp.example/%2e%2e/cb", id="RU-07 an escaped parent segment"),
        pytest.param("https://rp.example/x/../cb", id="RU-07 a detour"),
        pytest.param("https://rp.example@evil.example/cb", id="user information"),
        pytest.param("https://evil.example\\@rp.example/cb", id="a backslash"),
        pytest.param("javascript:alert(1)", id="RU-10 a script"),
        pytest.param("http://rp.example/cb", id="RU-10 http in place of https"),
        pytest.param("https://rp.example/cb\n", id="a trailing line feed"),
        pytest.param("https://rp.exa\tmple/cb", id="a tab"),
        pytest.param(" https://rp.example/cb", id="a leading space"),
        pytest.param("https://rp.example/cb\x00", id="a NUL"),
        pytest.param("https://rp.example/c%62", id="an escaped letter"),
        pytest.param("http://[", id="something that no parser reads"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param("", id="nothing"),
    ],
)
def test_an_answer_is_never_sent_to(requested: str) -> None:
    assert redirect_uri.check_requested(GOOD, [GOOD, "https://rp.example/other"]) == GOOD
    with pytest.raises(OAuthError) as caught:
        redirect_uri.check_requested(requested, [GOOD, "https://rp.example/other"])
    assert caught.value.code == "invalid_request"


LOOPBACK_CASES = [
    ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", True, "any port where none was registered"),
    ("http://127.0.0.1:1234/cb", "http://127.0.0.1:51004/cb", True, "any port where another was registered"),
    ("http://127.0.0.1:1234/cb", "http://127.0.0.1/cb", True, "no port where one was registered"),
    ("http://[::1]/cb?a=1", "http://[::1]:9/cb?a=1", True, "any port on IPv6, path and query exact"),
    ("http://localhost/cb", "http://localhost:51004/cb", True, "localhost registered without a port"),
    ("http://localhost:1234/cb", "http://localhost:51004/cb", False, "localhost registered with a port"),
    ("http://127.0.0.1/cb", "http://localhost/cb", False, "localhost for an IP literal"),
    ("http://localhost/cb", "http://127.0.0.1/cb", False, "an IP literal for localhost"),
    ("http://127.0.0.1/cb", "http://[::1]/cb", False, "the other loopback address"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other", False, "another path"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb?x=1", False, "an added query"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb#x", False, "a fragment"),
    ("http://127.0.0.1/cb", "https://127.0.0.1:51004/cb", False, "https"),
    ("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb", False, "a longer name"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:80@evil.example/cb", False, "user information"),
    ("http://127.0.0.1/cb", "http://127.0.0.2:51004/cb", False, "another loopback address"),
    ("http://127.0.0.1/cb", "http://2130706433/cb", False, "a decimal address"),
    ("http://127.0.0.1/cb", "http://127.1/cb", False, "a short address"),
    ("http://127.0.0.1/cb", "http://0.0.0.0:51004/cb", False, "the unspecified address"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:/cb", False, "an empty port"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", False, "a port that does not exist"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:080/cb", False, "a port with a leading zero"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:51004\\@evil.example/cb", False, "a backslash"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb\n", False, "a trailing line feed"),
    ("http://127.0.0.1/cb", "http://127.0.0.1:٣/cb", False, "a port in other digits"),
    ("https://127.0.0.1/cb", "https://127.0.0.1:51004/cb", False, "a port where https was registered"),
    ("https://127.0.0.1/cb", "http://127.0.0.1:51004/cb", False, "http where https was registered"),
]


@pytest.mark.parametrize(
    ("registered", "requested", "accepted"),
    [pytest.param(*case[:3], id=f"RU-17 {case[3]}") for case in LOOPBACK_CASES],
)
def test_a_native_client_chooses_its_loopback_port(registered: str, requested: str, accepted: bool) -> None:
    assert redirect_uri.matches(requested, registered) is accepted


def test_a_request_without_an_address_uses_the_only_one() -> None:
    assert redirect_uri.check_requested(None, [GOOD]) == GOOD
    for registered in ([], [GOOD, "https://rp.example/other"]):
        with pytest.raises(OAuthError):
            redirect_uri.check_requested(None, registered)


@pytest.mark.parametrize(
    ("uri", "shown", "loopback"),
    [
        ("https://rp.example/cb?x=1", "rp.example", False),
        ("https://rp.example:8443/cb", "rp.example:8443", False),
        ("http://[::1]:9/cb", "[::1]:9", True),
        ("com.example.app:/cb", "com.example.app", False),
    ],
)
def test_consent_shows_where_the_answer_goes(uri: str, shown: str, loopback: bool) -> None:
    assert redirect_uri.destination(uri) == shown
    assert redirect_uri.is_loopback(uri) is loopback
