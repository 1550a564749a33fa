"""Pages about passwords exist only where passwords are accepted; and the texts for a refused new one."""

from collections.abc import Awaitable, Callable

from watchword.credentials.password import MAX_BYTES, MIN_LENGTH
from watchword.http import Request, Response
from watchword.oauth.errors import OAuthError
from watchword.pages import errors
from watchword.pages.render import Problem

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
    return Problem(name, {"minimum": MIN_LENGTH, "maximum": MAX_BYTES})


def if_accepted(page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a page so that it answers "no passwords here" where the settings do not accept them for signing in."""

    async def answer(request: Request) -> Response:
        if "password" not in request.runtime.settings.sign_in_methods:
            return errors.no_passwords(request)
        return await page(request)

    return answer
