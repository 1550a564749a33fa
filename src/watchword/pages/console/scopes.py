"""The console's APIs and scopes: which there are, and what people are told about them when an application asks.

They are settings, so nothing is changed here; what applications ask for and nobody has described is named.
"""

from watchword.flows import consents
from watchword.http import Request, Response
from watchword.oauth.claims import SIGN_IN_SCOPES
from watchword.oauth.scopes import is_reserved
from watchword.pages import browser, details, scopes
from watchword.pages.console import frame
from watchword.settings import Settings
from watchword.store import clients


async def show(request: Request) -> Response:
    """List the APIs, the scopes, and the types of rich requests."""
    found = await frame.require(request)
    settings, locale = request.runtime.settings, browser.locale_of(request)
    context = {
        "resources": _resources(request, settings),
        "scopes": [_scope(request, one, locale) for one in settings.scopes],
        "undescribed": await _undescribed(request),
        "types": [
            {"name": name, "sentence": details.in_language(known.sentence, locale), "risk": known.risk}
            for name, known in settings.authorization_details.items()
        ],
    }
    return frame.page(request, found, "scopes", context)


def _resources(request: Request, settings: Settings) -> list[dict[str, object]]:
    return [
        {
            **scopes.resource(request, uri),
            "default": uri == settings.resource,
            "format": settings.token_formats.get(uri, ""),
            "status_list": uri in settings.status_lists,
        }
        for uri in settings.apis
    ]


def _scope(request: Request, scope: str, locale: str) -> dict[str, object]:
    known = request.runtime.settings.scopes[scope]
    described = scopes.described(request, scope, locale)
    shown = {name: described[name] for name in ("name", "sentence", "risk")}
    return {
        **shown,
        "optional": consents.is_optional(request.runtime.settings, scope),
        "personal": known.personal,
        "groups": list(known.groups),
        "claims": list(known.claims),
    }


async def _undescribed(request: Request) -> list[str]:
    """Return the scopes of applications of which people would be shown the bare name."""
    settings = request.runtime.settings
    used = {*await request.runtime.lists.read(clients.list_scopes), *settings.self_registered_scopes}
    unknown = used - {*SIGN_IN_SCOPES, *settings.scopes}
    return sorted(scope for scope in unknown if not is_reserved(scope))
