"""The modules of the OpenID Foundation's suite for OpenID Connect providers: by the suite's own names, what each does and demands."""

import json
from collections.abc import Callable

import pytest
from joserfc import jwt
from tests.interop.relying_party import RelyingParty

Module = Callable[[RelyingParty], None]
SIGN_IN = "/sign-in"


def server(rp: RelyingParty) -> None:
    tokens, claims = rp.sign_in()
    assert rp.userinfo(tokens)["sub"] == claims["sub"]
    assert not {"name", "email", "preferred_username"} & claims.keys(), "nothing that was not asked for"


def response_type_missing(rp: RelyingParty) -> None:
    rp.error(rp.request(response_type=None), "invalid_request", "unsupported_response_type")


def id_token_signature(rp: RelyingParty) -> None:
    rp.sign_in()  # `claims` demands a key identifier and RS256, the default where none was registered


def id_token_unsigned(rp: RelyingParty) -> None:
    # Skipped by the suite where it is not offered; it is not, and cannot be registered either.
    assert "none" not in rp.server["id_token_signing_alg_values_supported"]


def userinfo_get(rp: RelyingParty) -> None:
    tokens, claims = rp.sign_in()
    assert rp.userinfo(tokens)["sub"] == claims["sub"]


def userinfo_post_header(rp: RelyingParty) -> None:
    tokens, claims = rp.sign_in()
    assert rp.userinfo(tokens, "POST")["sub"] == claims["sub"]


def userinfo_post_body(rp: RelyingParty) -> None:
    tokens, claims = rp.sign_in()
    answer = rp.http.post(rp.server["userinfo_endpoint"], data={"access_token": tokens["access_token"]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["sub"] == claims["sub"]


def without_nonce(rp: RelyingParty) -> None:
    # The module sends neither nonce nor PKCE and demands a code. That is refused by intention (RFC 9700 §2.1.1): something has to
    # bind the code. A request without nonce succeeds with PKCE.
    rp.error(rp.request(nonce=None), "invalid_request")
    verifier, challenge = rp.pkce()
    parameters = rp.request(nonce=None, code_challenge=challenge, code_challenge_method="S256")
    tokens = rp.redeem(rp.code(parameters), code_verifier=verifier)
    assert "nonce" not in rp.claims(tokens, parameters)


def scope(*names: str, **expected: object) -> Module:
    def module(rp: RelyingParty) -> None:
        if not set(names) <= set(rp.server["scopes_supported"]):
            pytest.skip(f"scopes_supported does not list {' and '.join(names)}: the suite skips this as well")
        tokens, claims = rp.sign_in(scope=" ".join(("openid", *names)))
        found = rp.userinfo(tokens)
        assert expected.items() <= found.items()
        assert found["sub"] == claims["sub"]
        assert not expected.keys() & claims.keys(), "told by userinfo, not by the ID token"

    return module


EMAIL = {"email": "ada@example.com", "email_verified": True}


def alternate_happy_flow(rp: RelyingParty) -> None:
    parameters = rp.request(scope="email openid")
    turned = dict(reversed(parameters.items()))
    tokens = rp.redeem(rp.code(turned))
    rp.claims(tokens, turned)
    assert rp.userinfo(tokens).items() >= EMAIL.items()


def succeeds_with(**changes: str) -> Module:
    def module(rp: RelyingParty) -> None:
        rp.browser.forget()
        rp.sign_in(**changes)
        assert SIGN_IN in rp.browser.shown

    return module


def prompt_login(rp: RelyingParty) -> None:
    _, first = rp.sign_in()
    rp.clock.advance(1)
    rp.browser.shown.clear()
    _, second = rp.sign_in(prompt="login")
    assert SIGN_IN in rp.browser.shown, "the person is asked again"
    assert second["auth_time"] > first["auth_time"]
    assert second["sub"] == first["sub"]


def prompt_none_not_logged_in(rp: RelyingParty) -> None:
    rp.browser.forget()
    rp.error(
        rp.request(prompt="none", state="s" * 128),
        "interaction_required", "login_required", "account_selection_required", "consent_required",
    )  # fmt: skip


def silently(rp: RelyingParty, first: dict[str, str], **second: str) -> None:
    """Sign in twice; the second time nothing may be shown."""
    _, before = rp.sign_in(**first)
    rp.browser.shown.clear()
    _, after = rp.sign_in(**second)
    assert [path for path in rp.browser.shown if path == SIGN_IN] == []
    assert (after["sub"], after["auth_time"]) == (before["sub"], before["auth_time"])


def prompt_none_logged_in(rp: RelyingParty) -> None:
    silently(rp, {}, prompt="none")


def max_age_1(rp: RelyingParty) -> None:
    _, first = rp.sign_in()
    rp.clock.advance(2)
    rp.browser.shown.clear()
    _, second = rp.sign_in(max_age="1")
    assert SIGN_IN in rp.browser.shown
    assert rp.now() - second["auth_time"] <= 1
    assert second["auth_time"] > first["auth_time"]


def max_age_10000(rp: RelyingParty) -> None:
    silently(rp, {"max_age": "15000"}, max_age="10000")


def id_token_hint(rp: RelyingParty) -> None:
    tokens, first = rp.sign_in()
    rp.browser.shown.clear()
    _, second = rp.sign_in(prompt="none", id_token_hint=tokens["id_token"])
    assert (second["sub"], second["auth_time"]) == (first["sub"], first["auth_time"])


def acr_values(rp: RelyingParty) -> None:
    offered = rp.server["acr_values_supported"]
    _, claims = rp.sign_in(acr_values=" ".join(offered))
    assert claims["acr"] in offered


def code_reuse(rp: RelyingParty) -> None:
    code = rp.code(rp.request())
    rp.redeem(code)
    again = rp.try_code(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")


def code_reuse_after_30_seconds(rp: RelyingParty) -> None:
    code = rp.code(rp.request())
    tokens = rp.redeem(code)
    rp.userinfo(tokens)
    rp.clock.advance(30)
    again = rp.try_code(code)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    assert rp.http.get(rp.server["userinfo_endpoint"], headers=headers).status_code == 401


def unregistered_redirect_uri(rp: RelyingParty) -> None:
    rp.page(rp.request(redirect_uri=rp.client["redirect_uris"][0] + "/unregistered"))


def post_request(rp: RelyingParty) -> None:
    parameters = rp.request()
    rp.claims(rp.redeem(rp.code(parameters, post=True)), parameters)


def unsigned(rp: RelyingParty, **changes: str) -> str:
    """Return the parameters of a request as an unsigned request object."""
    return jwt.encode({"alg": "none"}, rp.request(**changes), "", algorithms=["none"])


def skip_without_unsigned_objects(rp: RelyingParty) -> None:
    offered = rp.server.get("request_object_signing_alg_values_supported")
    if offered is not None and "none" not in offered:
        rp.error(rp.request(request=unsigned(rp)), "request_not_supported", "invalid_request_object")
        pytest.skip(
            "unsigned request objects are not offered (they are refused): the suite skips this as well"
        )


def unsigned_request_uri(rp: RelyingParty) -> None:
    answer = rp.ask(rp.request(request_uri="https://rp.example.com/request.jwt"))
    assert answer.page is not None or answer.parameters["error"] == "request_uri_not_supported"


def unsigned_request_object(rp: RelyingParty) -> None:
    skip_without_unsigned_objects(rp)
    rp.error(rp.request(request=unsigned(rp)), "request_not_supported")


def request_object_with_redirect_uri(rp: RelyingParty) -> None:
    skip_without_unsigned_objects(rp)
    rp.page(rp.request(request=unsigned(rp), redirect_uri="https://rp.example.com/another"))


def claims_essential(rp: RelyingParty) -> None:
    wish = json.dumps({"userinfo": {"name": {"essential": True}}})
    tokens, claims = rp.sign_in(claims=wish)
    # The suite warns when the name is missing. It is told to those whose scopes the person agreed to, by intention.
    assert rp.userinfo(tokens).keys() == {"sub"}
    tokens, claims = rp.sign_in(claims=wish, scope="openid profile")
    assert rp.userinfo(tokens)["name"] == "Ada Lovelace"
    assert "name" not in claims


def refresh_token(rp: RelyingParty) -> None:
    tokens, first = rp.sign_in(scope="openid offline_access", prompt="consent")
    answer = rp.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.status_code == 200, answer.text
    fresh = answer.json()
    second = rp.claims(fresh, {})
    assert {name: second[name] for name in ("iss", "sub", "aud", "auth_time")} == {
        name: first[name] for name in ("iss", "sub", "aud", "auth_time")
    }
    assert rp.userinfo(fresh)["sub"] == first["sub"]
    assert rp.other is not None
    stolen = rp.other.token(grant_type="refresh_token", refresh_token=fresh["refresh_token"])
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")


def valid_pkce(rp: RelyingParty) -> None:
    verifier, challenge = rp.pkce()
    parameters = rp.request(code_challenge=challenge, code_challenge_method="S256")
    rp.claims(rp.redeem(rp.code(parameters), code_verifier=verifier), parameters)


BASIC: dict[str, Module] = {
    "oidcc-server": server,
    "oidcc-response-type-missing": response_type_missing,
    "oidcc-idtoken-signature": id_token_signature,
    "oidcc-idtoken-unsigned": id_token_unsigned,
    "oidcc-userinfo-get": userinfo_get,
    "oidcc-userinfo-post-header": userinfo_post_header,
    "oidcc-userinfo-post-body": userinfo_post_body,
    "oidcc-ensure-request-without-nonce-succeeds-for-code-flow": without_nonce,
    "oidcc-scope-profile": scope("profile", name="Ada Lovelace"),
    "oidcc-scope-email": scope("email", **EMAIL),
    "oidcc-scope-address": scope("address"),
    "oidcc-scope-phone": scope("phone"),
    "oidcc-scope-all": scope("profile", "email", "address", "phone", **EMAIL),
    "oidcc-alternate-happy-flow": alternate_happy_flow,
    "oidcc-display-page": succeeds_with(display="page"),
    "oidcc-display-popup": succeeds_with(display="popup"),
    "oidcc-prompt-login": prompt_login,
    "oidcc-prompt-none-not-logged-in": prompt_none_not_logged_in,
    "oidcc-prompt-none-logged-in": prompt_none_logged_in,
    "oidcc-max-age-1": max_age_1,
    "oidcc-max-age-10000": max_age_10000,
    "oidcc-ensure-request-with-unknown-parameter-succeeds": succeeds_with(extra="foobar"),
    "oidcc-id-token-hint": id_token_hint,
    "oidcc-login-hint": succeeds_with(login_hint="buffy@localhost"),
    "oidcc-ui-locales": succeeds_with(ui_locales="se"),
    "oidcc-claims-locales": succeeds_with(claims_locales="se"),
    "oidcc-ensure-request-with-acr-values-succeeds": acr_values,
    "oidcc-codereuse": code_reuse,
    "oidcc-codereuse-30seconds": code_reuse_after_30_seconds,
    "oidcc-ensure-registered-redirect-uri": unregistered_redirect_uri,
    "oidcc-ensure-post-request-succeeds": post_request,
    "oidcc-server-client-secret-post": server,
    "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported": unsigned_request_uri,
    "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": unsigned_request_object,
    "oidcc-claims-essential": claims_essential,
    "oidcc-ensure-request-object-with-redirect-uri": request_object_with_redirect_uri,
    "oidcc-refresh-token": refresh_token,
    "oidcc-ensure-request-with-valid-pkce-succeeds": valid_pkce,
}
