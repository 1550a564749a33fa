"""A proof shows possession of a key for one request, now, and for nothing else (DP rows)."""

import base64
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.jose import jwk, jws
from watchword.jose.strict_json import encode
from watchword.oauth import dpop
from watchword.oauth.dpop import DPoPProof
from watchword.oauth.errors import OAuthError

NOW = 1_800_000_000
URI = "https://as.example/oauth/token"
KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")
ED = jwk.generate("EdDSA")
TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
ATH = base64.urlsafe_b64encode(hashlib.sha256(TOKEN.encode()).digest()).rstrip(b"=").decode()


def proof(*, key: jwk.Key = KEY, header: dict[str, Any] | None = None, **change: Any) -> str:
    """Make a proof with some claims or header members changed, or left out where None."""
    claims = {"jti": "j1", "htm": "POST", "htu": URI, "iat": NOW, "ath": ATH, **change}
    public = {name: value for name, value in jwk.public_document(key).items() if name not in ("kid", "alg")}
    members = {"typ": "dpop+jwt", "jwk": public, **(header or {})}
    return jws.sign(
        key,
        {name: value for name, value in members.items() if value is not None},
        encode({name: value for name, value in claims.items() if value is not None}),
    )


def check(token: str, **options: Any) -> DPoPProof:
    """Check a proof for the token request, with a token."""
    return dpop.check_proof(
        token, **{"method": "POST", "uri": URI, "now": NOW, "access_token": TOKEN, **options}
    )


@pytest.mark.parametrize("key", [KEY, ED], ids=["ES256", "EdDSA"])
def test_a_good_proof_names_its_key(key: jwk.Key) -> None:
    assert check(proof(key=key), expected_jkt=key.thumbprint) == DPoPProof(key.thumbprint, "j1", NOW, None)


def test_the_example_of_the_specification_holds() -> None:
    # RFC 9449 §4.1 and §6.1
    example = (
        "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRj"
        "QyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGk"
        "iOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyM"
        "jYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
    )
    found = dpop.check_proof(example, method="POST", uri="https://server.example.com/token", now=1562262616)
    assert found.jkt == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
    assert found.jti == "-BwC3ESc6acc2lTc"


@pytest.mark.parametrize(
    ("htu", "uri"),
    [
        pytest.param(URI + "?a=b#c", URI, id="DP-52 query and fragment of the proof do not count"),
        pytest.param(URI, URI + "?a=b", id="nor those of the request"),
        pytest.param("HTTPS://AS.Example/oauth/token", URI, id="DP-52 case of scheme and host"),
        pytest.param("https://as.example:443/oauth/token", URI, id="DP-52 the default port"),
        pytest.param("https://as.example/o%61uth/token", URI, id="an escape that was not needed"),
        pytest.param("https://as.example/a%2fb", "https://as.example/a%2Fb", id="case of an escape"),
        pytest.param("https://as.example", "https://as.example/", id="an empty path"),
    ],
)
def test_addresses_that_mean_the_same_are_the_same(htu: str, uri: str) -> None:
    assert check(proof(htu=htu), uri=uri).jti == "j1"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"htm": "GET"}, id="another method"),
        pytest.param({"htm": "post"}, id="a method in other case"),
        pytest.param({"htm": None}, id="no method"),
        pytest.param({"htu": "https://evil.example/oauth/token"}, id="another host"),
        pytest.param({"htu": "http://as.example/oauth/token"}, id="another scheme"),
        pytest.param({"htu": "https://as.example:444/oauth/token"}, id="another port"),
        pytest.param({"htu": "https://as.example/oauth/token/"}, id="a trailing slash"),
        pytest.param({"htu": "https://as.example/oauth/Token"}, id="a path in other case"),
        pytest.param({"htu": "https://as.example/x/../oauth/token"}, id="dot segments"),
        pytest.param({"htu": "https://u@as.example/oauth/token"}, id="user information"),
        pytest.param({"htu": "https://as.exa\tmple/oauth/token"}, id="a tab"),
        pytest.param({"htu": URI + "\n"}, id="a line feed"),
        pytest.param({"htu": "http://["}, id="an unreadable address"),
        pytest.param({"htu": "https://as.example:x/"}, id="a port that is no number"),
        pytest.param({"htu": 5}, id="an address that is a number"),
        pytest.param({"htu": None}, id="no address"),
        pytest.param({"iat": NOW - 121}, id="an old proof"),
        pytest.param({"iat": NOW + 31}, id="a proof of the future"),
        pytest.param({"iat": str(NOW)}, id="a time that is text"),
        pytest.param({"iat": True}, id="a time that is a truth value"),
        pytest.param({"iat": None}, id="no time"),
        pytest.param({"jti": None}, id="no identifier"),
        pytest.param({"jti": ""}, id="an empty identifier"),
        pytest.param({"jti": "x" * 257}, id="a long identifier"),
        pytest.param({"jti": 1}, id="an identifier that is a number"),
        pytest.param({"ath": None}, id="no token hash"),
        pytest.param({"ath": ATH + "="}, id="a padded token hash"),
        pytest.param({"ath": "é" * 43}, id="a token hash beyond ASCII"),
        pytest.param({"ath": 1}, id="a token hash that is a number"),
        pytest.param({"nonce": 1}, id="a nonce that is a number"),
        pytest.param({"header": {"typ": "JWT"}}, id="another type"),
        pytest.param({"header": {"typ": None}}, id="no type"),
        pytest.param({"header": {"jwk": None}}, id="no key"),
        pytest.param({"header": {"jwk": jwk.private_document(KEY)}}, id="a private key"),
        pytest.param({"header": {"jwk": jwk.public_document(OTHER)}}, id="the key of somebody else"),
        pytest.param({"header": {"jwk": {"kty": "oct", "k": "AAAA"}}}, id="a symmetric key"),
        pytest.param(
            {"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}}, id="a broken key"
        ),
        pytest.param({"header": {"jwk": []}}, id="a key that is a list"),
        pytest.param({"header": {"crit": ["x"]}}, id="an unknown critical header"),
        pytest.param({"key": OTHER}, id="DP-04 another key than the token's"),
    ],
)
def test_a_proof_is_refused_for(change: dict[str, Any]) -> None:
    check(proof(), expected_jkt=KEY.thumbprint)
    with pytest.raises(OAuthError) as caught:
        check(proof(**change), expected_jkt=KEY.thumbprint)
    assert caught.value.code == "invalid_dpop_proof"


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param({"iat": NOW - 120}, {"iat": NOW - 121}, id="its age"),
        pytest.param({"iat": NOW + 30}, {"iat": NOW + 31}, id="a clock ahead"),
        pytest.param({"jti": "x" * 256}, {"jti": "x" * 257}, id="the length of its identifier"),
    ],
)
def test_a_proof_is_good_up_to_the_limit_of(last: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert check(proof(**last)).jkt == KEY.thumbprint
    with pytest.raises(OAuthError, match="invalid_dpop_proof"):
        check(proof(**beyond))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b.c", f"{proof()}, {proof()}", "\ud800.a.b", "a" * 10_000]
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(OAuthError, match="invalid_dpop_proof"):
        check(text)


def test_ca_03_an_unsigned_proof_is_refused() -> None:
    for alg in ("none", "None", "NONE", "", "HS256"):
        header = jwk.b64encode(encode({"alg": alg, "typ": "dpop+jwt", "jwk": jwk.public_document(KEY)}))
        with pytest.raises(OAuthError, match="invalid_dpop_proof"):
            check(f"{header}.{proof().split('.')[1]}.")


def test_a_tampered_proof_is_refused() -> None:
    head, _, signature = proof().split(".")
    with pytest.raises(OAuthError, match="invalid_dpop_proof"):
        check(f"{head}.{proof(jti='j2').split('.')[1]}.{signature}")


SECRET = b"k" * 32


def accepts(nonce: str) -> bool:
    """Accept the nonces of a server with this key."""
    return dpop.is_fresh_nonce(SECRET, nonce, NOW)


def test_dp_50_a_server_nonce_is_accepted_on_every_node_that_has_the_key() -> None:
    nonce = dpop.make_nonce(SECRET, NOW - 10)
    assert check(proof(nonce=nonce), nonce_check=accepts).nonce == nonce
    assert check(proof(nonce="anything")).nonce == "anything"


@pytest.mark.parametrize(
    "nonce",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param(dpop.make_nonce(SECRET, NOW - 301), id="stale"),
        pytest.param(dpop.make_nonce(SECRET, NOW + 91), id="of the future"),
        pytest.param(dpop.make_nonce(b"x" * 32, NOW), id="of another server"),
        pytest.param(dpop.make_nonce(SECRET, NOW)[:-1], id="truncated"),
        pytest.param(dpop.make_nonce(SECRET, NOW) + "\n", id="with a line feed"),
        pytest.param("é", id="beyond ASCII"),
        pytest.param("x" * 4000, id="long"),
    ],
)
def test_dp_50_a_proof_without_a_fresh_nonce_gets_another_chance(nonce: str | None) -> None:
    with pytest.raises(OAuthError) as caught:
        check(proof(nonce=nonce), nonce_check=accepts)
    assert caught.value.code == "use_dpop_nonce"


@pytest.mark.parametrize(
    ("made_at", "good"),
    [(NOW - 360, False), (NOW - 301, False), (NOW - 300, True), (NOW + 30, True), (NOW + 119, False)],
)
def test_dp_50_a_nonce_is_good_for_five_minutes_from_the_minute_it_was_made_in(
    made_at: int, good: bool
) -> None:
    assert accepts(dpop.make_nonce(SECRET, made_at)) is good


@given(st.text(max_size=50))
def test_no_text_is_a_nonce_of_ours(text: str) -> None:
    assert not accepts(text)
