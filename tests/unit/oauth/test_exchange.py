"""An exchange takes rights away and never adds any (MC-03, TK-13, TK-14)."""

from typing import Any

import pytest
from msgspec import structs

from watchword.oauth import exchange
from watchword.oauth.errors import OAuthError
from watchword.oauth.exchange import Exchanged, ExchangePolicy, ExchangeRequest, LiveToken

NOW = 1_800_000_000
API, DOWN = "https://api.example", "https://down.example"
REQUEST = ExchangeRequest(exchange.ACCESS_TOKEN, exchange.ACCESS_TOKEN, targets=(DOWN,), scope=("read",))
SUBJECT = LiveToken("access_token", "alice", "spa", ("read", "write"), (API,), NOW + 600)
ACTOR = LiveToken("access_token", "api", "api", ("act",), (DOWN,), NOW + 600)
POLICY = ExchangePolicy((DOWN, "https://other.example"), ("read", "list"), resources=(API,))


def decide(**change: Any) -> Exchanged:
    """Decide the honest exchange with some facts changed."""
    facts: dict[str, Any] = {
        "request": REQUEST,
        "subject": SUBJECT,
        "actor": ACTOR,
        "policy": POLICY,
        "client_id": "api",
        "now": NOW,
        **change,
    }
    request, subject, actor, policy = (facts.pop(name) for name in ("request", "subject", "actor", "policy"))
    return exchange.decide(request, subject, actor, policy, **facts)


def test_an_api_acts_for_its_caller_with_less_and_shorter() -> None:
    assert decide() == Exchanged(
        "alice", (DOWN,), ("read",), NOW + 300, exchange.ACCESS_TOKEN, {"sub": "api"}
    )


def test_the_new_token_never_outlives_what_it_came_from() -> None:
    assert decide(subject=structs.replace(SUBJECT, expires_at=NOW + 10)).expires_at == NOW + 10
    assert decide(actor=structs.replace(ACTOR, expires_at=NOW + 20)).expires_at == NOW + 20
    assert decide(subject=structs.replace(SUBJECT, kind="api_token", expires_at=None)).expires_at == NOW + 300


def test_a_client_narrows_its_own_api_token() -> None:
    own = LiveToken("api_token", "api", "api", ("read", "write"), (API,), None)
    found = decide(
        subject=own,
        actor=None,
        request=structs.replace(REQUEST, actor_token_type=None),
        policy=structs.replace(POLICY, may_impersonate=True),
    )
    assert (found.subject, found.scope, found.act) == ("api", ("read",), None)


def test_with_a_scope_the_new_token_has_no_more() -> None:
    both = structs.replace(SUBJECT, scope=("read", "list"))
    assert decide(subject=both, request=structs.replace(REQUEST, scope=())).scope == ("read", "list")
    assert decide(subject=both).scope == ("read",)


def test_without_scope_the_new_token_has_what_both_sides_allow() -> None:
    assert decide(request=structs.replace(REQUEST, scope=())).scope == ("read",)


def test_a_single_audience_need_not_be_named() -> None:
    assert decide(
        request=structs.replace(REQUEST, targets=()), policy=structs.replace(POLICY, audiences=(DOWN,))
    ).audience == (DOWN,)


def test_ten_audiences_may_be_named_and_no_more() -> None:
    named = tuple(f"https://{number}.example" for number in range(11))
    policy = structs.replace(POLICY, audiences=named)
    assert decide(request=structs.replace(REQUEST, targets=named[:10]), policy=policy).audience == named[:10]
    with pytest.raises(OAuthError, match="invalid_target"):
        decide(request=structs.replace(REQUEST, targets=named), policy=policy)


def test_who_acted_before_stays_in_the_record() -> None:
    found = decide(subject=structs.replace(SUBJECT, act={"sub": "gateway"}))
    assert found.act == {"sub": "api", "act": {"sub": "gateway"}}


def test_an_api_token_of_the_caller_is_no_actor_of_its_own() -> None:
    own = structs.replace(ACTOR, kind="api_token", expires_at=None)
    assert decide(actor=own).act == {"sub": "api"}
    # A client that acts for itself shows an access token of its own.
    assert decide(subject=structs.replace(SUBJECT, subject="api")).act == {"sub": "api"}
    callers = structs.replace(own, subject=SUBJECT.subject)
    with pytest.raises(OAuthError, match="invalid_request") as refused:
        decide(actor=callers)
    assert refused.value.field == "actor_token"
    assert decide(actor=callers, policy=structs.replace(POLICY, may_impersonate=True)).subject == "alice"


NO_ACTOR = {"actor": None, "request": structs.replace(REQUEST, actor_token_type=None)}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(
            {"subject": structs.replace(SUBJECT, expires_at=NOW)},
            "invalid_request",
            id="TK-13 of an expired token",
        ),
        pytest.param(
            {"actor": structs.replace(ACTOR, expires_at=NOW)}, "invalid_request", id="by an expired actor"
        ),
        pytest.param(
            {"subject": structs.replace(SUBJECT, audience=(DOWN,))},
            "invalid_request",
            id="TK-13 of a token for another audience",
        ),
        pytest.param(
            {"actor": structs.replace(ACTOR, client_id="other")},
            "invalid_request",
            id="TK-13 by an actor token of others",
        ),
        pytest.param(
            {
                "actor": structs.replace(ACTOR, client_id="other"),
                "policy": structs.replace(POLICY, may_impersonate=True),
            },
            "invalid_request",
            id="TK-13 by an actor token of others, for a client that may impersonate",
        ),
        pytest.param(
            {"actor": structs.replace(ACTOR, client_id="other", audience=(API,))},
            "invalid_request",
            id="TK-13 by the token of another caller as actor",
        ),
        pytest.param(
            {"subject": structs.replace(SUBJECT, may_act={"sub": "other"})},
            "invalid_request",
            id="TK-13 actor is not may_act",
        ),
        pytest.param(
            {"subject": structs.replace(SUBJECT, may_act={})}, "invalid_request", id="an empty may_act"
        ),
        pytest.param(
            {"subject": structs.replace(SUBJECT, may_act={"sub": "api", "iss": "x"})},
            "invalid_request",
            id="may_act with more",
        ),
        pytest.param(
            {"policy": structs.replace(POLICY, may_delegate=False)},
            "invalid_request",
            id="delegation not allowed",
        ),
        pytest.param(NO_ACTOR, "invalid_request", id="impersonation not allowed"),
        pytest.param(
            {
                **NO_ACTOR,
                "policy": structs.replace(POLICY, may_impersonate=True),
                "subject": structs.replace(SUBJECT, may_act={"sub": "x"}),
            },
            "invalid_request",
            id="impersonation against may_act",
        ),
        pytest.param(
            {"request": structs.replace(REQUEST, scope=("read", "list"))},
            "invalid_scope",
            id="TK-13 scope wider than the subject",
        ),
        pytest.param(
            {"request": structs.replace(REQUEST, scope=("write",))},
            "invalid_scope",
            id="scope wider than the policy",
        ),
        pytest.param(
            {
                "subject": structs.replace(SUBJECT, scope=("write",)),
                "request": structs.replace(REQUEST, scope=()),
            },
            "invalid_scope",
            id="nothing in common",
        ),
        pytest.param(
            {"request": structs.replace(REQUEST, targets=(API,))}, "invalid_target", id="TK-13 another target"
        ),
        pytest.param(
            {"request": structs.replace(REQUEST, targets=(DOWN + "/",))},
            "invalid_target",
            id="nearly the target",
        ),
        pytest.param(
            {
                "request": structs.replace(REQUEST, targets=(API,)),
                "policy": structs.replace(POLICY, audiences=(DOWN,)),
            },
            "invalid_target",
            id="TK-13 another target than the only one",
        ),
        pytest.param(
            {"request": structs.replace(REQUEST, targets=())}, "invalid_target", id="no target among several"
        ),
        pytest.param(
            {"subject": structs.replace(SUBJECT, client_id="api", jkt="J")},
            "invalid_request",
            id="of its bound token unproven",
        ),
        pytest.param(
            {"subject": structs.replace(SUBJECT, client_id="api", x5t="X"), "proven_x5t": "Y"},
            "invalid_request",
            id="of its bound token with another certificate",
        ),
    ],
)
def test_an_exchange_is_refused(change: dict[str, Any], code: str) -> None:
    decide()
    with pytest.raises(OAuthError) as caught:
        decide(**change)
    assert caught.value.code == code


OTHER_TYPE = "urn:ietf:params:oauth:token-type:saml2"


@pytest.mark.parametrize(
    ("change", "has_actor_token", "field"),
    [
        pytest.param({"subject_token_type": exchange.ID_TOKEN}, True, "subject_token_type", id="of an ID token"),
        pytest.param({"actor_token_type": OTHER_TYPE}, True, "actor_token_type", id="by an actor token of another type"),
        pytest.param({"actor_token_type": None}, True, "actor_token_type", id="an actor token without type"),
        pytest.param({}, False, "actor_token_type", id="an actor type without token"),
        pytest.param({"requested_token_type": OTHER_TYPE.replace("saml2", "refresh_token")}, True, "requested_token_type", id="for a refresh token"),
    ],
)  # fmt: skip
def test_a_token_of_another_type_is_not_exchanged(
    change: dict[str, Any], has_actor_token: bool, field: str
) -> None:
    exchange.check_types(REQUEST, has_actor_token=True)
    with pytest.raises(OAuthError, match="invalid_request") as refused:
        exchange.check_types(structs.replace(REQUEST, **change), has_actor_token=has_actor_token)
    assert refused.value.field == field


@pytest.mark.parametrize("name", ["subject_token", "actor_token"])
def test_the_refusal_of_a_bound_token_names_the_one_that_is_not_proven(name: str) -> None:
    bound = structs.replace(SUBJECT if name == "subject_token" else ACTOR, client_id="api", jkt="J")
    presented = {name.removesuffix("_token"): bound}
    assert decide(**presented, proven_jkt="J").subject == "alice"
    with pytest.raises(OAuthError) as refused:
        decide(**presented)
    assert refused.value.field == name


def test_a_bound_token_is_exchanged_by_its_holder_with_the_key() -> None:
    by_key, by_certificate = (
        structs.replace(SUBJECT, client_id="api", **bound) for bound in ({"jkt": "J"}, {"x5t": "X"})
    )
    assert decide(subject=by_key, proven_jkt="J").subject == "alice"
    assert decide(subject=by_certificate, proven_x5t="X").subject == "alice"
    for subject in (by_key, by_certificate):
        with pytest.raises(OAuthError, match="invalid_request"):
            decide(subject=subject)


def test_may_act_names_the_actor() -> None:
    for may_act in ({"sub": "api"}, {"client_id": "api"}, {"sub": "api", "client_id": "api"}):
        assert decide(subject=structs.replace(SUBJECT, may_act=may_act)).act == {"sub": "api"}


def test_tk_14_a_chain_of_exchanges_ends() -> None:
    subject = SUBJECT
    for _ in range(4):
        subject = structs.replace(subject, act=decide(subject=subject).act)
    assert exchange.depth(subject.act) == 4
    with pytest.raises(OAuthError, match="invalid_request"):
        decide(subject=subject)
