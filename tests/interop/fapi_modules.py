"""The modules of the suite's plan for the FAPI 2.0 Security Profile (final): by the suite's own names, what each demands.

The plan has variants: all run with `private_key_jwt` and DPoP, those of VARIED with certificates too; requests are unsigned, answers
plain, OpenID Connect. Modules of national profiles and of signed requests are not in it.
"""

from collections.abc import Callable

from joserfc.jwk import RSAKey
from tests.interop.fapi_party import FapiParty, new_key
from tests.interop.relying_party import CALLBACK, Visitor

Module = Callable[[FapiParty], None]
INVALID_CLIENT = (401, "invalid_client")
NEEDED = ("jti", "htm", "htu", "iat")


def refused(answer: object, *errors: str) -> None:
    """Demand that an endpoint refuses with one of the codes."""
    assert answer.status_code in (400, 401), answer.text  # type: ignore[attr-defined]  # a response
    assert answer.json()["error"] in errors, answer.text  # type: ignore[attr-defined]  # a response


def discovery(party: FapiParty) -> None:
    found = party.op.http.get(f"{party.issuer}/.well-known/openid-configuration").json()
    assert found["issuer"] == party.issuer
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["pushed_authorization_request_endpoint"].startswith("https://")
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert "private_key_jwt" in found["token_endpoint_auth_methods_supported"]
    assert {"PS256", "ES256", "EdDSA"} & set(found["token_endpoint_auth_signing_alg_values_supported"])
    assert {"PS256", "ES256", "EdDSA"} & set(found["dpop_signing_alg_values_supported"])
    assert "authorization_code" in found["grant_types_supported"]


def happy_flow(party: FapiParty) -> None:
    for each in (party, party.another()):
        tokens = each.tokens()
        assert each.resource(tokens["access_token"]).json()["sub"] == tokens["claims"]["sub"]
        assert each.resource(tokens["access_token"], scheme="Bearer", proofless=True).status_code == 401


def user_rejects(party: FapiParty) -> None:
    denying = Visitor(party.issuer, "ada", "deny", tls=party.op.tls)
    parameters = party.request(prompt="login consent")
    answer = party.authorize(party.pushed(parameters), denying)
    assert answer.parameters["error"] == "access_denied"
    assert answer.parameters["state"] == parameters["state"]


def flow_with(**changes: str | None) -> Module:
    def module(party: FapiParty) -> None:
        tokens = party.tokens(party.request(**changes))
        assert party.resource(tokens["access_token"]).status_code == 200

    return module


def identity_claims(party: FapiParty) -> None:
    wish = '{"id_token":{"email":{"essential":true},"preferred_username":null},"userinfo":{"email":null,"name":null}}'
    tokens = party.tokens(party.request(scope="openid profile email", claims=wish))
    assert tokens["claims"]["email"] == "ada@example.com"
    assert party.resource(tokens["access_token"]).json()["name"] == "Ada Lovelace"


def scheme_case(party: FapiParty) -> None:
    token = party.tokens()["access_token"]
    assert {
        party.resource(token, scheme=scheme).status_code for scheme in ("DPoP", "dpop", "DPOP", "dPoP")
    } == {200}


def proof_with(**claims: int) -> Module:
    def module(party: FapiParty) -> None:
        moved = {name: party.now() + value for name, value in claims.items()}
        at_par = party.proof("POST", f"{party.issuer}/par", **moved)
        code = party.code(proof=at_par)
        proof = party.proof("POST", f"{party.issuer}/token", **moved)
        answer = party.token(party.code_form(code), proof=proof)
        assert answer.status_code == 200, answer.text
        token = answer.json()["access_token"]
        shown = party.proof("GET", f"{party.issuer}/userinfo", token=token, **moved)
        assert party.resource(token, proof=shown).status_code == 200

    return module


def thumbprint(party: FapiParty) -> str:
    """Return the thumbprint of the key that tokens are bound to."""
    return str(party.dpop.thumbprint())


def mismatched_jkt_at_par(party: FapiParty) -> None:
    other = party.proof("POST", f"{party.issuer}/par", key=new_key("other"))
    parameters = party.request(dpop_jkt=thumbprint(party))
    refused(party.push(parameters, proof=other), "invalid_request", "invalid_dpop_proof")


def mismatched_proof_at_token(party: FapiParty) -> None:
    code = party.code(proof=party.proof("POST", f"{party.issuer}/par"))
    other = party.proof("POST", f"{party.issuer}/token", key=new_key("other"))
    refused(party.token(party.code_form(code), proof=other), "invalid_grant", "invalid_dpop_proof")


def mismatched_jkt_at_token(party: FapiParty) -> None:
    code = party.code(party.request(dpop_jkt=thumbprint(party)))
    other = party.proof("POST", f"{party.issuer}/token", key=new_key("other"))
    refused(party.token(party.code_form(code), proof=other), "invalid_grant", "invalid_dpop_proof")


def bound_at_par(party: FapiParty) -> None:
    code = party.code(proof=party.proof("POST", f"{party.issuer}/par"))
    assert party.redeem(code).status_code == 200


def bound_by_jkt(party: FapiParty) -> None:
    code = party.code(party.request(dpop_jkt=thumbprint(party)))
    assert party.redeem(code).status_code == 200


def par_refuses(*errors: str, **changes: str | None) -> Module:
    def module(party: FapiParty) -> None:
        party.pushed(party.request())
        refused(party.push(party.request(**changes)), *errors)

    return module


def unregistered_redirect_uri(party: FapiParty) -> None:
    par_refuses("invalid_request", "invalid_redirect_uri", redirect_uri=CALLBACK + "/other")(party)


def without_par(party: FapiParty) -> None:
    answer = party.op.browser.go(f"{party.issuer}/authorize", party.request())
    assert answer.parameters.get("error") == "invalid_request" or answer.page is not None


def another_client_id(party: FapiParty) -> None:
    form, another = party.code_form(party.code()), party.another().client_id
    refused(party.token(form, iss=another, sub=another), "invalid_client", "invalid_grant")
    refused(party.token(form | {"client_id": another}), "invalid_client", "invalid_request")


def holder_of_key(party: FapiParty) -> None:
    code = party.code()
    answer = party.token(party.code_form(code), proofless=True)
    refused(answer, "invalid_request", "invalid_dpop_proof", "invalid_grant", "invalid_client")


def code_of_another(party: FapiParty) -> None:
    other = party.another()
    refused(other.token(party.code_form(party.code())), "invalid_grant")


def code_reuse(party: FapiParty) -> None:
    code = party.code()
    first = party.redeem(code)
    assert first.status_code == 200
    party.op.live.clock.advance(1)
    refused(party.redeem(code), "invalid_grant")
    assert party.resource(first.json()["access_token"]).status_code == 401


def expired_code(party: FapiParty) -> None:
    code = party.code()
    party.op.live.clock.advance(61)
    refused(party.redeem(code), "invalid_grant")


def assertion_refused(*, alg: str = "ES256", **claims: object) -> Module:
    def module(party: FapiParty) -> None:
        moved = {
            name: party.now() + value if isinstance(value, int) else value for name, value in claims.items()
        }
        answer = party.token(party.code_form(party.code()), alg=alg, **moved)
        assert (answer.status_code, answer.json()["error"]) == INVALID_CLIENT

    return module


def without_assertion(party: FapiParty) -> None:
    address = f"{party.issuer}/token"
    form = party.code_form(party.code()) | {"client_id": party.client_id}
    answer = party.op.http.post(address, data=form, headers={"dpop": party.proof("POST", address)})
    refused(answer, "invalid_client", "invalid_request")


def dpop_negative(party: FapiParty) -> None:
    token = party.tokens()["access_token"]
    address = f"{party.issuer}/userinfo"
    good = party.proof("GET", address, token=token)
    assert party.resource(token, proof=good).status_code == 200
    for same in (f"{address}?a=b#c", address.replace("https://localhost", "HTTPS://LOCALHOST")):
        assert party.resource(token, proof=party.proof("GET", same, token=token)).status_code == 200
    bad = {
        "the same proof again": good,
        "of another method": party.proof("POST", address, token=token),
        "for another address": party.proof("GET", f"{party.issuer}/token", token=token),
        "without the token": party.proof("GET", address),
        "for another token": party.proof("GET", address, token="x"),
        "by another key": party.proof("GET", address, token=token, key=new_key("other")),
        "too old": party.proof("GET", address, token=token, iat=party.now() - 3600),
        "of the future": party.proof("GET", address, token=token, iat=party.now() + 3600),
        "of another type": party.proof("GET", address, token=token, header={"typ": "JWT"}),
        **{f"without {name}": party.proof("GET", address, token=token, **{name: None}) for name in NEEDED},
        "without signature": good.rpartition(".")[0],
        "with the private key": party.proof(
            "GET", address, token=token, header={"jwk": party.dpop.as_dict(private=True)}
        ),
        "broken": good[:-8] + "AAAAAAAA",
    }
    passed = [name for name, proof in bad.items() if party.resource(token, proof=proof).status_code != 401]
    assert passed == []
    assert party.resource(token, proofless=True).status_code == 401
    by_rsa(party)


def by_rsa(party: FapiParty) -> None:
    """Demand an algorithm of the profile (§5.4.1) where the key has another as well."""
    party.dpop = RSAKey.generate_key(2048)
    token = party.tokens()["access_token"]
    assert party.resource(token).status_code == 200
    weak = party.proof("GET", f"{party.issuer}/userinfo", token=token, alg="RS256")
    refused = party.resource(token, proof=weak)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_dpop_proof")
    assert refused.headers["www-authenticate"].endswith('algs="ES256 EdDSA PS256 Ed25519"')


def refresh_token(party: FapiParty) -> None:
    tokens = party.tokens()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    refused(party.another().token(form), "invalid_grant")
    unproven = party.token(form, proofless=True)
    refused(unproven, "invalid_request", "invalid_grant", "invalid_client", "invalid_dpop_proof")
    address = f"{party.issuer}/token"
    proof = {"dpop": party.proof("POST", address)}
    refused(party.op.http.post(address, data=form, headers=proof), "invalid_client", "invalid_request")
    fresh = party.token(form)
    assert fresh.status_code == 200, fresh.text
    assert party.resource(fresh.json()["access_token"]).status_code == 200


def request_uri_visited_twice(party: FapiParty) -> None:
    # Recommended by a note of §5.3.2.2, so the suite warns. Here a request_uri opens one page, once, by intention.
    request_uri = party.pushed(party.request())
    query = {"client_id": party.client_id, "request_uri": request_uri}
    visited = Visitor(party.issuer, tls=party.op.tls)
    assert visited.http.get(f"{party.issuer}/authorize", params=query).status_code == 303
    assert visited.http.get(f"{party.issuer}/authorize", params=query).status_code == 400


def request_uri_reused(party: FapiParty) -> None:
    request_uri = party.pushed(party.request())
    assert "code" in party.authorize(request_uri).parameters
    again = party.authorize(request_uri)
    assert again.page is not None or again.parameters["error"] == "invalid_request_uri"


def request_uri_expired(party: FapiParty) -> None:
    request_uri = party.pushed(party.request())
    party.op.live.clock.advance(601)
    answer = party.authorize(request_uri)
    assert answer.page is not None or answer.parameters["error"] == "invalid_request_uri"


def request_uri_of_another(party: FapiParty) -> None:
    request_uri = party.pushed(party.request())
    answer = party.another().authorize(request_uri)
    assert answer.page is not None or "error" in answer.parameters


def pushed_assertion(good: bool, **claims: object) -> Module:
    def module(party: FapiParty) -> None:
        moved: dict[str, object] = {}
        for name, value in claims.items():
            if isinstance(value, int):
                moved[name] = party.now() + value
            elif isinstance(value, list):
                moved[name] = [item.format(issuer=party.issuer) for item in value]
            else:
                moved[name] = str(value).format(issuer=party.issuer)
        answer = party.push(party.request(), **moved)
        if good:
            assert answer.status_code == 201, answer.text
        else:
            refused(answer, "invalid_client", "invalid_request")

    return module


def wrong_method(party: FapiParty) -> None:
    form = party.request() | party.assertion()
    assert party.op.http.put(f"{party.issuer}/par", data=form).status_code in (400, 404, 405)
    assert party.op.http.get(f"{party.issuer}/par", params=form).status_code in (400, 404, 405)


def without_verifier(party: FapiParty) -> None:
    form = party.code_form(party.code())
    del form["code_verifier"]
    refused(party.token(form), "invalid_grant")


def wrong_verifier(party: FapiParty) -> None:
    refused(party.redeem(party.code(), code_verifier="w" * 43), "invalid_grant")


# Each name goes on from `fapi2-security-profile-final-`.
FAPI2: dict[str, Module] = {
    "discovery-end-point-verification": discovery,
    "happy-flow": happy_flow,
    "user-rejects-authentication": user_rejects,
    "ensure-authorization-request-without-state-success": flow_with(state=None),
    "ensure-authorization-request-without-nonce-success": flow_with(nonce=None),
    "ensure-authorization-request-with-64-char-nonce-success": flow_with(nonce="n" * 64),
    "ensure-other-scope-order-succeeds": flow_with(scope="email openid"),
    "test-claims-parameter-identity-claims": identity_claims,
    "access-token-type-header-case-sensitivity": scheme_case,
    "check-dpop-proof-nbf-exp": proof_with(nbf=0, exp=300),
    "ensure-dpopproof-with-iat-10seconds-before-succeeds": proof_with(iat=-10),
    "ensure-dpopproof-with-iat-10seconds-after-succeeds": proof_with(iat=10),
    "ensure-mismatched-dpop-jkt-fails": mismatched_jkt_at_par,
    "ensure-token-endpoint-fails-with-mismatched-dpop-proof-jkt": mismatched_proof_at_token,
    "ensure-token-endpoint-fails-with-mismatched-dpop-jkt": mismatched_jkt_at_token,
    "ensure-dpopproof-at-par-endpoint-binding-success": bound_at_par,
    "ensure-dpop-auth-code-binding-success": bound_by_jkt,
    "ensure-authorization-request-with-long-nonce": flow_with(nonce="n" * 384),
    "ensure-authorization-request-with-long-state": flow_with(state="s" * 1000),
    "ensure-registered-redirect-uri": unregistered_redirect_uri,
    "ensure-unsigned-authorization-request-without-using-par-fails": without_par,
    "ensure-redirect-uri-in-authorization-request": par_refuses("invalid_request", redirect_uri=None),
    "ensure-response-type-code-idtoken-fails": par_refuses(
        "unsupported_response_type", "invalid_request", "unauthorized_client", response_type="code id_token"
    ),
    "ensure-response-type-token-fails": par_refuses(
        "unsupported_response_type", "invalid_request", "unauthorized_client", response_type="token"
    ),
    "ensure-client-id-in-token-endpoint": another_client_id,
    "ensure-holder-of-key-required": holder_of_key,
    "ensure-authorization-code-is-bound-to-client": code_of_another,
    "attempt-reuse-authorization-code-after-one-second": code_reuse,
    "ensure-token-endpoint-fails-with-expired-auth-code": expired_code,
    "ensure-signed-client-assertion-with-RS256-fails": assertion_refused(alg="RS256"),
    "ensure-client-assertion-in-token-endpoint": without_assertion,
    "ensure-client-assertion-with-exp-is-5-minutes-in-past-fails": assertion_refused(exp=-300),
    "ensure-client-assertion-with-wrong-aud-fails": assertion_refused(aud="https://other.example.com"),
    "ensure-client-assertion-with-no-sub-fails": assertion_refused(sub=None),
    "dpop-negative-tests": dpop_negative,
    "refresh-token": refresh_token,
    "par-ensure-reused-request-uri-prior-to-auth-completion-succeeds": request_uri_visited_twice,
    "par-attempt-reuse-request_uri": request_uri_reused,
    "par-attempt-to-use-expired-request_uri": request_uri_expired,
    "par-ensure-jwt-client-assertions-nbf-8-seconds-in-the-future-is-accepted": pushed_assertion(
        True, iat=8, nbf=8
    ),
    "par-ensure-jwt-client-assertions-nbf-over-60-seconds-in-the-future-fails": pushed_assertion(
        False, iat=75, nbf=75, exp=135
    ),
    "par-attempt-to-use-request_uri-for-different-client": request_uri_of_another,
    "par-authorization-request-containing-request_uri-form-param": par_refuses(
        "invalid_request", request_uri="urn:ietf:params:oauth:request_uri:x"
    ),
    "par-attempt-invalid-http-method": wrong_method,
    "par-ensure-pkce-required": par_refuses(
        "invalid_request", code_challenge=None, code_challenge_method=None
    ),
    "ensure-pkce-code-verifier-required": without_verifier,
    "incorrect-pkce-code-verifier-rejected": wrong_verifier,
    "par-plain-pkce-rejected": par_refuses("invalid_request", code_challenge_method="plain"),
    "par-without-duplicate-parameters": flow_with(),
    "par-test-array-as-audience-fails": pushed_assertion(
        False, aud=["{issuer}", "https://other.example.com"]
    ),
    "par-test-par-endpoint-url-as-audience-fails": pushed_assertion(False, aud="{issuer}/par"),
    "par-test-token-endpoint-url-as-audience-fails": pushed_assertion(False, aud="{issuer}/token"),
}

# Where it matters how the client authenticates and what its tokens are bound to
VARIED = (
    "happy-flow",
    "ensure-client-id-in-token-endpoint",
    "ensure-holder-of-key-required",
    "ensure-authorization-code-is-bound-to-client",
    "attempt-reuse-authorization-code-after-one-second",
    "refresh-token",
    "par-attempt-to-use-request_uri-for-different-client",
)
