"""The JSON API of API tokens."""

from typing import Annotated, Literal

import msgspec

from watchword.flows import api_tokens, paging, token_verification
from watchword.flows.api_tokens import Issued, NarrowInput, TokenInput
from watchword.flows.identifiers import LONGEST
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.http.operation import Call, Operation
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import parse_scope
from watchword.store import api_tokens as store
from watchword.store import token_usage
from watchword.store.api_tokens import ApiToken
from watchword.store.token_usage import SecretUse

READ, WRITE = "watchword:tokens:read", "watchword:tokens:write"


class TokenView(msgspec.Struct, frozen=True, omit_defaults=True):
    """An API token without its secret; times are Unix seconds."""

    id: str
    name: str
    owner: str
    owner_kind: str
    scope: str
    resource: str
    created_at: int
    created_by: str
    state: str
    expires_at: int | None = None
    revoked_at: int | None = None
    revoked_reason: str | None = None
    parent: str | None = None
    addresses: tuple[str, ...] = ()
    path: str | None = None
    rate_limit: int | None = None
    quota: int | None = None
    jkt: str | None = None
    metadata: dict[str, str] = {}
    secrets: list[SecretUse] | None = None
    chain: list[str] | None = None


class TokenIssued(msgspec.Struct, frozen=True):
    """A token with its secret, which is shown only now, and stored as a digest."""

    id: str
    token: str
    scope: str
    resource: str
    expires_at: int | None
    secret_id: str
    owner: str
    name: str


class TokenPage(msgspec.Struct, frozen=True):
    """A page of tokens, newest first, or by name where one is searched for; `next` is the cursor of the page after it."""

    tokens: list[TokenView]
    next: str | None


class TokenQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to filter and page through tokens; `search` is a prefix of a name, or an identifier."""

    owner: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    search: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    state: Literal["all", "active", "expired", "revoked"] = "all"
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: paging.Cursor = ""


class RotateInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds older secrets stay valid."""

    overlap: Annotated[int, msgspec.Meta(ge=0, le=api_tokens.MAX_OVERLAP)] = api_tokens.DEFAULT_OVERLAP


class RevokeInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the token is merely revoked, or was compromised."""

    reason: Literal["revoked", "compromised"] = "revoked"


class RevokeAllInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose tokens end, and why."""

    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST)]
    reason: Literal["revoked", "compromised"] = "revoked"


class EndedTokens(msgspec.Struct, frozen=True):
    """The identifiers of the tokens that this call revoked."""

    ended: list[str]


class VerifyInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token and the circumstances in which it was presented; `jkt` is the key whose possession was proven with it."""

    token: Annotated[str, msgspec.Meta(max_length=500)]
    scope: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    resource: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    address: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    path: Annotated[str, msgspec.Meta(max_length=2000)] | None = None
    jkt: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class Verified(msgspec.Struct, frozen=True):
    """Whether a token is accepted, and if not why: for the operator."""

    active: bool
    reason: str
    token: TokenView | None = None


def view(
    token: ApiToken, now: int, uses: list[SecretUse] | None = None, chain: list[str] | None = None
) -> TokenView:
    """Return a token as people and programs see it."""
    return TokenView(
        id=token.id,
        name=token.name,
        owner=token.owner_id,
        owner_kind=token.owner_kind,
        scope=token.scope,
        resource=token.resource,
        created_at=token.created_at,
        created_by=token.created_by,
        state=_state(token, now),
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        revoked_reason=token.revoked_reason,
        parent=token.parent_id,
        addresses=token.addresses,
        path=token.path,
        rate_limit=token.rate_limit,
        quota=token.quota,
        jkt=token.jkt,
        metadata=token.metadata,
        secrets=uses,
        chain=chain,
    )


def _state(token: ApiToken, now: int) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "expired" if token.expires_at is not None and now >= token.expires_at else "active"


def issued(new: Issued) -> TokenIssued:
    """Return a new secret with its token."""
    return TokenIssued(
        new.token.id,
        new.secret,
        new.token.scope,
        new.token.resource,
        new.token.expires_at,
        new.secret_id,
        new.token.owner_id,
        new.token.name,
    )


async def create_token(call: Call) -> TokenIssued:
    """Create an API token."""
    runtime, given = call.request.runtime, call.body
    owner = await api_tokens.resolve_owner(runtime, given.owner) if given.owner else await _own(call)
    new = await api_tokens.create(
        runtime,
        given,
        owner=owner,
        actor=call.caller.actor,
        giver=call.caller.giver,
    )
    return issued(new)


async def _own(call: Call) -> tuple[str, str]:
    token = await call.request.runtime.database.read(store.get_token, call.caller.token_id)
    if token is None:
        raise OAuthError("invalid_request", "Name the owner of the token.", field="owner")
    return token.owner_kind, token.owner_id


async def list_tokens(call: Call) -> TokenPage:
    """List API tokens, newest first."""
    runtime, query = call.request.runtime, call.query
    owner = (await api_tokens.resolve_owner(runtime, query.owner))[1] if query.owner else ""
    found = await runtime.lists.read(
        store.search_tokens,
        search=query.search,
        after=paging.open_cursor(runtime, "tokens", query.cursor),
        limit=query.limit + 1,
        owner=owner,
        state=query.state,
        now=runtime.now(),
    )
    page, following = paging.page(runtime, "tokens", found, query.limit, lambda row: row[1])
    return TokenPage([view(token, runtime.now()) for token, _ in page], following)


async def show_token(call: Call) -> TokenView:
    """Show one API token: its secrets, who used them, and what it was narrowed from."""
    return await describe(call.request.runtime, call.path("id"))


async def describe(runtime: Runtime, token_id: str) -> TokenView:
    """Return everything that is known of a token; raise `not_found`."""
    token = await runtime.database.read(store.get_token, token_id)
    if token is None:
        raise OAuthError("not_found", "There is no such token.")
    uses = await runtime.database.read(token_usage.list_secret_uses, token_id)
    chain = await runtime.database.read(store.list_chain, token_id)
    return view(token, runtime.now(), uses, [link.id for link in chain])


async def rotate_token(call: Call) -> TokenIssued:
    """Give a token a new secret; older ones stay valid during the overlap."""
    token = await call.request.runtime.database.read(store.get_token, call.path("id"))
    if token is not None and token.id != call.caller.token_id:  # its own holder gains nothing by a new secret
        call.caller.check_may_renew(token.scope.split(), token.expires_at)
    return issued(
        await api_tokens.rotate(
            call.request.runtime, call.path("id"), overlap=call.body.overlap, actor=call.caller.actor
        )
    )


async def revoke_token(call: Call) -> EndedTokens:
    """Revoke a token and everything narrowed from it."""
    ended = await api_tokens.revoke(
        call.request.runtime, call.path("id"), reason=call.body.reason, actor=call.caller.actor
    )
    return EndedTokens(ended)


async def revoke_tokens(call: Call) -> EndedTokens:
    """Revoke every token of a user, a client or an application."""
    ended = await api_tokens.revoke_all(
        call.request.runtime, call.body.owner, reason=call.body.reason, actor=call.caller.actor
    )
    return EndedTokens(ended)


async def verify_token(call: Call) -> Verified:
    """Verify a token and say why it is refused."""
    runtime, given = call.request.runtime, call.body
    wanted = None if given.resource is None else (given.resource,)
    # "" matches no key: a bound token must not be accepted because the caller forgot to check the proof.
    use = Use(given.address, given.path, wanted, parse_scope(given.scope), given.jkt or "")
    verdict = await token_verification.verify(runtime, given.token, use)
    shown = view(verdict.token, runtime.now()) if verdict.token else None
    return Verified(verdict.active, verdict.reason, shown)


async def show_own_token(call: Call) -> TokenView:
    """Show the token that authenticates this call."""
    return await describe(call.request.runtime, _own_id(call))


async def narrow_own_token(call: Call) -> TokenIssued:
    """Derive a token from the one that authenticates this call: narrower and shorter, never more."""
    runtime = call.request.runtime
    parent = await runtime.database.read(store.get_token, _own_id(call))
    if parent is None:
        raise OAuthError("not_found", "There is no such token.")
    return issued(await api_tokens.narrow(runtime, parent, call.body, actor=call.caller.actor))


async def revoke_own_token(call: Call) -> EndedTokens:
    """Revoke the token that authenticates this call: possession is enough to report a leak."""
    return EndedTokens(
        await api_tokens.revoke(
            call.request.runtime, _own_id(call), reason=call.body.reason, actor=call.caller.actor
        )
    )


def _own_id(call: Call) -> str:
    if call.caller.token_kind != "api_token":
        needs = "This call needs an API token, not an OAuth access token."
        raise call.caller.refusal("invalid_token", needs)
    return call.caller.token_id


OPERATIONS = (
    Operation(
        "POST",
        "/tokens",
        create_token,
        "Create an API token",
        WRITE,
        body=TokenInput,
        answer=TokenIssued,
        status=201,
    ),
    Operation("GET", "/tokens", list_tokens, "List API tokens", READ, query=TokenQuery, answer=TokenPage),
    Operation(
        "POST", "/tokens/verify", verify_token, "Verify an API token", READ, body=VerifyInput, answer=Verified
    ),
    Operation(
        "POST",
        "/tokens/revoke",
        revoke_tokens,
        "Revoke all tokens of an owner",
        WRITE,
        body=RevokeAllInput,
        answer=EndedTokens,
    ),
    Operation("GET", "/tokens/self", show_own_token, "Show one's own token", None, answer=TokenView),
    Operation(
        "POST",
        "/tokens/self/narrow",
        narrow_own_token,
        "Narrow one's own token",
        None,
        body=NarrowInput,
        answer=TokenIssued,
        status=201,
    ),
    Operation(
        "POST",
        "/tokens/self/revoke",
        revoke_own_token,
        "Revoke one's own token",
        None,
        body=RevokeInput,
        answer=EndedTokens,
    ),
    Operation("GET", "/tokens/{id}", show_token, "Show an API token", READ, answer=TokenView),
    Operation(
        "POST",
        "/tokens/{id}/rotate",
        rotate_token,
        "Rotate an API token",
        WRITE,
        body=RotateInput,
        answer=TokenIssued,
    ),
    Operation(
        "POST",
        "/tokens/{id}/revoke",
        revoke_token,
        "Revoke an API token",
        WRITE,
        body=RevokeInput,
        answer=EndedTokens,
    ),
)
