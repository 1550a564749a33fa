"""The contents of the consent page: who asks and where that name comes from, where the answer goes, and what is asked for, in plain words."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from watchword.flows import consents
from watchword.http import Request, Response
from watchword.oauth import redirect_uri
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.clients import Client
from watchword.pages import browser, details, returning, scopes, sign_in
from watchword.store.users import User

ORIGINS = {"registered": "registered", "dynamic": "self_registered", "document": "metadata_document"}


def page(
    request: Request,
    asked: AuthorizationRequest,
    client: Client,
    user: User,
    interaction_id: str,
    known: browser.Known,
) -> Response:
    """Answer the page that asks a person whether an application may have what it asks for."""
    locales = " ".join(asked.ui_locales) or None
    locale = browser.locale_of(request, locales)
    issuer = request.runtime.settings.issuer
    back = returning.seal_return(request.runtime, returning.RESUME + interaction_id)
    context = {
        "action": f"{issuer}/authorize/consent",
        "client": described(client),
        "redirect": target(asked.redirect_uri),
        "account": {**sign_in.describe(request, user), "switch_url": f"{issuer}/sign-in?return={back}"},
        "scopes": [scopes.described(request, scope, locale) for scope in asked.scope],
        "resources": [scopes.resource(request, uri) for uri in asked.audience],
        "details": details.of(request, asked.authorization_details, locale),
        "offline": "offline_access" in asked.scope,
        "remembered": consents.is_remembered(request.runtime.settings, asked, client),
        "hidden": {"interaction": interaction_id},
    }
    return browser.page(
        request,
        "consent",
        context,
        form_action=[asked.redirect_uri],
        ui_locales=locales,
        known=known,
        about=interaction_id,
    )


def described(client: Client) -> dict[str, str | None]:
    """Return how the pages show an application, and where its name comes from."""
    host = urlsplit(client.client_id).netloc if client.origin == "document" else None
    return {
        "name": client.name,
        "origin": ORIGINS[client.origin],
        "host": host,
    }


def target(uri: str) -> Mapping[str, str]:
    """Return the target of an answer as the pages show it: the full host, or the scheme of an app."""
    scheme, _, rest = uri.partition("://")
    if scheme not in ("https", "http"):
        return {"kind": "app", "host": uri.partition(":")[0] + ":"}
    kind = "loopback" if redirect_uri.is_loopback(uri) else "web"
    return {"kind": kind, "host": rest.partition("/")[0].partition("?")[0]}
