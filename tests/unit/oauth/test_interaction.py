"""What the person has to do before an answer, and what prompt=none says instead (AZ-10 to AZ-12, AZ-23, AZ-56, AZ-57)."""

from typing import Any

import pytest

from watchword.oauth import interaction
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.claims_request import ClaimsRequest, ClaimWish
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import Facts, SignedIn

NOW = 1_800_000_000
ALICE = SignedIn("alice", NOW - 100, ("password",))


def step(
    *, session: SignedIn | None = ALICE, consented: bool = True, done: tuple[str, ...] = (), **change: Any
) -> str:
    """Return the next step of a request, or the code of its error."""
    hint, began_at = change.pop("hint", None), change.pop("began_at", NOW - 100)
    request = AuthorizationRequest(
        client_id="app",
        redirect_uri="https://rp.example/cb",
        redirect_uri_sent=True,
        scope=("openid",),
        **change,
    )
    try:
        facts = Facts(
            session=session,
            consented=consented,
            hinted_subject=hint,
            supported_acr=("password", "mfa"),
            done=done,  # type: ignore[arg-type]  # a table of steps
            now=NOW,
            began_at=began_at,
        )
        return interaction.next_step(request, facts)
    except OAuthError as error:
        return error.code


def asks(name: str, *values: str, essential: bool = False) -> ClaimsRequest:
    """Return a claims request for one claim of the ID token."""
    return ClaimsRequest(id_token={name: ClaimWish(essential, values)})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param({}, "answer", id="a session and a consent are enough"),
        pytest.param({"session": None}, "sign_in", id="nobody is signed in"),
        pytest.param({"consented": False}, "consent", id="nothing was approved"),
        pytest.param(
            {"prompt": ("login",), "done": ("sign_in",), "began_at": NOW},
            "sign_in",
            id="prompt=login, signed in for this by somebody else, and this one before",
        ),
        pytest.param(
            {"max_age": 39, "done": ("sign_in",), "began_at": NOW},
            "sign_in",
            id="max_age, signed in for this by somebody else, and this one longer ago than that",
        ),
        pytest.param(
            {"max_age": 40, "done": ("sign_in",), "began_at": NOW},
            "answer",
            id="max_age, signed in for this, and the consent was read for a while",
        ),
        pytest.param(
            {"max_age": 90, "done": ("sign_in",), "session": SignedIn("alice", None)},
            "sign_in",
            id="max_age, signed in for this by somebody else, and nobody knows when this one",
        ),
        pytest.param({"consented": False, "done": ("consent",)}, "answer", id="approved just now"),
        pytest.param({"prompt": ("none",)}, "answer", id="silent with session and consent"),
        pytest.param(
            {"prompt": ("none",), "session": None}, "login_required", id="AZ-10 silent without session"
        ),
        pytest.param(
            {"prompt": ("none",), "consented": False}, "consent_required", id="AZ-23 silent without consent"
        ),
        pytest.param({"prompt": ("login",)}, "sign_in", id="AZ-11 prompt=login with a live session"),
        pytest.param(
            {"prompt": ("login",), "session": SignedIn("alice", NOW)},
            "sign_in",
            id="AZ-11 prompt=login in the second of the sign-in",
        ),
        pytest.param(
            {"prompt": ("login",), "done": ("sign_in",)}, "answer", id="prompt=login, signed in for this"
        ),
        pytest.param({"prompt": ("create",)}, "create", id="prompt=create with a live session"),
        pytest.param({"prompt": ("create",), "session": None}, "create", id="prompt=create with none"),
        pytest.param(
            {"prompt": ("create",), "done": ("create",)}, "answer", id="prompt=create is shown once"
        ),
        pytest.param({"prompt": ("create",), "done": ("sign_in",)}, "answer", id="signed in is registered"),
        pytest.param(
            {"prompt": ("create",), "done": ("create",), "session": None},
            "sign_in",
            id="who was shown the form still has to sign in",
        ),
        pytest.param({"prompt": ("consent",)}, "consent", id="prompt=consent asks again"),
        pytest.param({"prompt": ("consent",), "done": ("consent",)}, "answer", id="but once"),
        pytest.param({"prompt": ("select_account",)}, "select_account", id="prompt=select_account"),
        pytest.param({"prompt": ("select_account",), "done": ("select_account",)}, "answer", id="chosen"),
        pytest.param({"max_age": 100}, "answer", id="AZ-12 just within max_age"),
        pytest.param({"max_age": 99}, "sign_in", id="AZ-12 just beyond max_age"),
        pytest.param({"max_age": 0}, "sign_in", id="AZ-12 max_age=0 is prompt=login"),
        pytest.param({"session": SignedIn("alice", None)}, "answer", id="a time that nobody wants to know"),
        pytest.param(
            {"session": SignedIn("alice", None), "max_age": 9_999_999_999},
            "sign_in",
            id="AZ-12 a time that nobody said",
        ),
        pytest.param(
            {"session": SignedIn("alice", None), "claims": asks("auth_time", essential=True)},
            "sign_in",
            id="a time that nobody said and that must be told",
        ),
        pytest.param(
            {"session": SignedIn("alice", None), "claims": asks("auth_time")},
            "answer",
            id="a time that nobody said and that may be left out",
        ),
        pytest.param({"max_age": 0, "done": ("sign_in",)}, "answer", id="max_age=0, signed in for this"),
        pytest.param({"max_age": 1, "prompt": ("none",)}, "login_required", id="AZ-12 silent beyond max_age"),
        pytest.param({"max_age": 9_999_999_999}, "answer", id="AZ-12 an absurd max_age"),
        pytest.param(
            {"session": SignedIn("alice", NOW + 50), "max_age": 10},
            "answer",
            id="CK-01 a clock that stepped back",
        ),
        pytest.param({"hint": "alice"}, "answer", id="the hinted person"),
        pytest.param({"hint": "bob"}, "sign_in", id="AZ-56 another person than hinted"),
        pytest.param({"hint": "bob", "prompt": ("none",)}, "login_required", id="AZ-56 silently"),
        pytest.param(
            {"hint": "bob", "done": ("sign_in",)}, "login_required", id="AZ-56 the wrong person signed in"
        ),
        pytest.param({"claims": asks("sub", "alice")}, "answer", id="the sub that was asked for"),
        pytest.param({"claims": asks("sub")}, "answer", id="whichever sub it is"),
        pytest.param({"claims": asks("sub", "bob"), "prompt": ("none",)}, "login_required", id="another sub"),
        pytest.param({"acr_values": ("mfa",)}, "step_up", id="AZ-57 a stronger acr is possible"),
        pytest.param(
            {"acr_values": ("mfa",), "claims": asks("acr")}, "step_up", id="AZ-57 and the acr is to be told"
        ),
        pytest.param({"acr_values": ("password", "mfa")}, "answer", id="one of the acr values is there"),
        pytest.param({"acr_values": ("gold",)}, "answer", id="AZ-57 a voluntary acr that nobody has"),
        pytest.param(
            {"acr_values": ("gold",), "claims": asks("acr", essential=True)},
            "answer",
            id="AZ-57 and which one it is must be told",
        ),
        pytest.param(
            {"acr_values": ("mfa",), "prompt": ("none",)}, "answer", id="AZ-57 voluntary and silent"
        ),
        pytest.param(
            {"acr_values": ("mfa",), "done": ("step_up",)}, "answer", id="AZ-57 voluntary and not reached"
        ),
        pytest.param(
            {"claims": asks("acr", "mfa", essential=True)}, "step_up", id="AZ-57 essential and possible"
        ),
        pytest.param(
            {"claims": asks("acr", "mfa", essential=True), "prompt": ("none",)},
            "interaction_required",
            id="AZ-57 essential and silent",
        ),
        pytest.param({"claims": asks("acr", "gold")}, "answer", id="AZ-57 voluntary and impossible"),
        pytest.param(
            {"claims": asks("acr", "gold", essential=True)},
            "unmet_authentication_requirements",
            id="AZ-57 essential and impossible",
        ),
        pytest.param(
            {"claims": asks("acr", "mfa", essential=True), "done": ("step_up",)},
            "unmet_authentication_requirements",
            id="AZ-57 essential and not reached",
        ),
    ],
)
def test_the_person_has_to(facts: dict[str, Any], expected: str) -> None:
    assert step() == "answer"
    assert step(**facts) == expected
