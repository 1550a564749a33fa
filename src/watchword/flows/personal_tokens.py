"""API tokens that people create for their own scripts, with scopes that the operator opened to people; they see only their own."""

from watchword.flows import api_tokens, membership
from watchword.flows.acting import runtime_in
from watchword.flows.api_tokens import Issued, TokenInput
from watchword.flows.runtime import Runtime
from watchword.oauth.claims import SIGN_IN_SCOPES
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import excess, is_reserved
from watchword.store import api_tokens as store
from watchword.store import clients, token_usage
from watchword.store.api_tokens import ApiToken
from watchword.store.sessions import Session
from watchword.store.token_usage import SecretUse
from watchword.store.users import User


async def scopes_for(runtime: Runtime, user: User) -> list[str]:
    """Return the scopes that a person may give to a token; administrators may give those of clients too.

    A scope is open to people only when the operator says so (AP-05): otherwise anybody could give themselves any right.
    """
    found = dict.fromkeys(runtime.settings.scopes if user.is_admin else _open_scopes(runtime))
    if user.is_admin:
        used = await runtime.database.read(clients.list_scopes)
        # What those of a sign-in mean has no place in an API token.
        found |= dict.fromkeys(one for one in used if one not in SIGN_IN_SCOPES)
    return [
        name for name in membership.open_to(runtime.settings, user, tuple(found)) if not is_reserved(name)
    ]


def _open_scopes(runtime: Runtime) -> list[str]:
    return [name for name, text in runtime.settings.scopes.items() if text.personal]


async def create(
    runtime: Runtime,
    user: User,
    session: Session,
    *,
    name: str,
    scopes: tuple[str, ...],
    resource: str | None,
    days: int | None,
) -> Issued:
    """Create a token for a person, which lives for these days, or None: as long as is usual.

    Raises `invalid_scope` for a scope that is not open to them, or as `sessions.act`.
    With a scope that is open to administrators only, the write checks that the person still is one.
    """
    allowed = await scopes_for(runtime, user)
    if not set(scopes) <= set(allowed):
        raise excess("This scope is not open to people.", scopes, allowed)
    lifetime = None if days is None else days * 86_400
    given = TokenInput(name=name, scope=" ".join(scopes), resource=resource, expires_in=lifetime)
    owner = ("user", user.id)
    if not set(scopes) <= set(_open_scopes(runtime)):
        return await api_tokens.create(runtime_in(runtime, session), given, owner=owner, actor=user.id)
    return await api_tokens.create(runtime, given, owner=owner, actor=user.id, session=session)


async def own(
    runtime: Runtime, user: User, *, after: str = "", limit: int = 100
) -> list[tuple[ApiToken, list[SecretUse]]]:
    """Return a page of a person's tokens, newest first, each with its secrets and their use; `after` is the last one of the page before."""
    listed = await runtime.database.read(
        store.list_tokens, after=after, limit=limit, owner=user.id, now=runtime.now()
    )
    return [
        (token, await runtime.database.read(token_usage.list_secret_uses, token.id))
        for token in listed
        if token.owner_kind == "user"
    ]


async def rotate(runtime: Runtime, session: Session, token: ApiToken, *, overlap: int) -> Issued:
    """Give one of a person's tokens a new secret; raise `insufficient_scope` for a scope over this server, which nobody obtains by
    signing in, or as `sessions.act`."""
    if not can_rotate(token):
        raise OAuthError(
            "insufficient_scope", "A token with a scope over this server is rotated by an administrator."
        )
    return await api_tokens.rotate(runtime, token.id, overlap=overlap, actor=session.user_id, session=session)


async def revoke(runtime: Runtime, session: Session, token: ApiToken) -> None:
    """Revoke one of a person's tokens, and all narrowed from it; raise as `sessions.act`."""
    by = {"reason": "revoked by its owner", "actor": session.user_id}
    await api_tokens.revoke(runtime, token.id, **by, session=session)


def can_rotate(token: ApiToken) -> bool:
    """Whether a token's owner may give it a new secret."""
    return not any(is_reserved(scope) for scope in token.scope.split())


async def find_own(runtime: Runtime, user: User, token_id: str) -> ApiToken:
    """Return one of a person's tokens; raise `not_found` for anybody else's (AP-01)."""
    token = await runtime.database.read(store.get_token, token_id)
    if token is None or token.owner_kind != "user" or token.owner_id != user.id:
        raise OAuthError("not_found", "There is no such token.")
    return token
