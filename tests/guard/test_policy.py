"""Policies: every field narrows, and scopes named beside a policy come on top of it."""

import pytest

from watchword.credentials import methods
from watchword.guard import Policy, Principal, Refused
from watchword.guard.policy import LEVELS, check, demanded
from watchword.guard.principal import from_claims

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


def test_more_than_the_level_that_is_wanted_is_enough() -> None:
    assert LEVELS == methods.LEVELS, "the server's own"
    for acr in ("urn:watchword:aal2", "urn:watchword:aal2-phr"):
        check(Policy(acr=("urn:watchword:aal2",)), caller(acr=acr), now=NOW, scheme="Bearer", metadata=None)
    with pytest.raises(Refused):
        check(Policy(acr=("urn:watchword:aal2",)), caller(acr=None), now=NOW, scheme="Bearer", metadata=None)


def test_scopes_beside_a_policy_are_needed_too() -> None:
    assert demanded(("a",), Policy(scopes=("b",), max_age=60)) == Policy(scopes=("b", "a"), max_age=60)
    assert demanded(("a",), None) == Policy(scopes=("a",))
