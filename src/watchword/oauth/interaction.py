"""OpenID Connect Core §3.1.2.1 and §3.1.2.3: what the person has to do before an authorization request is answered.

Owns the decision between creating an account (Initiating User Registration §4), signing in, choosing an account, consenting and
answering, and the errors of `prompt=none`. It is made again after each step: the facts have changed then, and `done` names the steps
that were taken for this very request.
"""

from collections.abc import Collection
from typing import Literal

import msgspec

from watchword.oauth.authorization import ANY_AGE, AuthorizationRequest
from watchword.oauth.errors import OAuthError

LEEWAY = 60  # seconds by which the clocks of nodes and of providers differ
Step = Literal["create", "sign_in", "select_account", "step_up", "consent", "answer"]


class SignedIn(msgspec.Struct, frozen=True):
    """A live session: `subject` as this client knows it, `auth_time` in Unix seconds where it is known, the acr values it satisfies."""

    subject: str
    auth_time: int | None
    acr: tuple[str, ...] = ()


def oldest_sign_in(request: AuthorizationRequest) -> int | None:
    """Return how many seconds old a sign-in may be, 0 when a new one is required, None where even its time need not be known (§2)."""
    if "login" in request.prompt:
        return 0
    if request.max_age is not None:
        return request.max_age
    wish = request.claims.id_token.get("auth_time")
    return ANY_AGE if wish is not None and wish.essential else None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known when a request is looked at.

    `consented` says that an earlier consent covers client, scope, resource and details; `hinted_subject` is the `sub` of a verified
    `id_token_hint`; `supported_acr` are the levels that can be reached here; `done` are the steps taken. `now` and `began_at`, when the
    request arrived, are in Unix seconds.
    """

    session: SignedIn | None
    consented: bool
    hinted_subject: str | None
    supported_acr: Collection[str]
    done: Collection[Step] = ()
    now: int
    began_at: int


def next_step(request: AuthorizationRequest, facts: Facts) -> Step:
    """Return the next step. Raises `unmet_authentication_requirements` for an essential acr that cannot be reached, `login_required`
    when another person is signed in, and with `prompt=none` the error that stands for the step (§3.1.2.6)."""
    step = _decide(request, facts)
    if step != "answer" and "none" in request.prompt:  # §3.1.2.6
        raise silently(step)
    return step


def silently(step: Step) -> OAuthError:
    """Return the error that stands for a step where `prompt=none` forbids to ask for it."""
    return OAuthError(_SILENT[step], "The person would have to act, but prompt=none forbids it.")


_SILENT = {
    "sign_in": "login_required",
    "select_account": "account_selection_required",
    "step_up": "interaction_required",
    "consent": "consent_required",
}


def _decide(request: AuthorizationRequest, facts: Facts) -> Step:
    session, done = facts.session, facts.done
    if "create" in request.prompt and not {"create", "sign_in"} & set(done):
        return "create"
    if session is None or _is_stale(request, session, facts):
        return "sign_in"
    if "select_account" in request.prompt and not {"select_account", "sign_in"} & set(done):
        return "select_account"
    if not _is_wanted(request, session, facts.hinted_subject):  # §3.1.2.2
        if "sign_in" in done or "none" in request.prompt:
            raise OAuthError("login_required", "Somebody other than the requested person is signed in.")
        return "sign_in"
    if not _has_acr(request, session, facts.supported_acr, done):
        return "step_up"
    if "consent" not in done and ("consent" in request.prompt or not facts.consented):
        return "consent"
    return "answer"


def _is_stale(request: AuthorizationRequest, session: SignedIn, facts: Facts) -> bool:
    oldest = oldest_sign_in(request)
    if oldest is None:
        return False
    if session.auth_time is None:
        return True
    # Somebody signed in for this request, but this session may be another person's, and older
    if "sign_in" in facts.done:
        return session.auth_time < facts.began_at - oldest - LEEWAY
    return oldest == 0 or facts.now - session.auth_time > oldest


def _is_wanted(request: AuthorizationRequest, session: SignedIn, hinted_subject: str | None) -> bool:
    if hinted_subject is not None and hinted_subject != session.subject:
        return False
    wish = request.claims.id_token.get("sub")  # §5.5.1
    return wish is None or not wish.values or session.subject in wish.values


def _has_acr(
    request: AuthorizationRequest, session: SignedIn, supported: Collection[str], done: Collection[Step]
) -> bool:
    wish = request.claims.id_token.get("acr")
    essential = wish is not None and wish.essential and bool(wish.values)
    wanted = [str(value) for value in wish.values] if wish and wish.values else list(request.acr_values)
    if not wanted or any(value in session.acr for value in wanted):
        return True
    reachable = any(value in supported for value in wanted) and "step_up" not in done
    if essential and not reachable:  # §5.5.1.1
        raise OAuthError("unmet_authentication_requirements", "The requested acr cannot be reached here.")
    # A voluntary acr that cannot be reached, or not with prompt=none, is no error: the ID token tells the actual one.
    return not reachable or (not essential and "none" in request.prompt)
