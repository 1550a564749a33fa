"""How pages say what is wrong with a new password."""

from watchword.credentials.password import MIN_SINGLE_FACTOR
from watchword.oauth.errors import OAuthError
from watchword.pages.render import Problem

MAXIMUM = 1024
_PROBLEMS = {
    "too_short": "password_short",
    "too_long": "password_long",
    "common": "password_common",
    "guessable": "password_common",
    "context": "password_context",
    "breached": "password_breached",
    "same": "password_same",
}


def problem(error: OAuthError) -> Problem:
    """Return the text beside the field for a refused password."""
    name = _PROBLEMS.get(error.detail or "", "invalid")
    return Problem(name, {"minimum": MIN_SINGLE_FACTOR, "maximum": MAXIMUM})
