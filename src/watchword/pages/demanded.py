"""A second factor that policy demands of a person who has none yet: until it is set up, no application, device or script gets anything."""

from watchword.flows import factors
from watchword.flows.authorization import INTERACTION_LIFETIME
from watchword.http import Request, Response, redirect
from watchword.pages import browser, returning
from watchword.store.factors import enrolled
from watchword.store.users import User


async def is_lacking(request: Request, user: User) -> bool:
    """Whether policy demands a second factor of a person who has none that is usable here."""
    runtime = request.runtime
    if not factors.is_required(runtime.settings, user):
        return False
    have = await runtime.database.read(enrolled, user.id)
    return not factors.usable(runtime.settings, have)


def set_up(
    request: Request, back: str | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Response:
    """Send a person to set one up; the account pages then link back to what waits at `back`, a path of this server."""
    runtime = request.runtime
    if back is not None:
        sealed = returning.seal_return(runtime, back)
        waiting = browser.set_cookie(runtime.settings, returning.WAITING_COOKIE, sealed, INTERACTION_LIFETIME)
        headers = (waiting, *headers)
    return redirect(f"{runtime.settings.issuer}/account/second_factors", headers)
