"""Policies: every field narrows, and scopes named beside a policy come on top of it."""

import pickle
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest

from watchword.credentials import methods
from watchword.guard import Policy, Presented, Principal, Refused
from watchword.guard.policy import LEVELS, check, demanded
from watchword.guard.principal import from_claims
from watchword.oauth import dpop

NOW = 1_800_000_000


def caller(**changes: object) -> Principal:
    """Return a caller that meets every policy below."""
    claims: dict[str, object] = {
        "sub": "me", "scope": "a b", "aud": ["https://api", "https://api/eu"], "acr": "2",
        "auth_time": NOW - 60, "cnf": {"jkt": "k"},
    }  # fmt: skip
    return from_claims(claims | changes, "https://auth.example.com")


CASES: tuple[tuple[str, Policy, dict[str, object], int, str], ...] = (
    ("all scopes are needed", Policy(scopes=("a", "b")), {"scope": "a"}, 403, "insufficient_scope"),
    ("one of several scopes is enough", Policy(any_scopes=("b", "c")), {"scope": "a"}, 403, "insufficient_scope"),
    ("the audience", Policy(audience=("https://api/eu",)), {"aud": "https://api"}, 401, "invalid_token"),
    ("the kind of token", Policy(kinds=("access_token",)), {"token_kind": "api_token"}, 403, "insufficient_scope"),
    ("a level of sign-in", Policy(acr=("2", "3")), {"acr": "1"}, 401, "insufficient_user_authentication"),
    ("a level of the server's", Policy(acr=("urn:watchword:aal2", "2")), {"acr": "urn:watchword:aal1"}, 401, "insufficient_user_authentication"),
    ("a level that is known", Policy(acr=("urn:watchword:aal2", "2")), {"acr": "3"}, 401, "insufficient_user_authentication"),
    ("a recent sign-in", Policy(max_age=60), {"auth_time": NOW - 61}, 401, "insufficient_user_authentication"),
    ("a sign-in that has been", Policy(max_age=60), {"auth_time": NOW * 1000}, 401, "insufficient_user_authentication"),
    ("a sign-in at all", Policy(max_age=60), {"auth_time": None}, 401, "insufficient_user_authentication"),
    ("a bound token", Policy(bound=True), {"cnf": None}, 401, "invalid_token"),
    ("a rule of one's own", Policy(predicate=lambda who: who.subject == "me"), {"sub": "you"}, 403, "access_denied"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "changes", "status", "error"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_policy_refuses_who_lacks(
    policy: Policy, changes: dict[str, object], status: int, error: str
) -> None:
    check(policy, caller(), now=NOW, scheme="Bearer", metadata=None)
    with pytest.raises(Refused) as refused:
        check(policy, caller(**changes), now=NOW, scheme="Bearer", metadata=None)
    assert (refused.value.status, refused.value.error) == (status, error)


def test_a_token_is_bound_by_a_key_or_by_a_certificate() -> None:
    for cnf in ({"jkt": "k"}, {"x5t#S256": "c"}):
        check(Policy(bound=True), caller(cnf=cnf), now=NOW, scheme="Bearer", metadata=None)
    check(Policy(), caller(cnf=None), now=NOW, scheme="Bearer", metadata=None)


@pytest.mark.parametrize("field", ["any_scopes", "audience", "kinds", "acr"])
def test_an_empty_list_of_alternatives_opens_nothing(field: str) -> None:
    assert getattr(Policy(), field) == (), "what nobody gave is not demanded"
    assert replace(pickle.loads(pickle.dumps(Policy())), max_age=5) == Policy(max_age=5)
    empty: Any
    for empty in ((), [], set[str](), frozenset[str]()):
        with pytest.raises(ValueError, match=f"{field} is empty"):
            Policy(**{field: empty})


def test_what_an_application_does_to_claims_changes_nothing_for_others() -> None:
    principal = caller(roles=["reader"], address={"country": "DE", "lines": ["1"]})
    roles: Any = principal.claims["roles"]
    assert roles == ["reader"]
    roles.append("admin")
    address: Any = dict(principal.claims)["address"]
    address["lines"].append("2")
    for lasting in (principal.claims.get("roles"), dict(principal.claims.items())["roles"]):
        assert lasting == ["reader"]
    assert principal.claims["address"] == {"country": "DE", "lines": ["1"]}
    with pytest.raises(TypeError):
        principal.claims["roles"] = ["admin"]  # type: ignore[index]  # as callers do
    assert "reader" not in repr(principal.claims), "what is said of a person belongs in no log"


def test_what_a_request_presents_is_not_shown_whole() -> None:
    secret = ("Bearer hunter2",)
    shown = Presented(authorization=secret, dpop=secret, cookies=secret, path="/orders", kept={"a": secret})
    assert (shown.authorization, "/orders" in repr(shown)) == (secret, True)
    assert "hunter2" not in repr(shown)


def test_more_than_the_level_that_is_wanted_is_enough() -> None:
    assert LEVELS == methods.LEVELS, "the server's own"
    for acr in ("urn:watchword:aal2", "urn:watchword:aal2-phr"):
        check(Policy(acr=("urn:watchword:aal2",)), caller(acr=acr), now=NOW, scheme="Bearer", metadata=None)
    several = Policy(acr=("urn:watchword:aal1", "urn:watchword:aal2-phr"))
    check(several, caller(acr="urn:watchword:aal2"), now=NOW, scheme="Bearer", metadata=None)
    with pytest.raises(Refused):
        check(Policy(acr=("urn:watchword:aal2",)), caller(acr=None), now=NOW, scheme="Bearer", metadata=None)


def test_a_sign_in_may_be_a_minute_ahead_of_our_clock() -> None:
    recent = Policy(max_age=60)
    check(recent, caller(auth_time=NOW + 60), now=NOW, scheme="Bearer", metadata=None)
    with pytest.raises(Refused):
        check(recent, caller(auth_time=NOW + 61), now=NOW, scheme="Bearer", metadata=None)


def test_scopes_beside_a_policy_are_needed_too() -> None:
    assert demanded(("a",), Policy(scopes=("b",), max_age=60)) == Policy(scopes=("b", "a"), max_age=60)
    assert demanded(("a",), None) == Policy(scopes=("a",))


class Later:
    """What an asynchronous rule returns: true, as every object is."""

    def __await__(self) -> Generator[None, None, bool]:
        """Answer no, to who waits."""
        yield
        return False


@pytest.mark.parametrize(
    "answer",
    [
        lambda who: Later(),
        lambda who: (scope == "z" for scope in who.scopes),  # an `any` was forgotten
        lambda who: filter("z".__eq__, who.scopes),
    ],
    ids=["an awaitable", "a generator", "a filter"],
)
def test_a_rule_of_ones_own_that_answers_later_lets_nobody_in(answer: Any) -> None:
    at_once = Policy(predicate=lambda who: any(scope == "a" for scope in who.scopes))
    check(at_once, caller(), now=NOW, scheme="Bearer", metadata=None)
    with pytest.raises(TypeError, match="must be synchronous"):
        check(Policy(predicate=answer), caller(), now=NOW, scheme="Bearer", metadata=None)


@pytest.mark.parametrize("answer", [Refused(403, "access_denied", "no", ()), (False, "not yours"), "no", 1])
def test_a_rule_of_ones_own_lets_in_by_true_alone(answer: Any) -> None:
    check(Policy(predicate=lambda _: True), caller(), now=NOW, scheme="Bearer", metadata=None)
    with pytest.raises(TypeError, match="must return True or False"):
        check(Policy(predicate=lambda _: answer), caller(), now=NOW, scheme="Bearer", metadata=None)
    nothing: Any
    for nothing in (None, "", 0, False):
        refusing = Policy(predicate=lambda _: nothing)  # noqa: B023  it is called at once
        with pytest.raises(Refused):
            check(refusing, caller(), now=NOW, scheme="Bearer", metadata=None)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(scopes=("orders:read",)), "This needs the scope orders:read."),
        (Policy(scopes=("c", "d")), "This needs the scopes c d."),
        (Policy(any_scopes=("c", "d")), "This needs one of the scopes c d."),
        (Policy(scopes=("a", "e"), any_scopes=("c", "d")), "This needs the scopes a e and one of the scopes c d."),
        (Policy(scopes=("e",), any_scopes=("a", "d")), "This needs the scope e."),
    ],
)  # fmt: skip
def test_who_reads_the_answer_alone_learns_which_scopes_are_needed(policy: Policy, words: str) -> None:
    with pytest.raises(Refused) as refused:
        check(policy, caller(), now=NOW, scheme="Bearer", metadata=None)
    assert refused.value.document() == {"error": "insufficient_scope", "error_description": words}


@pytest.mark.parametrize(
    ("policy", "changes", "scheme"),
    [(Policy(bound=True), {"cnf": None}, "Bearer"), (Policy(scopes=("c",)), {}, "DPoP")],
    ids=["to be bound at all", "of a bound token"],
)
def test_a_challenge_for_proofs_names_the_algorithms_that_they_may_have(
    policy: Policy, changes: dict[str, object], scheme: str
) -> None:
    with pytest.raises(Refused) as refused:
        check(policy, caller(**changes), now=NOW, scheme=scheme, metadata=None)
    assert dict(refused.value.headers)["WWW-Authenticate"].endswith(f'algs="{dpop.ALGS}"')
