"""The application on whose behalf a person is signing in: the parts of its request that the pages on the way need."""

import msgspec

from watchword.flows import authorization, authorization_requests
from watchword.http import Request
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import oldest_sign_in
from watchword.pages import browser, returning


class Asking(msgspec.Struct, frozen=True):
    """Which application asks, where the answer goes, and what its request says about the pages (OpenID Connect Core §3.1.2.1).

    `max_age` is how many seconds old a sign-in may be: 0 for a fresh one, None where its age does not matter.
    """

    name: str
    redirect_uri: str
    ui_locales: str | None
    login_hint: str | None
    max_age: int | None

    @property
    def form_action(self) -> tuple[str, ...]:
        """The target for the `form-action` policy: browsers also check the redirects that follow a form."""
        return (self.redirect_uri,)


async def find(request: Request, sealed: str | None) -> Asking | None:
    """Return the application that a sealed return path leads back to; None when it leads to none."""
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
    except OAuthError:  # the client ended meanwhile, which resuming its request will report
        return None
    return Asking(
        client.name,
        asked.redirect_uri,
        " ".join(asked.ui_locales) or None,
        asked.login_hint,
        oldest_sign_in(asked),
    )
