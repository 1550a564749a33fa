"""Consent: what people agreed to on the page, what an earlier consent covers, and what is remembered.

A consent is remembered for person, client and audience: which scopes were allowed, which optional ones left out, which details agreed
to. For a client that anybody can impersonate, the person is asked every time (RFC 6749 §10.2, RFC 8252 §8.6). For one of the operator's
own nobody is asked: the consent is recorded as implied, is listed with the others, and can be withdrawn like them.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec

from watchword.flows import detail_types, membership
from watchword.flows.runtime import Runtime
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.authorization_details import Detail, is_within
from watchword.oauth.clients import Client
from watchword.settings import Settings
from watchword.store import consents as store
from watchword.store.database import Transaction
from watchword.store.sessions import Session
from watchword.store.users import User

MAX_REMEMBERED = 50


class Agreed(msgspec.Struct, frozen=True):
    """What a person grants to an application; `noted` when the session has recorded already that the application takes part in it."""

    scope: tuple[str, ...]
    details: tuple[Detail, ...]
    noted: bool = False

    def answers(self, request: AuthorizationRequest) -> bool:
        """Whether at least something of what was requested is granted."""
        asked_nothing = not request.scope and not request.authorization_details
        return bool(self.scope or self.details or asked_nothing)


def for_person(
    settings: Settings, request: AuthorizationRequest, client: Client, user: User
) -> AuthorizationRequest | None:
    """Return what of a request a person may grant at all, None for nothing."""
    scope = membership.open_to(settings, user, request.scope)
    is_left = not request.scope or scope or request.authorization_details
    return (
        msgspec.structs.replace(request, scope=scope)
        if is_left and membership.lets_in(client, user)
        else None
    )


def is_optional(settings: Settings, scope: str) -> bool:
    """Whether a person may leave a scope out; never `openid`, without which it would be another kind of request."""
    known = settings.scopes.get(scope)
    return known is not None and known.optional and scope != "openid"


def chosen(settings: Settings, request: AuthorizationRequest, ticked: tuple[str, ...]) -> Agreed:
    """Return what a person agreed to on the page: all that was shown but the optional scopes that they left out (AZ-54)."""
    return Agreed(
        tuple(one for one in request.scope if not is_optional(settings, one) or one in ticked),
        request.authorization_details,
    )


def is_remembered(settings: Settings, request: AuthorizationRequest, client: Client) -> bool:
    """Whether the consent to a request is remembered for the next one.

    It is not for a client that another could be taken for, and for details of a type that is granted once.
    """
    asked_once = any(_is_once(settings, detail) for detail in request.authorization_details)
    return client.is_recognized and not asked_once


async def is_implied(runtime: Runtime, request: AuthorizationRequest, client: Client, user_id: str) -> bool:
    """Whether nobody is asked about a request: the client is the operator's own, and neither are details at stake, which are decided one by
    one, nor a scope that the person left out when they were asked."""
    audience = " ".join(request.audience)
    if not client.first_party or request.authorization_details or not store.fits(audience):
        return False
    found = await runtime.database.read(store.find_consent, user_id, client.client_id, audience)
    return found is None or set(request.scope).isdisjoint(found.declined.split())


async def imply(runtime: Runtime, request: AuthorizationRequest, client: Client, session: Session) -> Agreed:
    """Record that a person who uses an application of the operator's own is taken to agree to all that it asks for."""
    agreed = Agreed(request.scope, ())
    given = _answered(runtime, request, client, session, agreed)
    await runtime.database.write(store.remember_consent, **given, implied=True)
    return agreed


async def earlier(
    runtime: Runtime, request: AuthorizationRequest, client: Client, user_id: str, session_id: str
) -> Agreed | None:
    """Return what a remembered consent grants to a request; None when the person has to be asked."""
    if not is_remembered(runtime.settings, request, client):
        return None
    found = await runtime.database.read(
        store.find_consent, user_id, client.client_id, " ".join(request.audience), session_id
    )
    if found is None:
        return None
    agreed = set(found.scope.split())
    left_out = {one for one in found.declined.split() if is_optional(runtime.settings, one)}
    details = detail_types.read(found.authorization_details)
    if not set(request.scope) <= agreed | left_out or not is_within(request.authorization_details, details):
        return None
    scope = tuple(one for one in request.scope if one in agreed)
    given = Agreed(scope, request.authorization_details, found.noted)
    return given if given.answers(request) else None


def _is_once(settings: Settings, detail: Detail) -> bool:
    known = settings.authorization_details.get(str(detail["type"]))
    return known is None or known.once


def shown_to(settings: Settings, request: AuthorizationRequest, user: User, client: Client) -> str:
    """Return what a consent page is about: the person, the version of the client, and the scopes for members alone that it shows."""
    for_members = membership.for_members(settings, request.scope)
    return " ".join((user.id, str(client.created_at), str(client.version), *for_members))


def showed_all(before: str | None, now: str) -> bool:
    """Whether the page that was shown told all that one would now; otherwise it is shown again."""
    shown, needed = (before or "").split(), now.split()
    return shown[:3] == needed[:3] and set(needed[3:]) <= set(shown[3:])


def remembering(
    runtime: Runtime, request: AuthorizationRequest, client: Client, session: Session, agreed: Agreed
) -> Callable[[Transaction], Awaitable[None]]:
    """Return the write that remembers what a person agreed to in a session, on a page that showed this version of the client."""
    return partial(store.remember_consent, **_answered(runtime, request, client, session, agreed))


def _answered(
    runtime: Runtime, request: AuthorizationRequest, client: Client, session: Session, agreed: Agreed
) -> dict[str, Any]:
    def details(before: str) -> str:
        kept = list(detail_types.read(before))
        kept += [one for one in agreed.details if one not in kept and not _is_once(runtime.settings, one)]
        return detail_types.stored(tuple(kept[-MAX_REMEMBERED:]))

    return {
        "user_id": session.user_id,
        "client_id": request.client_id,
        "audience": " ".join(request.audience),
        "session_id": session.id,
        "scope": agreed.scope,
        "declined": tuple(one for one in request.scope if one not in agreed.scope),
        "details": details,
        "version": client.version,
        "now": runtime.now(),
    }
