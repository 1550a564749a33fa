"""The application on whose behalf a person is asked something: what the pages on the way back to it need of its request."""

import msgspec

from watchword.flows import authorization, authorization_requests
from watchword.http import Request
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import oldest_sign_in
from watchword.pages import browser, returning


class Asking(msgspec.Struct, frozen=True):
    """Who asks, where the answer goes, and the wishes of the request about the pages (OpenID Connect Core §3.1.2.1)."""

    name: str
    redirect_uri: str
    ui_locales: str | None
    login_hint: str | None
    max_age: (
        int | None
    )  # how many seconds old a sign-in may be, 0 for one that is made anew, None where its time need not be known

    @property
    def form_action(self) -> tuple[str, ...]:
        """Where a form may lead in the end: browsers check the redirects that follow it as well."""
        return (self.redirect_uri,)


async def find(request: Request, sealed: str | None) -> Asking | None:
    """Return who asked for what a sealed return path goes back to; None when no application did."""
    runtime, value = request.runtime, browser.browser_of(request)
    interaction = returning.interaction_of(returning.open_return(runtime, sealed))
    if interaction is None or value is None:
        return None
    found = await authorization.resume(runtime, interaction, value)
    if found is None:
        return None
    asked = found[1]
    try:
        client = await authorization_requests.client_of(runtime, asked.client_id)
    except OAuthError:  # it ended meanwhile; going back to it says so
        return None
    return Asking(
        client.name,
        asked.redirect_uri,
        " ".join(asked.ui_locales) or None,
        asked.login_hint,
        oldest_sign_in(asked),
    )
