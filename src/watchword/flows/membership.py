"""Which scopes and clients are open to a person, by the groups that the operator put them in (`scopes.….groups`, a client's `groups`).

Asked wherever a person's rights go into a token, at every refresh as well (TK-08), so that who leaves a group loses what it opened with
the next token. API tokens, which nobody refreshes, are revoked when their owner leaves.
"""

from watchword.oauth import groups
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store.users import User

NOT_FOR = "This application is for members of groups that this person is not in."


def check(settings: Settings) -> None:
    """Refuse groups that nobody can be in, and a sign-in that is for members alone; raise SettingsError."""
    for scope, text in settings.scopes.items():
        try:
            groups.check(text.groups)
        except OAuthError as error:
            raise SettingsError(f"scopes.{scope}.groups: {error.description}") from None
    if "openid" in settings.scopes and settings.scopes["openid"].groups:
        raise SettingsError(
            "scopes.openid.groups: signing in is for everybody: name scopes of your APIs instead"
        )


def is_open(settings: Settings, scope: str, member_of: tuple[str, ...]) -> bool:
    """Whether a person of these groups may have a scope."""
    text = settings.scopes.get(scope)
    return text is None or groups.is_open(text.groups, member_of)


def open_to(settings: Settings, user: User, scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return the part of a scope that a person may have."""
    return tuple(one for one in scope if is_open(settings, one, user.groups))


def closed_to(settings: Settings, member_of: tuple[str, ...]) -> frozenset[str]:
    """Return the scopes that a person of these groups may not have."""
    return frozenset(one for one in settings.scopes if not is_open(settings, one, member_of))


def lets_in(client: Client, user: User) -> bool:
    """Whether a person may sign in to a client."""
    return groups.is_open(client.groups, user.groups)


def for_members(settings: Settings, scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return the part of a scope that is not open to everybody."""
    return tuple(one for one in scope if not is_open(settings, one, ()))


def require_open(
    settings: Settings, client: Client, user: User, scope: tuple[str, ...], *, may_be_empty: bool = False
) -> tuple[str, ...]:
    """Return the part of a requested scope that a person may have; raise `access_denied` when nothing is left of a request, or for a client
    that is not for this person.

    `may_be_empty` when it is for more than a scope.
    """
    if not lets_in(client, user):
        raise OAuthError("access_denied", NOT_FOR)
    found = open_to(settings, user, scope)
    if scope and not found and not may_be_empty:
        raise nothing_open()
    return found


def nothing_open() -> OAuthError:
    """Return the refusal of a request of which a person may grant nothing."""
    return OAuthError("access_denied", "Nothing that was requested is open to this person.")


def claims(user: User, scope: tuple[str, ...]) -> dict[str, object]:
    """Return what an access token says of a person's groups (RFC 9068 §2.2.3.1)."""
    return {"groups": list(user.groups)} if groups.SCOPE in scope and user.groups else {}
