"""What an authorization request may say, and who hears of it when it may not (AZ, RU, PK rows)."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.oauth import authorization
from watchword.oauth.authorization import AuthorizationRequest, RedirectError, Rules
from watchword.oauth.authorization_details import DetailType
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
REDIRECT = "https://rp.example/cb"
API = "https://api.example"
RULES = Rules(API, {"payment": DetailType(members={"amount": "string"})})
PUBLIC = Client(
    client_id="app",
    name="App",
    token_endpoint_auth_method="none",
    grant_types=("authorization_code",),
    response_types=("code",),
    redirect_uris=(REDIRECT,),
    scope=("openid", "profile", "read"),
    authorization_details_types=("payment",),
)
CONFIDENTIAL = msgspec.structs.replace(PUBLIC, token_endpoint_auth_method="client_secret_basic")
RELAXED = msgspec.structs.replace(CONFIDENTIAL, require_pkce=False)
GOOD = {
    "client_id": "app",
    "response_type": "code",
    "redirect_uri": REDIRECT,
    "scope": "openid read",
    "state": "xyz",
    "nonce": "n",
    "code_challenge": CHALLENGE,
    "code_challenge_method": "S256",
}


def decide(client: Client = PUBLIC, **change: str | None) -> AuthorizationRequest:
    """Decide the good request with some parameters changed, or left out where None."""
    return authorization.decide(
        {name: value for name, value in {**GOOD, **change}.items() if value is not None}, client, RULES
    )


def redirected(client: Client = PUBLIC, **change: str | None) -> RedirectError:
    """Return the error that is sent to the client for a changed request."""
    decide()
    with pytest.raises(RedirectError) as caught:
        decide(client, **change)
    assert caught.value.redirect_uri == REDIRECT
    assert caught.value.state == "xyz"
    return caught.value


def shown(client: Client = PUBLIC, **change: str | None) -> OAuthError:
    """Return the error that is shown on a page for a changed request."""
    decide()
    with pytest.raises(OAuthError) as caught:
        decide(client, **change)
    assert not isinstance(caught.value, RedirectError)
    return caught.value


def test_an_honest_request_is_kept_as_it_was_meant() -> None:
    request = authorization.decide(
        {
            **GOOD,
            "response_mode": "form_post",
            "prompt": "consent login",
            "max_age": "300",
            "login_hint": "alice@example.com",
            "acr_values": "gold silver",
            "ui_locales": "de-CH en",
            "display": "popup",
            "claims": '{"userinfo": {"email": null}}',
            "authorization_details": '[{"type": "payment", "amount": "1"}]',
            "dpop_jkt": "a" * 43,
            "unknown": "ignored",
        },
        PUBLIC,
        RULES,
        resources=(API,),
    )
    assert request.scope == ("openid", "read")
    assert request.response_mode == "form_post"
    assert request.prompt == ("login", "consent")
    assert request.max_age == 300
    assert request.acr_values == ("gold", "silver")
    assert request.ui_locales == ("de-CH", "en")
    assert request.display == "popup"
    assert request.audience == (API,)
    assert request.authorization_details == ({"type": "payment", "amount": "1"},)
    assert "email" in request.claims.userinfo
    stored = msgspec.json.encode(request)
    assert msgspec.json.decode(stored, type=AuthorizationRequest) == request


@pytest.mark.parametrize(
    "redirect",
    [
        pytest.param("https://evil.example/cb", id="RU-01 another host"),
        pytest.param(REDIRECT + "/", id="RU-02 another path"),
        pytest.param(REDIRECT + "?next=x", id="RU-03 an added query"),
        pytest.param(REDIRECT + "#x", id="RU-04 a fragment"),
        pytest.param("javascript:alert(1)", id="RU-10 a script"),
        pytest.param("http://[", id="an unreadable address"),
        pytest.param(None, id="RU-15 no address in an OpenID request"),
        pytest.param("", id="RU-15 an empty address in an OpenID request"),
    ],
)
def test_nothing_is_ever_sent_to_an_unverified_address(redirect: str | None) -> None:
    assert shown(redirect_uri=redirect).code == "invalid_request"
    # however wrong the rest is
    assert shown(redirect_uri=redirect, response_type="token", code_challenge=None).code == "invalid_request"


def test_a_plain_request_may_leave_out_the_only_address() -> None:
    assert decide(scope="read", redirect_uri=None).redirect_uri == REDIRECT
    assert not decide(scope="read", redirect_uri=None).redirect_uri_sent
    assert decide(scope="read").redirect_uri_sent
    two = msgspec.structs.replace(PUBLIC, redirect_uris=(REDIRECT, "https://rp.example/2"))
    assert shown(two, scope="read", redirect_uri=None).code == "invalid_request"


def test_the_client_of_the_request_is_the_client_that_was_looked_up() -> None:
    assert shown(client_id="other").code == "invalid_request"


def test_a_client_without_the_grant_has_no_authorization_endpoint() -> None:
    machine = msgspec.structs.replace(PUBLIC, grant_types=("client_credentials",))
    assert shown(machine).code == "unauthorized_client"


@pytest.mark.parametrize(
    "state",
    ["x" * 2049, "a\r\nb", "a\x00b", "\ud800", "a\x7f"],
    ids=["long", "CRLF", "NUL", "surrogate", "DEL"],
)
def test_az_07_a_state_that_cannot_be_echoed_is_refused_on_a_page(state: str) -> None:
    assert shown(state=state).code == "invalid_request"


@pytest.mark.parametrize("state", ["x" * 2048, "é≠ \"'<>&=%+#;", "%0d%0a"])
def test_az_07_any_other_state_is_kept_exactly(state: str) -> None:
    assert decide(state=state).state == state


CASES = [
    ("AZ-03 an unknown response_type", {"response_type": "banana"}, "unsupported_response_type"),
    ("AZ-03 no response_type", {"response_type": None}, "invalid_request"),
    ("AZ-04 token", {"response_type": "token"}, "unsupported_response_type"),
    ("AZ-04 id_token token", {"response_type": "id_token token"}, "unsupported_response_type"),
    ("AZ-04 code token", {"response_type": "code token"}, "unsupported_response_type"),
    ("AZ-04 code id_token token", {"response_type": "code id_token token"}, "unsupported_response_type"),
    ("AZ-14 an unknown response_mode", {"response_mode": "banana"}, "invalid_request"),
    ("AZ-14 fragment", {"response_mode": "fragment"}, "invalid_request"),
    ("AZ-14 web_message", {"response_mode": "web_message"}, "invalid_request"),
    ("AZ-14 jwt", {"response_mode": "query.jwt"}, "invalid_request"),
    ("PK-01 no code_challenge", {"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    ("PK-06 an empty code_challenge", {"code_challenge": ""}, "invalid_request"),
    ("PK-06 a short code_challenge", {"code_challenge": "abc"}, "invalid_request"),
    ("PK-06 S512", {"code_challenge_method": "S512"}, "invalid_request"),
    ("PK-06 an empty method", {"code_challenge_method": ""}, "invalid_request"),
    ("PK-06 a method without challenge", {"code_challenge": None}, "invalid_request"),
    ("plain", {"code_challenge_method": "plain"}, "invalid_request"),
    ("a scope that is not the client's", {"scope": "admin"}, "invalid_scope"),
    ("a scope that is not the client's beside one that is", {"scope": "read admin"}, "invalid_scope"),
    ("a malformed scope", {"scope": 'read "x"'}, "invalid_scope"),
    ("AZ-21 1 200 scopes", {"scope": " ".join(f"s{n}" for n in range(1200))}, "invalid_scope"),
    ("AZ-21 a 7 kB nonce", {"nonce": "n" * 7000}, "invalid_request"),
    ("AZ-21 a 7 kB acr", {"acr_values": "a" * 7000}, "invalid_request"),
    ("AZ-21 a 7 kB code_challenge", {"code_challenge": "a" * 7000}, "invalid_request"),
    ("AZ-21 1 000 locales", {"ui_locales": "de " * 1000}, "invalid_request"),
    ("AZ-21 1 000 prompts", {"prompt": "login " * 1000}, "invalid_request"),
    ("AZ-21 broken claims", {"claims": "{"}, "invalid_request"),
    ("an unknown prompt", {"prompt": "banana"}, "invalid_request"),
    ("prompt none beside another", {"prompt": "none login"}, "invalid_request"),
    ("AZ-12 max_age=-1", {"max_age": "-1"}, "invalid_request"),
    ("AZ-12 max_age=abc", {"max_age": "abc"}, "invalid_request"),
    ("AZ-12 max_age=1e9", {"max_age": "1e9"}, "invalid_request"),
    ("AZ-12 max_age=10^23", {"max_age": "1" + "0" * 23}, "invalid_request"),
    ("AZ-12 max_age in other digits", {"max_age": "٣"}, "invalid_request"),
    ("AZ-12 max_age superscript", {"max_age": "²"}, "invalid_request"),
    ("a control character in login_hint", {"login_hint": "a\nb"}, "invalid_request"),
    ("AZ-58 an unknown type", {"authorization_details": '[{"type": "x"}]'}, "invalid_authorization_details"),
    (
        "AZ-58 an unknown member",
        {"authorization_details": json.dumps([{"type": "payment", "x": 1}])},
        "invalid_authorization_details",
    ),
    ("a dpop_jkt that is no thumbprint", {"dpop_jkt": "a" * 42}, "invalid_request"),
    ("a request object that nobody opened", {"request": "x"}, "request_not_supported"),
    ("PA-04 a request_uri", {"request_uri": "http://127.0.0.1/"}, "invalid_request"),
    ("registration", {"registration": "{}"}, "registration_not_supported"),
]


@pytest.mark.parametrize(("change", "code"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_the_client_hears_of(change: dict[str, str | None], code: str) -> None:
    assert redirected(PUBLIC, **change).code == code


def test_an_error_goes_back_the_way_that_was_asked_for() -> None:
    assert redirected(response_mode="form_post", scope="admin").response_mode == "form_post"
    assert redirected(response_mode="banana").response_mode == "query"


@pytest.mark.parametrize(
    ("client", "change", "accepted"),
    [
        pytest.param(CONFIDENTIAL, {}, False, id="PK-02 a confidential client needs it by default"),
        pytest.param(RELAXED, {}, True, id="a client registered so may rely on the nonce"),
        pytest.param(RELAXED, {"nonce": None}, False, id="PK-02 but not without nonce"),
        pytest.param(RELAXED, {"scope": "read"}, False, id="nor without openid"),
        pytest.param(
            msgspec.structs.replace(PUBLIC, require_pkce=False), {}, False, id="PK-01 a public client never"
        ),
        pytest.param(
            msgspec.structs.replace(RELAXED, security_profile="fapi2"), {}, False, id="a FAPI client never"
        ),
    ],
)
def test_who_may_do_without_pkce(client: Client, change: dict[str, str | None], accepted: bool) -> None:
    sent = {**{name: value for name, value in GOOD.items() if "challenge" not in name}, **change}
    given = {name: value for name, value in sent.items() if value is not None}
    if accepted:
        assert authorization.decide(given, client, RULES, pushed=True).code_challenge is None
    else:
        with pytest.raises(OAuthError) as refused:
            authorization.decide(given, client, RULES, pushed=True)
        lacking = "nonce" if client is RELAXED else "code_challenge"
        assert (refused.value.code, refused.value.field) == ("invalid_request", lacking)


@pytest.mark.parametrize(
    "change", [{"require_pushed_authorization_requests": True}, {"security_profile": "fapi2"}]
)
def test_a_client_that_must_push_is_refused_otherwise(change: dict[str, object]) -> None:
    client = msgspec.structs.replace(CONFIDENTIAL, **change)
    assert redirected(client).code == "invalid_request"
    assert authorization.decide(GOOD, client, RULES, pushed=True).client_id == "app"


def test_a_client_that_must_sign_is_refused_otherwise() -> None:
    client = msgspec.structs.replace(CONFIDENTIAL, require_signed_request_object=True)
    assert redirected(client).code == "invalid_request"
    assert authorization.decide(GOOD, client, RULES, signed=True).client_id == "app"


def test_a_request_without_scope_gets_the_registered_default() -> None:
    assert decide(scope=None).scope == PUBLIC.scope
    assert decide(scope="").scope == PUBLIC.scope


def test_an_openid_request_loses_only_the_scopes_that_nobody_knows() -> None:
    assert decide(scope="openid address read phone").scope == ("openid", "read")


def test_defaults_of_the_client_hold_when_nothing_was_asked() -> None:
    client = msgspec.structs.replace(PUBLIC, default_max_age=60, default_acr_values=("gold",))
    assert decide(client).max_age == 60
    assert decide(client, max_age="0").max_age == 0
    assert decide(msgspec.structs.replace(client, require_auth_time=True)).max_age == 60
    assert decide(msgspec.structs.replace(PUBLIC, require_auth_time=True)).max_age == authorization.ANY_AGE
    assert decide(PUBLIC).max_age is None
    assert decide(client).acr_values == ("gold",)
    assert decide(client, acr_values="silver").acr_values == ("silver",)


@pytest.mark.parametrize(
    ("resources", "accepted"),
    [
        ((), True),
        ((API,), True),
        ((API + "/",), True),  # the same address (RFC 3986 §6.2.3)
        ((API, API + "/"), True),
        ((API + "//",), False),
        ((API + "/orders",), False),
        (("https://evil.example",), False),
        ((API,) * 11, False),
    ],
)
def test_a_resource_is_one_of_the_clients(resources: tuple[str, ...], accepted: bool) -> None:
    if accepted:
        assert authorization.decide(GOOD, PUBLIC, RULES, resources=resources).audience == (API,)
    else:
        with pytest.raises(RedirectError, match="invalid_target"):
            authorization.decide(GOOD, PUBLIC, RULES, resources=resources)


def test_dp_04_a_pushed_request_binds_the_code_to_the_key_of_its_proof() -> None:
    jkt, other = "a" * 43, "b" * 43
    for sent in (GOOD, {**GOOD, "dpop_jkt": jkt}):
        assert authorization.decide(sent, PUBLIC, RULES, pushed=True, proven_jkt=jkt).dpop_jkt == jkt
    with pytest.raises(OAuthError, match="invalid_dpop_proof"):
        authorization.decide({**GOOD, "dpop_jkt": other}, PUBLIC, RULES, pushed=True, proven_jkt=jkt)


@given(
    st.dictionaries(
        st.sampled_from([*GOOD, *authorization.MAX_LENGTHS, "claims", "authorization_details"]),
        st.one_of(st.text(max_size=40), st.sampled_from(list(GOOD.values()))),
    )
)
def test_az_09_no_text_raises_anything_but_a_protocol_error(change: dict[str, str]) -> None:
    try:
        request = authorization.decide({**GOOD, **change}, PUBLIC, RULES)
    except OAuthError as error:
        assert error.description.isascii()  # noqa: PT017  success is allowed here as well
    else:
        assert request.redirect_uri == REDIRECT
        assert request.code_challenge is not None


def test_a_person_cannot_grant_power_over_this_server() -> None:
    powerful = msgspec.structs.replace(
        CONFIDENTIAL, scope=("openid", "read", "watchword:admin", "introspect")
    )
    assert decide(powerful, scope="openid read").scope == ("openid", "read")
    assert decide(powerful, scope="openid watchword:admin").scope == ("openid",)
    assert decide(powerful, scope=None).scope == ("openid", "read")
    assert redirected(powerful, scope="watchword:admin").code == "invalid_scope"
