"""Who may give a scope over this server to a token or a client, and for how long (AP-05)."""

from collections.abc import Iterable

import msgspec

from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import is_reserved

ALL = "watchword:admin"


class Giver(msgspec.Struct, frozen=True):
    """What somebody may give who holds a scope `until` a moment (Unix seconds, None: for ever), with limits perhaps that a recipient would
    not have."""

    scope: frozenset[str] = frozenset()
    until: int | None = None
    is_limited: bool = False

    def may(self, scope: str) -> bool:
        """Whether they hold a scope, or `watchword:admin`, which stands for every scope over this server."""
        return scope in self.scope or (is_reserved(scope) and ALL in self.scope)

    def check(self, scope: Iterable[str]) -> None:
        """Raise `insufficient_scope` when a scope over this server would be given that they lack, or hold with limits."""
        power = reserved(scope)
        if power and self.is_limited:
            raise OAuthError(
                "insufficient_scope", "A limited token cannot give a scope over this server.", field="scope"
            )
        if not all(self.may(token) for token in power):
            raise OAuthError(
                "insufficient_scope",
                "A scope over this server can only be given by somebody who holds it.",
                field="scope",
            )

    def outlives(self, scope: Iterable[str], expires_at: int | None) -> bool:
        """Whether a token would hold a scope over this server for longer than they do."""
        return (
            self.until is not None
            and (expires_at is None or expires_at > self.until)
            and bool(reserved(scope))
        )


OPERATOR = Giver(frozenset({ALL}))
NOBODY = Giver()


def reserved(scope: Iterable[str]) -> set[str]:
    """Return those of some scopes that give power over this server."""
    return {token for token in scope if is_reserved(token)}
