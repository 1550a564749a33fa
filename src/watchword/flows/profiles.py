"""The claims that the server knows about a person, from the account and its attributes, and which scope releases which of them.

The claims of OpenID Connect Core §5.4 belong to their scopes; operators add their own attributes to scopes by `scopes.….claims`. Which
claims a token or answer then has is decided in `oauth.claims`.
"""

from collections.abc import Collection

from watchword.oauth import claims
from watchword.oauth.claims import OF_THE_ACCOUNT, RESERVED, SCOPE_CLAIMS, ScopeClaims
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store.users import User

OF_EVERY_ACCOUNT = ("name", "preferred_username", "email", "email_verified", "groups")
NEVER_ATTRIBUTES = RESERVED | OF_THE_ACCOUNT


def of(user: User) -> dict[str, object]:
    """Return the claims of a person; an attribute never overrides those of the account or of the protocols (AD-06)."""
    told: dict[str, object] = {
        **{name: value for name, value in user.attributes.items() if name not in NEVER_ATTRIBUTES},
        "name": user.display_name or user.username,
        "preferred_username": user.username,
    }
    if user.groups:
        told["groups"] = list(user.groups)
    if user.email is not None:
        told |= {"email": user.email, "email_verified": user.email_verified_at is not None}
    return told


def can_be_told(name: str) -> bool:
    """Whether a claim can ever be released: the account has it, or an attribute may."""
    return name in OF_EVERY_ACCOUNT or name not in NEVER_ATTRIBUTES


def scope_claims(settings: Settings) -> ScopeClaims:
    """Return which claims belong to which scope."""
    added = {name: text.claims for name, text in settings.scopes.items() if text.claims}
    return {
        **SCOPE_CLAIMS,
        **{name: (*SCOPE_CLAIMS.get(name, ()), *names) for name, names in added.items()},
    }


def check(settings: Settings) -> None:
    """Refuse scopes with claims that belong to the protocols (AD-06); raise SettingsError."""
    for scope, text in settings.scopes.items():
        for name in text.claims:
            try:
                claims.check_custom_name(name)
            except OAuthError as error:
                raise SettingsError(f"scopes.{scope}.claims: {name!r}: {error.description}") from None


def permitted(client: Client, granted: Collection[str]) -> tuple[str, ...]:
    """Return the scopes whose claims a client may ask for by name: those that it is registered for and the person agreed to."""
    return tuple(scope for scope in client.scope if scope in granted)
