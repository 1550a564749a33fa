"""API tokens: made, narrowed, rotated, revoked.

Theory of operation. A token is a set of rights; a secret is what its holder presents, and during a rotation a token has several.
A narrower token names its parent: it can do no more and live no longer, and it is revoked with any ancestor.
"""

from typing import Annotated, Literal

import msgspec

from watchword.flows import membership, sessions, token_limits, token_notices
from watchword.flows.giving import NOBODY, Giver
from watchword.flows.identifiers import LONGEST, new_id
from watchword.flows.inputs import Text, check_resource, check_text
from watchword.flows.runtime import Runtime
from watchword.flows.sign_in import canonical
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import excess, format_scope, parse_scope
from watchword.store import api_tokens as store
from watchword.store import clients, users
from watchword.store.api_tokens import ApiToken
from watchword.store.sessions import Session

MAX_DEPTH = 8
DEFAULT_OVERLAP = 86_400
MAX_OVERLAP = 30 * 86_400
NEVER: Literal["never"] = "never"
COMPROMISED = "compromised"  # of this reason the owner is told
MAX_APPLICATION = 200  # characters: of a name that nobody else has checked
APPLICATION = "application:"  # the prefix of owners that are neither people nor clients

Lifetime = Annotated[int, msgspec.Meta(ge=1, le=3650 * 86_400)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


class TokenInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input for a new API token. `expires_in` is in seconds or "never"; `rate_limit` is uses per minute, `quota` uses in all."""

    name: Text
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST)] | None = None
    scope: Annotated[str, msgspec.Meta(max_length=4096)]
    resource: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    expires_in: Lifetime | Literal["never"] | None = None
    addresses: Annotated[list[Text], msgspec.Meta(max_length=50)] = []
    path: Annotated[str, msgspec.Meta(max_length=500)] | None = None
    rate_limit: Limit | None = None
    quota: Limit | None = None
    jkt: str | None = None
    metadata: dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=40)],
        Annotated[str, msgspec.Meta(max_length=500)],
    ] = {}


class NarrowInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input for a token narrower than the holder's own; what is left out stays as it is. `expires_in` is in seconds."""

    name: Text | None = None
    scope: Annotated[str, msgspec.Meta(max_length=4096)] | None = None
    resource: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    expires_in: Lifetime | None = None
    addresses: Annotated[list[Text], msgspec.Meta(max_length=50)] | None = None
    path: Annotated[str, msgspec.Meta(max_length=500)] | None = None


class Issued(msgspec.Struct, frozen=True):
    """A token and its new secret, which is shown only now."""

    token: ApiToken
    secret: str
    secret_id: str


async def resolve_owner(runtime: Runtime, who: str) -> tuple[str, str]:
    """Return kind and identifier of an owner: a user by name, verified address or identifier, a client by identifier, else an application
    by name.

    An application may also be given by its identifier, as lists and events show it.
    """
    check_text("owner", who)
    user = await runtime.database.read(users.find_user, *canonical(who))
    if user is None and who.startswith("user_"):
        user = await runtime.database.read(users.get_user, who)
    if user is not None:
        return "user", user.id
    if await runtime.database.read(clients.find_client, who) is not None:
        return "client", who
    return "application", who if who.startswith(APPLICATION) else f"{APPLICATION}{who}"


async def create(
    runtime: Runtime,
    given: TokenInput,
    *,
    owner: tuple[str, str],
    actor: str,
    giver: Giver = NOBODY,
    session: Session | None = None,
) -> Issued:
    """Create a token. `giver` is who gives the scopes over this server that it holds, and so bounds its life (AP-05); `session` is that of
    a person who asks for it on a page.

    Raises as `sessions.act`, or an error that names what is wrong with the input.
    """
    now = runtime.now()
    scope = parse_scope(given.scope)
    if not scope:
        raise OAuthError("invalid_scope", token_limits.NO_SCOPE, field="scope")
    if owner[0] == "application" and len(owner[1]) > len(APPLICATION) + MAX_APPLICATION:
        raise OAuthError(
            "invalid_request", "The name of an application has 200 characters at most.", field="owner"
        )
    expires_at = _expiry(runtime, given.expires_in, now)
    giver.check(scope)
    if giver.outlives(scope, expires_at):
        if given.expires_in is not None:
            raise OAuthError(
                "insufficient_scope", "Such a token cannot outlive the one that makes it.", field="expires_in"
            )
        expires_at = giver.until
    member_of = await _member_of(runtime, owner, scope)
    token = ApiToken(
        id=new_id("token"),
        name=check_text("name", given.name),
        owner_kind=owner[0],
        owner_id=owner[1],
        scope=format_scope(scope),
        resource=runtime.settings.resource if given.resource is None else check_resource(given.resource),
        created_at=now,
        created_by=actor,
        expires_at=expires_at,
        addresses=token_limits.networks(given.addresses),
        path=token_limits.beginning(given.path),
        rate_limit=given.rate_limit,
        quota=given.quota,
        jkt=token_limits.thumbprint(given.jkt),
        metadata={
            check_text("metadata", key): token_limits.note(value) for key, value in given.metadata.items()
        },
    )
    return await _store(runtime, token, actor, session, member_of)


async def _member_of(
    runtime: Runtime, owner: tuple[str, str], scope: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Return the groups that a scope of a person's token depends on, None without one; raise `invalid_scope` for a scope that none of
    them opens."""
    closed = membership.closed_to(runtime.settings, ())
    if owner[0] != "user" or closed.isdisjoint(scope):
        return None
    user = await runtime.database.read(users.get_user, owner[1])
    if user is not None and (opened := membership.open_to(runtime.settings, user, scope)) != scope:
        raise excess("A scope is for members of groups that the owner is not in.", scope, opened)
    return user.groups if user else None


async def narrow(runtime: Runtime, parent: ApiToken, given: NarrowInput, *, actor: str) -> Issued:
    """Create a token that can do no more than its parent and lives no longer; raise an error that names what would be gained."""
    now = runtime.now()
    if parent.depth >= MAX_DEPTH:
        raise OAuthError("invalid_request", f"A token can be narrowed {MAX_DEPTH} times at most.")
    if parent.quota is not None or parent.rate_limit is not None:  # the new token's count would start at zero
        raise OAuthError("invalid_request", "A token whose uses are limited in number cannot be narrowed.")
    if given.resource is not None and given.resource != parent.resource:
        raise token_limits.gain(
            "resource", "A narrower token keeps the resource of its parent.", "invalid_target"
        )
    token = msgspec.structs.replace(
        parent,
        id=new_id("token"),
        # Not checked: the parent's name may be older than today's rules for names.
        name=check_text("name", given.name) if given.name else f"{parent.name[:180]} (narrowed)",
        parent_id=parent.id,
        depth=parent.depth + 1,
        scope=token_limits.narrower_scope(parent, given.scope),
        created_at=now,
        created_by=actor,
        expires_at=token_limits.narrower_expiry(parent, given.expires_in, now),
        addresses=token_limits.narrower_networks(parent, given.addresses),
        path=token_limits.narrower_beginning(parent, given.path),
    )
    return await _store(runtime, token, actor)


async def _store(
    runtime: Runtime,
    token: ApiToken,
    actor: str,
    session: Session | None = None,
    member_of: tuple[str, ...] | None = None,
) -> Issued:
    secret, secret_id = runtime.new_secret("a"), new_id("secret")
    outcome = await sessions.act(
        runtime,
        session,
        store.create_token,
        token,
        secret_id=secret_id,
        digest=token_format.digest(secret),
        hint=secret[-4:],
        actor=actor,
        member_of=member_of,
    )
    if outcome == "groups":
        raise OAuthError("conflict", "The owner's groups were changed meanwhile: try again.", field="owner")
    if outcome == "owner":
        raise OAuthError("invalid_request", "The owner does not exist or is disabled.", field="owner")
    if outcome == "parent":
        raise OAuthError("invalid_token", "The token to narrow was revoked meanwhile.")
    return Issued(token, secret, secret_id)


def _expiry(runtime: Runtime, expires_in: int | str | None, now: int) -> int | None:
    settings = runtime.settings
    if expires_in == NEVER:
        if not settings.lets_api_tokens_live_for_ever:
            raise OAuthError(
                "invalid_request",
                "Tokens that never expire are not allowed here: set api_token_allow_never to allow them.",
                field="expires_in",
            )
        return None
    seconds = settings.api_token_lifetime if expires_in is None else int(expires_in)
    if seconds > settings.api_token_max_lifetime:
        raise OAuthError(
            "invalid_request",
            f"A token lives {settings.api_token_max_lifetime} seconds at most (api_token_max_lifetime).",
            field="expires_in",
        )
    return now + seconds


async def rotate(
    runtime: Runtime,
    token_id: str,
    *,
    overlap: int = DEFAULT_OVERLAP,
    actor: str,
    session: Session | None = None,
) -> Issued:
    """Give a token a new secret; the older ones work for `overlap` seconds more. `session` as for `create`.

    Raises `not_found`, `conflict` for a token that has ended, `invalid_request` for the overlap, or as `sessions.act`.
    """
    if not 0 <= overlap <= MAX_OVERLAP:
        raise OAuthError("invalid_request", f"overlap must be 0 to {MAX_OVERLAP} seconds.", field="overlap")
    # Nothing is asked of the database once the secret is there, which only this answer can tell.
    token = await runtime.database.read(store.get_token, token_id)
    if token is None:
        raise OAuthError("not_found", "There is no such token.")
    now = runtime.now()
    secret, secret_id = runtime.new_secret("a"), new_id("secret")
    rotated = await sessions.act(
        runtime,
        session,
        store.rotate_token,
        token_id,
        secret_id=secret_id,
        digest=token_format.digest(secret),
        hint=secret[-4:],
        overlap_until=now + overlap,
        actor=actor,
        now=now,
    )
    if not rotated:
        raise OAuthError("conflict", "The token has expired or was revoked: create a new one.")
    return Issued(token, secret, secret_id)


async def revoke(
    runtime: Runtime,
    token_id: str,
    *,
    reason: str = "revoked",
    actor: str,
    session: Session | None = None,
) -> list[str]:
    """Revoke a token and all narrowed from it; revoking one that has ended already is no error. `session` as for `create`.

    Raises `not_found`, or as `sessions.act`.
    """
    given = {"reason": reason, "actor": actor, "now": runtime.now()}
    ended = await sessions.act(runtime, session, store.revoke_token, token_id, **given)
    if not ended and await runtime.database.read(store.get_token, token_id) is None:
        raise OAuthError("not_found", "There is no such token.")
    if reason == COMPROMISED and token_id in ended:
        await token_notices.tell_leaked(runtime, [token_id], "revoked", by=actor)
    return ended


async def revoke_all_of(runtime: Runtime, owner_id: str, *, reason: str = "revoked", actor: str) -> list[str]:
    """Revoke every token of an owner and all narrowed from them; return the identifiers of those that were live."""
    ended = await runtime.database.write(
        store.revoke_tokens_of, owner_id, reason=reason, actor=actor, now=runtime.now()
    )
    if reason == COMPROMISED:
        await token_notices.tell_leaked(runtime, ended, "revoked", by=actor)
    return ended


async def revoke_all(runtime: Runtime, who: str, *, reason: str = "revoked", actor: str) -> list[str]:
    """Revoke as `revoke_all_of`, for an owner as `resolve_owner` takes them.

    Raises `not_found` for a name without an owner and without tokens: in an emergency, a misspelt name must not look like success.
    """
    kind, owner_id = await resolve_owner(runtime, who)
    ended = await revoke_all_of(runtime, owner_id, reason=reason, actor=actor)
    if not ended and kind == "application":
        now = runtime.now()
        if not await runtime.database.read(store.list_tokens, after="", limit=1, owner=owner_id, now=now):
            raise OAuthError(
                "not_found", "No user, client or application with a token has this name.", field="owner"
            )
    return ended
