"""The JSON API of signing keys and of the audit trail."""

from typing import Annotated, Literal

import msgspec

from watchword.flows import paging
from watchword.flows.identifiers import LONGEST
from watchword.http.operation import Call, Operation
from watchword.oauth.errors import OAuthError
from watchword.store.audit import events
from watchword.store.audit.events import Event

READ, WRITE, AUDIT = "watchword:keys:read", "watchword:keys:write", "watchword:audit:read"


class KeyView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A published signing key; times are Unix seconds."""

    kid: str
    algorithm: str
    state: str
    created_at: int
    activates_at: int | None = None
    retires_at: int | None = None


class KeyList(msgspec.Struct, frozen=True):
    """Every published signing key."""

    keys: list[KeyView]


class RotateKeyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which algorithm's key to rotate."""

    algorithm: Literal["ES256", "EdDSA", "RS256"] = "ES256"


class EventPage(msgspec.Struct, frozen=True):
    """A page of audit events, newest first; `next` is the cursor of the page after it.

    With a filter by name or actor, a page may hold fewer events than the limit, even none, and still have a `next`: each page examines a
    bounded number of events.
    """

    events: list[Event]
    next: str | None


class EventQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to filter and page through audit events."""

    name: Annotated[str, msgspec.Meta(max_length=100)] = ""
    target: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    actor: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: paging.Cursor = ""


async def list_keys(call: Call) -> KeyList:
    """List the published signing keys and their states."""
    return KeyList(
        [
            KeyView(key.kid, key.algorithm, state, key.created_at, key.activates_at, key.retires_at)
            for key, state in await call.request.runtime.keyring.states()
        ]
    )


async def rotate_key(call: Call) -> KeyList:
    """Promote the next key and publish another; tokens that the old one signed stay valid until they expire."""
    if call.body.algorithm not in call.request.runtime.settings.signing_algorithms:
        raise OAuthError(
            "invalid_request", "This server does not sign with that algorithm.", field="algorithm"
        )
    runtime, actor = call.request.runtime, call.caller.actor
    # The ring is the server's own: it is told by which database this caller writes.
    if not await runtime.keyring.rotate(call.body.algorithm, actor=actor, database=runtime.database):
        raise OAuthError("conflict", "Another node rotated this key just now.")
    return await list_keys(call)


async def revoke_key(call: Call) -> KeyList:
    """Revoke a leaked key: tokens that it signed are refused at once, and its successor takes over where its algorithm still signs."""
    runtime, actor = call.request.runtime, call.caller.actor
    if not await runtime.keyring.revoke(call.path("kid"), actor=actor, database=runtime.database):
        raise OAuthError("not_found", "There is no such key.")
    return await list_keys(call)


async def list_events(call: Call) -> EventPage:
    """List audit events, newest first."""
    runtime, query = call.request.runtime, call.query
    found = await runtime.lists.read(
        events.look_back,
        limit=query.limit + 1,
        before=events.position_of(paging.open_cursor(runtime, "events", query.cursor)),
        name=query.name,
        target=query.target,
        actors=[query.actor] if query.actor else [],
    )
    page, following = paging.page(runtime, "events", found.events, query.limit, events.position)
    rest = paging.make_cursor(runtime, "events", found.rest) if found.rest else None
    return EventPage(page, following or rest)


OPERATIONS = (
    Operation("GET", "/keys", list_keys, "List signing keys", READ, answer=KeyList),
    Operation(
        "POST", "/keys/rotate", rotate_key, "Rotate a signing key", WRITE, body=RotateKeyInput, answer=KeyList
    ),
    Operation("POST", "/keys/{kid}/revoke", revoke_key, "Revoke a signing key", WRITE, answer=KeyList),
    Operation("GET", "/events", list_events, "List audit events", AUDIT, query=EventQuery, answer=EventPage),
)
