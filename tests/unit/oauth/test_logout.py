"""A link alone ends no session, and nobody lands where the client did not register (LO rows)."""

import pytest

from watchword.jose import jwk, jwt
from watchword.oauth import logout
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.logout import Hint, LogoutDecision

NOW = 1_800_000_000
ISSUER = "https://as.example"
KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")
BYE = "https://rp.example/bye"
CLIENT = Client(
    client_id="app",
    name="App",
    token_endpoint_auth_method="none",
    post_logout_redirect_uris=(BYE, "https://rp.example/bye?x=1"),
)
HINT = Hint("app", "alice", "s1")
ID_TOKEN: dict[str, object] = {"iss": ISSUER, "sub": "alice", "aud": "app", "sid": "s1", "exp": NOW - 10_000}

NO_EXPIRY = {name: value for name, value in ID_TOKEN.items() if name != "exp"}


def read(token: str) -> Hint | None:
    """Read a hint as this issuer does."""
    return logout.read_hint(token, keys=[KEY], issuer=ISSUER, algorithms=("ES256",))


def test_an_expired_id_token_of_ours_is_a_hint() -> None:
    assert read(jwt.encode(KEY, ID_TOKEN)) == HINT
    assert read(jwt.encode(KEY, {**ID_TOKEN, "sid": None})) == Hint("app", "alice", None)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(jwt.encode(OTHER, ID_TOKEN), id="of another key"),
        pytest.param(jwt.encode(KEY, {**ID_TOKEN, "iss": "https://other.example"}), id="of another issuer"),
        pytest.param(jwt.encode(KEY, ID_TOKEN, typ="at+jwt"), id="that is an access token"),
        pytest.param(jwt.encode(KEY, {**ID_TOKEN, "events": {}}), id="that is a logout token"),
        pytest.param(jwt.encode(KEY, {**ID_TOKEN, "aud": ["app"]}), id="for a list of clients"),
        pytest.param(jwt.encode(KEY, {**NO_EXPIRY}), id="that is a userinfo answer"),
        pytest.param(jwt.encode(KEY, {"iss": ISSUER, "aud": "app", "exp": NOW}), id="about nobody"),
        pytest.param("", id="empty"),
        pytest.param("a.b.c", id="garbage"),
        pytest.param("\ud800.\ud800.\ud800", id="surrogates"),
        pytest.param("a" * 100_000, id="huge"),
    ],
)
def test_no_hint_is_read_from_a_token(token: str) -> None:
    assert read(token) is None


def test_parameter_and_hint_name_one_client() -> None:
    assert logout.client_of("app", HINT) == "app"
    assert logout.client_of(None, HINT) == "app"
    assert logout.client_of("app", None) == "app"
    assert logout.client_of(None, None) is None
    with pytest.raises(OAuthError, match="invalid_request"):
        logout.client_of("other", HINT)


def decide(client: Client | None = CLIENT, hint: Hint | None = HINT, **parameters: str) -> LogoutDecision:
    """Decide a logout of Alice, who is signed in."""
    return logout.decide(parameters, client, hint, session_sids=("s1",), session_subject="alice")


def test_the_honest_logout_ends_without_a_question_where_the_client_wants() -> None:
    assert decide(post_logout_redirect_uri=BYE) == LogoutDecision(confirm=False, location=BYE)
    assert decide(post_logout_redirect_uri=BYE, state="a b&c").location == BYE + "?state=a%20b%26c"
    assert decide(post_logout_redirect_uri=BYE + "?x=1", state="s").location == BYE + "?x=1&state=s"


@pytest.mark.parametrize(
    "hint",
    [None, Hint("app", "bob", None), Hint("app", "alice", "other")],
    ids=["none", "other", "old session"],
)
def test_without_a_hint_of_this_session_the_person_is_asked(hint: Hint | None) -> None:
    assert decide(hint=hint).confirm


def test_a_session_of_another_person_than_the_one_who_is_named_is_asked_about() -> None:
    known = {"session_sids": ("s1",), "session_subject": "alice"}
    assert logout.decide({}, CLIENT, HINT, **known, names_session=False) == LogoutDecision(True, None, True)
    nobody = logout.decide({}, CLIENT, HINT, session_sids=(), session_subject=None, names_session=False)
    assert nobody == LogoutDecision(False, None, False)


def test_nobody_is_asked_when_nobody_is_signed_in() -> None:
    found = logout.decide({}, CLIENT, HINT, session_sids=(), session_subject=None)
    assert found == LogoutDecision(confirm=False, location=None)


@pytest.mark.parametrize(
    "address",
    ["https://evil.example/", BYE + "/", BYE + "?a=1", BYE + "#x", "https://rp.example@evil.example/bye",
     "javascript:alert(1)", "//evil.example", BYE + "\n", "http://[", "\ud800", ""],
    ids=ascii,
)  # fmt: skip
def test_lo_02_nobody_is_sent_to_an_address_that_is_not_registered(address: str) -> None:
    assert decide(post_logout_redirect_uri=address).location is None


def test_lo_02_nobody_is_sent_anywhere_for_an_unknown_client() -> None:
    assert decide(None, None, post_logout_redirect_uri=BYE).location is None


@pytest.mark.parametrize(
    "state", ["a\r\nb", "\x00", "\ud800", "x" * 2049], ids=["CRLF", "NUL", "surrogate", "long"]
)
def test_a_state_that_cannot_be_echoed_stops_the_redirect(state: str) -> None:
    assert decide(post_logout_redirect_uri=BYE, state=state).location is None


GOOD_TOKEN = logout.logout_token_claims(
    issuer=ISSUER, client_id="app", subject="alice", sid="s1", jti="j", now=NOW
)


def check(
    claims: dict[str, object], *, key: jwk.Key = KEY, typ: str | None = "logout+jwt"
) -> logout.LogoutToken:
    """Check a logout token as the client would."""
    kept = {name: value for name, value in claims.items() if value is not None}
    return logout.check_logout_token(
        jwt.encode(key, kept, typ=typ),
        keys=[KEY],
        issuer=ISSUER,
        client_id="app",
        algorithms=("ES256",),
        now=NOW,
    )


def test_a_logout_token_of_ours_passes_the_checks_of_a_client() -> None:
    assert set(GOOD_TOKEN) == {"iss", "aud", "iat", "exp", "jti", "events", "sub", "sid"}
    assert check(GOOD_TOKEN) == logout.LogoutToken("j", "alice", "s1", NOW + 150, NOW - 90)
    assert check({**GOOD_TOKEN, "sub": None}).subject is None
    with pytest.raises(ValueError):
        logout.logout_token_claims(issuer=ISSUER, client_id="app", subject=None, sid=None, jti="j", now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"nonce": "n"}, id="a nonce"),
        pytest.param({"events": None}, id="no events"),
        pytest.param({"events": []}, id="events that are a list"),
        pytest.param({"events": {"other": {}}}, id="another event"),
        pytest.param({"events": {logout.EVENT: 1}}, id="an event that is a number"),
        pytest.param({"sub": None, "sid": None}, id="neither sub nor sid"),
        pytest.param({"sid": 1}, id="a sid that is a number"),
        pytest.param({"jti": None}, id="no jti"),
        pytest.param({"jti": ""}, id="an empty jti"),
        pytest.param({"aud": "other"}, id="another client"),
        pytest.param({"iss": "https://other.example"}, id="another issuer"),
        pytest.param({"exp": NOW - 100}, id="expiry"),
        pytest.param({"exp": NOW + 7200}, id="a long life"),
        pytest.param({"iat": None}, id="no iat"),
    ],
)
def test_lo_50_a_logout_token_is_refused_for(change: dict[str, object]) -> None:
    with pytest.raises(OAuthError, match="invalid_request"):
        check({**GOOD_TOKEN, **change})


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param({"exp": NOW + 3600}, {"exp": NOW + 3601}, id="its life"),
        pytest.param({"exp": NOW - 29}, {"exp": NOW - 30}, id="its expiry"),
        pytest.param({"jti": "x" * 256}, {"jti": "x" * 257}, id="the length of its jti"),
    ],
)
def test_lo_50_a_logout_token_is_accepted_up_to_the_limit_of(
    last: dict[str, object], beyond: dict[str, object]
) -> None:
    check({**GOOD_TOKEN, **last})
    with pytest.raises(OAuthError, match="invalid_request"):
        check({**GOOD_TOKEN, **beyond})


def test_lo_50_a_logout_token_has_its_type_and_its_key() -> None:
    with pytest.raises(OAuthError):
        check(GOOD_TOKEN, typ="at+jwt")
    with pytest.raises(OAuthError):
        check(GOOD_TOKEN, key=OTHER)
