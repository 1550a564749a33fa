"""What people agreed to give to applications: on the page, before, and what is remembered of their answer.

An answer is remembered for person, client and audience: which scopes were allowed, which optional ones left out, which details
agreed to. A client that anybody can pretend to be is asked about every time (RFC 6749 §10.2, RFC 8252 §8.6).
"""

import msgspec

from watchword.flows import detail_types
from watchword.flows.runtime import Runtime
from watchword.oauth import redirect_uri
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.authorization_details import Detail, is_within
from watchword.oauth.clients import Client
from watchword.settings import Settings
from watchword.store import consents as store

MAX_REMEMBERED = 50


class Agreed(msgspec.Struct, frozen=True):
    """What a person gives to an application; `noted` where the session knows already that it takes part."""

    scope: tuple[str, ...]
    details: tuple[Detail, ...]
    noted: bool = False

    def answers(self, request: AuthorizationRequest) -> bool:
        """Whether it is anything at all of what was asked for."""
        asked_nothing = not request.scope and not request.authorization_details
        return bool(self.scope or self.details or asked_nothing)


def is_optional(settings: Settings, scope: str) -> bool:
    """Whether a person may leave a scope out; `openid` makes the request what it is."""
    known = settings.scopes.get(scope)
    return known is not None and known.optional and scope != "openid"


def chosen(settings: Settings, request: AuthorizationRequest, ticked: tuple[str, ...]) -> Agreed:
    """Return what a person agreed to on the page: all that was shown but the optional scopes that they left out (AZ-54)."""
    return Agreed(
        tuple(one for one in request.scope if not is_optional(settings, one) or one in ticked),
        request.authorization_details,
    )


def is_remembered(settings: Settings, request: AuthorizationRequest, client: Client) -> bool:
    """Whether an answer to a request holds for the next one like it.

    About a client that anybody could pretend to be, the person is asked every time; so they are about one that registered itself
    with several destinations, of which they saw one.
    """
    is_proven = not client.is_public and client.origin != "document" and _has_one_destination(client)
    is_known = client.origin == "registered" and client.application_type != "native"  # RFC 8252 §8.6
    asked_once = any(_is_once(settings, detail) for detail in request.authorization_details)
    return (is_proven or is_known) and not asked_once


def _has_one_destination(client: Client) -> bool:
    return len({redirect_uri.destination(uri).lower() for uri in client.redirect_uris}) == 1


async def earlier(
    runtime: Runtime, request: AuthorizationRequest, client: Client, user_id: str, session_id: str
) -> Agreed | None:
    """Return what an earlier answer gives to a request; None when the person has to be asked."""
    if not is_remembered(runtime.settings, request, client):
        return None
    found = await runtime.database.read(
        store.find_consent, user_id, client.client_id, " ".join(request.audience), session_id
    )
    if found is None:
        return None
    agreed = set(found.scope.split())
    left_out = {one for one in found.declined.split() if is_optional(runtime.settings, one)}
    if not set(request.scope) <= agreed | left_out or not _covers(request, found):
        return None
    scope = tuple(one for one in request.scope if one in agreed)
    given = Agreed(scope, request.authorization_details, found.noted)
    return given if given.answers(request) else None


def _covers(request: AuthorizationRequest, found: store.Consent) -> bool:
    return is_within(request.authorization_details, detail_types.read(found.authorization_details))


def _is_once(settings: Settings, detail: Detail) -> bool:
    known = settings.authorization_details.get(str(detail["type"]))
    return known is None or known.once


def shown_to(user_id: str, client: Client) -> str:
    """Return what a consent page is kept under: who saw it, and of which state of the application; another one is shown anew."""
    return f"{user_id} {client.created_at} {client.version}"


async def remember(
    runtime: Runtime, request: AuthorizationRequest, client: Client, user_id: str, agreed: Agreed
) -> None:
    """Keep what a person agreed to on the page, which spoke of this state of the application."""

    def details(before: str) -> str:
        kept = list(detail_types.read(before))
        kept += [one for one in agreed.details if one not in kept and not _is_once(runtime.settings, one)]
        return detail_types.stored(tuple(kept[-MAX_REMEMBERED:]))

    await runtime.database.write(
        store.remember_consent,
        user_id,
        request.client_id,
        " ".join(request.audience),
        scope=agreed.scope,
        declined=tuple(one for one in request.scope if one not in agreed.scope),
        details=details,
        version=client.version,
        now=runtime.now(),
    )
