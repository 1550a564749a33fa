"""The modules of the suite's plans for RP-initiated and back-channel logout, by the suite's own names."""

import base64
import json
from collections.abc import Callable
from urllib.parse import urlencode

from joserfc import jwt
from joserfc.jwk import KeySet
from tests.interop.openid_provider import Provider
from tests.interop.relying_party import Answer, Parameters, RelyingParty

Module = Callable[[Provider], None]
BYE = "https://rp.example.com/post_logout_redirect"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


def signed_in(op: Provider, **metadata: object) -> tuple[RelyingParty, Parameters]:
    """Sign in with a client that wants people back after a logout; return it and the parameters of its logout request."""
    rp = op.relying_party(post_logout_redirect_uris=[BYE], **metadata)
    tokens, _ = rp.sign_in()
    asked = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BYE, "state": "s-42"}
    return rp, asked


def sign_out(rp: RelyingParty, parameters: Parameters) -> Answer:
    """Send the person to the end of the session; they agree where they are asked."""
    rp.browser.filled["decision"] = "sign_out"
    try:
        return rp.browser.go(f"{rp.server['end_session_endpoint']}?{urlencode(parameters)}")
    finally:
        rp.browser.filled["decision"] = "approve"


def is_out(rp: RelyingParty) -> None:
    """Demand that the session is over."""
    rp.error(rp.request(prompt="none"), "login_required", "interaction_required")


def comes_back(*without: str) -> Module:
    def module(op: Provider) -> None:
        rp, asked = signed_in(op)
        sent = {name: value for name, value in asked.items() if name not in without}
        answer = sign_out(rp, sent)
        assert answer.target == BYE
        assert answer.parameters == ({"state": sent["state"]} if "state" in sent else {})
        is_out(rp)

    return module


def stays_here(*without: str, ends: bool, **changes: str) -> Module:
    def module(op: Provider) -> None:
        rp, asked = signed_in(op)
        sent = {name: value for name, value in (asked | changes).items() if name not in without}
        answer = sign_out(rp, sent)
        assert answer.page is not None, "nobody is sent anywhere"
        if ends:
            assert answer.page.status_code == 200
            is_out(rp)

    return module


def hint(change: Callable[[str], str]) -> Module:
    def module(op: Provider) -> None:
        rp, asked = signed_in(op)
        answer = sign_out(rp, asked | {"id_token_hint": change(asked["id_token_hint"])})
        assert answer.page is not None, "nobody is sent anywhere"

    return module


def unsigned(token: str) -> str:
    """Return an ID token without a signature."""
    return jwt.encode({"alg": "none"}, read(token), "", algorithms=["none"])


def forged(token: str) -> str:
    """Return an ID token that somebody else signed."""
    return token[: token.rindex(".") + 1] + "A" * 342


def read(token: str) -> dict[str, object]:
    """Return the claims of a token without checking it."""

    payload = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def discovery(*members: str) -> Module:
    def module(op: Provider) -> None:
        found = op.http.get(f"{op.live.issuer}/.well-known/openid-configuration").json()
        assert found["end_session_endpoint"].startswith("https://")
        assert [found[member] for member in members] == [True] * len(members)

    return module


def back_channel(op: Provider) -> None:
    rp, asked = signed_in(
        op,
        redirect_uris=[op.documents.base + "/cb"],
        backchannel_logout_uri=op.documents.base + "/backchannel_logout",
        backchannel_logout_session_required=True,
    )
    claims = read(asked["id_token_hint"])
    assert sign_out(rp, asked).target == BYE
    op.deliver()
    (form,) = op.documents.received.pop("/backchannel_logout")
    assert form.keys() == {"logout_token"}
    keys = KeySet.import_key_set(op.http.get(rp.server["jwks_uri"]).json())
    token = jwt.decode(form["logout_token"], keys, algorithms=["RS256"])
    told = token.claims
    assert (told["iss"], told["aud"]) == (op.live.issuer, rp.client["client_id"])
    assert told["events"] == {EVENT: {}}
    assert (told["sub"], told["sid"]) == (claims["sub"], claims["sid"])
    assert "nonce" not in told
    assert told["jti"]
    assert told["iat"] <= rp.now() < told["exp"] <= rp.now() + 120
    is_out(rp)


LOGOUT: dict[str, Module] = {
    "oidcc-rp-initiated-logout-discovery-endpoint-verification": discovery(),
    "oidcc-rp-initiated-logout": comes_back(),
    "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri": stays_here(
        ends=False, post_logout_redirect_uri=BYE + "/other"
    ),
    "oidcc-rp-initiated-logout-modified-id-token-hint": hint(unsigned),
    "oidcc-rp-initiated-logout-no-id-token-hint": stays_here("id_token_hint", ends=False),
    "oidcc-rp-initiated-logout-no-params": stays_here(
        "id_token_hint", "post_logout_redirect_uri", "state", ends=True
    ),
    "oidcc-rp-initiated-logout-no-post-logout-redirect-uri": stays_here(
        "post_logout_redirect_uri", ends=True
    ),
    "oidcc-rp-initiated-logout-no-state": comes_back("state"),
    "oidcc-rp-initiated-logout-only-state": stays_here(
        "id_token_hint", "post_logout_redirect_uri", ends=True
    ),
    "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri": stays_here(
        ends=False, post_logout_redirect_uri=BYE + "?foo=bar"
    ),
    "oidcc-rp-initiated-logout-bad-id-token-hint": hint(forged),
    "oidcc-backchannel-logout-discovery-endpoint-verification": discovery(
        "backchannel_logout_supported", "backchannel_logout_session_supported"
    ),
    "oidcc-backchannel-rp-initiated-logout": back_channel,
}
