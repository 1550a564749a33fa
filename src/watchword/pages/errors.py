"""Refusals shown to a person: a page instead of a JSON document."""

from watchword.http import Request, Response
from watchword.http.forms import Unreadable
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, developer

PROBLEMS = {
    "access_denied": "forbidden",
    "insufficient_scope": "forbidden",
    "not_found": "not_found",
    "too_many_requests": "throttled",
    "temporarily_unavailable": "unavailable",
}


def page(request: Request, error: OAuthError, reference: str) -> Response:
    """Answer a refusal as a page, with the identifier that support needs; in development it also says what to change."""
    issuer, problem = request.runtime.settings.issuer, problem_of(error)
    if problem == "form" and browser.blocks_cookies(request):
        problem = "no_cookies"
    context = {
        "problem_name": problem,
        "reference": reference,
        "links": {"home": f"{issuer}/sign-in"},
        "developer": developer.explain_shortly(request, error),
    }
    headers = ((b"retry-after", str(error.retry_after).encode()),) if error.retry_after is not None else ()
    return browser.page(request, "error", context, status=error.rule.status, headers=headers)


def problem_of(error: OAuthError) -> str:
    """Return the name of the text that tells a person why."""
    if isinstance(error, Unreadable) or (error.code == "invalid_request" and error.field is None):
        return "unreadable"
    if error.field == "csrf":  # the person may well be allowed to: only the form is not this browser's
        return "form"
    # The session, or the proof behind it, ended while the request was served.
    if error.field == "session":
        return "signed_out"
    return PROBLEMS.get(error.code, "general")


def expired(request: Request) -> Response:
    """Say that a link has run out or was used."""
    return _not_here(request, "already_used", "link")


def too_old(request: Request) -> Response:
    """Say that the step a person was in the middle of has expired."""
    return _not_here(request, "expired", "step")


def no_passwords(request: Request) -> Response:
    """Say that nobody signs in with a password here, and what to do instead."""
    return _not_here(request, "no_passwords", "passwords")


def address_taken(request: Request) -> Response:
    """Say to whoever has proved that an address is theirs that another account has it."""
    return _not_here(request, "address_taken", "address", status=409)


def _not_here(request: Request, problem: str, reference: str, *, status: int = 404) -> Response:
    issuer = request.runtime.settings.issuer
    context = {
        "problem_name": problem,
        "reference": reference,
        "links": {"home": f"{issuer}/sign-in"},
        "developer": None,
    }
    return browser.page(request, "error", context, status=status)
