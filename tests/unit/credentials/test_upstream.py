"""Signing in elsewhere: the answer must be the asked provider's, for this browser and attempt. Rows FD-01 to FD-03."""

import base64
import hashlib
import json
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.credentials.providers import CALLBACK, ISSUER, PROVIDER, reason

from watchword.credentials import upstream
from watchword.credentials.upstream import Attempt, Identity, Linked, Provider, TokenAnswer
from watchword.jose import jwk, jws, jwt
from watchword.oauth import pkce

NOW = 1_800_000_000


KEY = jwk.generate("ES256")


THIEF = jwk.generate("ES256", KEY.kid)


URL, ATTEMPT = upstream.begin(PROVIDER, redirect_uri=CALLBACK, random=bytes(range(96)))


OTHER_ATTEMPT = upstream.begin(PROVIDER, redirect_uri=CALLBACK, random=bytes(96))[1]


CLAIMS: dict[str, object] = {
    "iss": ISSUER,
    "sub": "248289761001",
    "aud": "us",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": ATTEMPT.nonce,
    "email": "Ada@example.com",
    "email_verified": True,
    "name": "Ada",
}


HONEST = {"state": ATTEMPT.state, "code": "a code", "iss": ISSUER}


def id_token(*, key: jwk.Key = KEY, typ: str | None = "JWT", **changes: object) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    return jwt.encode(key, claims, typ=typ)


def check(token: str | None, *, attempt: Attempt = ATTEMPT) -> Identity:
    answer = TokenAnswer("access", token)
    return upstream.check_id_token(PROVIDER, attempt, answer, [KEY], now=NOW)


def test_the_browser_is_sent_with_state_nonce_and_pkce() -> None:
    query = {name: values[0] for name, values in parse_qs(urlsplit(URL).query, strict_parsing=True).items()}
    assert URL.startswith(f"{ISSUER}/authorize?")
    assert query == {
        "response_type": "code",
        "client_id": "us",
        "redirect_uri": CALLBACK,
        "scope": "openid profile email",
        "state": ATTEMPT.state,
        "nonce": ATTEMPT.nonce,
        "code_challenge": pkce.challenge_of(ATTEMPT.code_verifier),
        "code_challenge_method": "S256",
    }
    assert len({ATTEMPT.state, ATTEMPT.nonce, ATTEMPT.code_verifier}) == 3
    form = upstream.token_request(PROVIDER, ATTEMPT, "a code")
    pkce.verify(form["code_verifier"], query["code_challenge"])
    assert form["redirect_uri"] == CALLBACK
    assert "client_secret" not in form
    posting = msgspec.structs.replace(PROVIDER, basic=False)
    assert upstream.token_request(posting, ATTEMPT, "a code", "s")["client_secret"] == "s"
    assert upstream.basic_credentials(posting, "s") is None


def test_a_secret_is_sent_once_and_escaped_where_it_goes_into_a_header() -> None:
    asked = msgspec.structs.replace(PROVIDER, client_id="a:b c", basic=True)
    form = upstream.token_request(asked, ATTEMPT, "a code", "s%s")
    assert not {"client_id", "client_secret"} & form.keys()
    header = upstream.basic_credentials(asked, "s%s")
    assert header == "Basic " + base64.b64encode(b"a%3Ab+c:s%25s").decode()
    assert upstream.basic_credentials(asked, None) is None
    assert upstream.token_request(asked, ATTEMPT, "a code")["client_id"] == "a:b c", "without a secret"


def test_wishes_are_passed_on() -> None:
    url, _ = upstream.begin(
        PROVIDER,
        redirect_uri=CALLBACK,
        random=bytes(96),
        max_age=60,
    )
    query = parse_qs(urlsplit(url).query)
    assert ("prompt" in query, query["max_age"]) == (False, ["60"])
    assert "claims" not in query, "only of a provider that says it takes them"
    curious = msgspec.structs.replace(PROVIDER, takes_claims=True)
    url, _ = upstream.begin(curious, redirect_uri=CALLBACK, random=bytes(96))
    asked = json.loads(parse_qs(urlsplit(url).query)["claims"][0])
    assert asked == {"id_token": {"auth_time": {"essential": True}}}
    with pytest.raises(ValueError, match="96"):
        upstream.begin(PROVIDER, redirect_uri=CALLBACK, random=b"little")


@pytest.mark.parametrize(
    ("taken", "asked"),
    [
        pytest.param(None, ["login"], id="it does not say"),
        pytest.param(("none", "login", "select_account"), ["login"], id="it takes the wish"),
        pytest.param(("none", "consent", "select_account"), ["select_account"], id="it would refuse it"),
        pytest.param(("none",), None, id="it would refuse any"),
    ],
)
def test_a_provider_is_asked_to_prove_somebody_anew_by_a_wish_that_it_takes(
    taken: tuple[str, ...] | None, asked: list[str] | None
) -> None:
    provider = msgspec.structs.replace(PROVIDER, prompts=taken)
    url, _ = upstream.begin(provider, redirect_uri=CALLBACK, random=bytes(96), max_age=0)
    query = parse_qs(urlsplit(url).query)
    assert (query.get("prompt"), query["max_age"]) == (asked, ["0"])


@pytest.mark.parametrize(
    ("attempt", "changes", "expected"),
    [
        pytest.param(None, {}, "state", id="nobody began here"),
        pytest.param(OTHER_ATTEMPT, {}, "state", id="another browser began it"),
        pytest.param(ATTEMPT, {"state": ...}, "state", id="no state"),
        pytest.param(ATTEMPT, {"state": ""}, "state", id="an empty state"),
        pytest.param(ATTEMPT, {"state": ATTEMPT.state + "\x00"}, "state", id="a state with NUL"),
        pytest.param(ATTEMPT, {"state": "é\ud800"}, "state", id="a state that is not ASCII"),
        pytest.param(ATTEMPT, {"iss": "https://evil.example"}, "issuer", id="another issuer's answer"),
        pytest.param(ATTEMPT, {"iss": ISSUER + "/"}, "issuer", id="almost the issuer"),
        pytest.param(ATTEMPT, {"iss": ...}, "issuer", id="no issuer from one that says it names itself"),
        pytest.param(ATTEMPT, {"error": "access_denied"}, "denied", id="the person said no"),
        pytest.param(ATTEMPT, {"error": "server_error\r\n"}, "error", id="the provider failed"),
        pytest.param(
            ATTEMPT,
            {"error": "server_error", "iss": "https://evil.example"},
            "issuer",
            id="an error of another",
        ),
        pytest.param(ATTEMPT, {"code": ...}, "code", id="no code"),
        pytest.param(ATTEMPT, {"code": "a\r\nb"}, "code", id="a code with a line break"),
        pytest.param(ATTEMPT, {"code": "é"}, "code", id="a code that is not ASCII"),
        pytest.param(ATTEMPT, {"code": "x" * 4097}, "code", id="an endless code"),
    ],
)
def test_an_answer_that_was_not_asked_for_is_refused(
    attempt: Attempt | None, changes: dict[str, object], expected: str
) -> None:
    """FD-02."""
    assert upstream.check_callback(PROVIDER, ATTEMPT, HONEST) == "a code"
    sent: Any = {name: value for name, value in (HONEST | changes).items() if value is not ...}
    assert reason(lambda: upstream.check_callback(PROVIDER, attempt, sent)) == expected


def test_an_answer_at_another_providers_address_is_refused() -> None:
    """FD-02: mix-up without `iss`."""
    other = Provider("https://other.example", "us", "https://other.example/a", "https://other.example/t")
    sent = {"state": ATTEMPT.state, "code": "a code"}
    assert reason(lambda: upstream.check_callback(other, ATTEMPT, sent)) == "issuer"
    assert (
        reason(lambda: upstream.check_id_token(other, ATTEMPT, TokenAnswer("a", id_token()), [KEY], now=NOW))
        == "id_token"
    )


@pytest.mark.parametrize("typ", ["JWT", "jwt", None])
def test_an_id_token_says_who_it_was(typ: str | None) -> None:
    found = check(id_token(typ=typ, auth_time=NOW - 5))
    assert found.key == (ISSUER, "248289761001")
    assert found.verified_email == "Ada@example.com"
    assert (found.name, found.auth_time) == ("Ada", NOW - 5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"nonce": OTHER_ATTEMPT.nonce}, "nonce", id="of another attempt"),
        pytest.param({"nonce": ...}, "id_token", id="without a nonce"),
        pytest.param({"nonce": ["x"]}, "nonce", id="with a list of nonces"),
        pytest.param({"iss": "https://evil.example"}, "id_token", id="of another issuer"),
        pytest.param({"aud": "them"}, "id_token", id="for another client"),
        pytest.param({"aud": ["us", "them"]}, "id_token", id="for several without azp"),
        pytest.param({"aud": ["us", "them"], "azp": "them"}, "id_token", id="presented by another"),
        pytest.param({"exp": NOW - 61}, "id_token", id="expired"),
        pytest.param({"exp": ...}, "id_token", id="without an end"),
        pytest.param({"iat": NOW - 3600}, "id_token", id="of an hour ago"),
        pytest.param({"iat": NOW + 3600}, "id_token", id="of the future"),
        pytest.param({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "id_token", id="beside another access token"),
        pytest.param({"at_hash": 5}, "id_token", id="with a number for a hash"),
        pytest.param({"auth_time": "yesterday"}, "id_token", id="with a text for a time"),
        pytest.param({"sub": ...}, "id_token", id="about nobody"),
        pytest.param({"sub": ""}, "subject", id="about an empty subject"),
        pytest.param({"sub": 5}, "id_token", id="about a number"),
        pytest.param({"sub": "x" * 256}, "subject", id="about an endless subject"),
        pytest.param({"sub": "ädä"}, "subject", id="about a subject that is not ASCII"),
        pytest.param({"key": THIEF}, "id_token", id="signed by another key of the same name"),
        pytest.param({"typ": "logout+jwt"}, "id_token", id="that is a logout token"),
        pytest.param({"typ": "at+jwt"}, "id_token", id="that is an access token"),
    ],
)
def test_an_id_token_that_is_not_this_sign_ins_is_refused(changes: dict[str, Any], expected: str) -> None:
    """FD-02."""
    assert check(id_token())
    assert reason(lambda: check(id_token(**changes))) == expected


@pytest.mark.parametrize("token", [None, "", "a.b.c", "é", "\ud800", "x" * 1_000_000])
def test_what_is_no_id_token_is_refused(token: str | None) -> None:
    assert reason(lambda: check(token)) == "id_token"


def test_an_id_token_under_a_shared_secret_or_none_is_refused() -> None:
    """FD-02, CA-03."""
    assert not {"none", "HS256"} & set(PROVIDER.algorithms)
    header, payload, signature = id_token().split(".")
    for alg in ("none", "HS256"):
        forged = jwk.b64encode(json.dumps({"alg": alg, "typ": "JWT", "kid": KEY.kid}).encode())
        assert reason(lambda forged=forged: check(f"{forged}.{payload}.{signature}")) == "id_token"
        assert reason(lambda forged=forged: check(f"{forged}.{payload}.")) == "id_token"
    assert jws.peek(f"{header}.{payload}.{signature}").alg == "ES256"


def test_an_access_token_is_bound_to_its_id_token() -> None:
    assert check(id_token(at_hash=jwk.b64encode(hashlib.sha256(b"access").digest()[:16])))


@pytest.mark.parametrize(
    ("told", "believed"),
    [
        (NOW - 600, NOW - 600),
        (NOW - 600.5, NOW - 601),
        (NOW + 30, NOW),
        (1e300, NOW),
        (2**50, NOW),
        (0, 0),
        (..., None),
    ],
)
def test_when_somebody_proved_who_they_are_is_never_in_the_future(told: object, believed: int | None) -> None:
    assert check(id_token(auth_time=told)).auth_time == believed


@pytest.mark.parametrize("told", [-1, -0.5, True, str(NOW), [NOW]])
def test_a_time_that_is_none_is_refused(told: object) -> None:
    assert check(id_token(auth_time=NOW))
    assert reason(lambda: check(id_token(auth_time=told))) == "id_token"


@pytest.mark.parametrize(
    ("changes", "email"),
    [
        pytest.param({}, "Ada@example.com", id="verified"),
        pytest.param({"email_verified": False}, None, id="not verified"),
        pytest.param({"email_verified": ...}, None, id="nothing said"),
        pytest.param({"email_verified": "true"}, None, id="a text"),
        pytest.param({"email_verified": 1}, None, id="a number"),
        pytest.param({"email": "a@b@example.com"}, None, id="no address"),
        pytest.param({"email": "a@example.com\r\nBcc: b@evil.com"}, None, id="an address with a header"),
        pytest.param({"email": ["ada@example.com"]}, None, id="a list"),
    ],
)
def test_an_address_is_passed_on_only_when_verified(changes: dict[str, Any], email: str | None) -> None:
    """FD-01."""
    assert check(id_token(**changes)).verified_email == email


def test_the_same_subject_of_another_issuer_is_somebody_else() -> None:
    """FD-01."""
    assert Identity(ISSUER, "1").key != Identity("https://other.example", "1").key


def test_userinfo_adds_to_the_same_person_only() -> None:
    known = check(id_token(email=..., email_verified=...))
    body = {"sub": known.sub, "email": "ada@example.com", "email_verified": True}
    assert upstream.read_userinfo(json.dumps(body).encode(), known).verified_email == "ada@example.com"
    others: list[object] = [{**body, "sub": "somebody else"}, {"email": "x"}, []]
    for other in others:
        assert reason(partial(upstream.read_userinfo, json.dumps(other).encode(), known)) == "subject"


def test_userinfo_takes_nothing_away_that_the_id_token_said() -> None:
    known = check(id_token(email=..., email_verified=..., name="Ada Lovelace", preferred_username="ada"))
    body = {"sub": known.sub, "email": "ada@example.com", "email_verified": True}
    completed = upstream.read_userinfo(json.dumps(body).encode(), known)
    assert (completed.name, completed.preferred_username) == ("Ada Lovelace", "ada")
    told = upstream.read_userinfo(json.dumps({**body, "name": "Countess"}).encode(), known)
    assert (told.verified_email, told.name, told.preferred_username) == ("ada@example.com", "Countess", "ada")


DISABLED, ADA = Linked("user_ada", disabled=True), Linked("user_ada", disabled=False)


@pytest.mark.parametrize(
    ("linked", "current", "fresh", "may_register", "outcome"),
    [
        pytest.param(ADA, None, False, False, "sign_in", id="a linked identity signs in"),
        pytest.param(
            None, None, False, True, "register", id="an unknown one registers where that is allowed"
        ),
        pytest.param(None, None, False, False, "refused_unknown", id="and is refused where not"),
        pytest.param(DISABLED, None, False, True, "refused_disabled", id="a disabled account stays disabled"),
        pytest.param(DISABLED, "user_ada", True, True, "refused_disabled", id="also for who was signed in"),
        pytest.param(
            None, "user_ada", True, False, "link", id="with a fresh proof of the account it is linked"
        ),
        pytest.param(None, "user_ada", False, True, "refused_proof", id="without one it is not"),
        pytest.param(ADA, "user_bob", True, True, "refused_taken", id="another's identity is not taken over"),
        pytest.param(ADA, "user_ada", False, False, "sign_in", id="an own one proves the person again"),
    ],
)
def test_an_identity_leads_to_an_account_by_its_key_and_by_proof(
    linked: Linked | None, current: str | None, fresh: bool, may_register: bool, outcome: str
) -> None:
    """FD-01, FD-03."""
    found = upstream.decide(linked, current_user=current, current_is_fresh=fresh, may_register=may_register)
    assert found == outcome


@given(
    st.dictionaries(
        st.sampled_from(["state", "code", "iss", "error"]), st.text(st.characters(exclude_categories=()))
    )
)
def test_whatever_a_browser_brings_is_refused_in_one_way(parameters: dict[str, str]) -> None:
    assert reason(lambda: upstream.check_callback(PROVIDER, ATTEMPT, parameters))
