"""The grants that a client sends to the token endpoint: values that become forms (RFC 6749 §4.4 and §6, RFC 8693 §2.1)."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from watchword.client.parts import check_scope

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class Grant(Protocol):
    """A way to obtain a token."""

    def settled(self) -> "Grant":
        """Return the grant with its inputs fixed for one request, where they may change: the subject token of an exchange."""

    def begin(self) -> dict[str, str] | None:
        """Return the form that asks for the first token; None when a person has to sign in first."""

    def identity(self) -> str:
        """Return a text that distinguishes this grant from others in a shared store, without any secret."""

    def targets(self) -> dict[str, str]:
        """Return the parameters that a refresh repeats."""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The client acts for itself."""

    scope: str = ""
    resource: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for scopes that are no text."""
        check_scope(self.scope)

    def settled(self) -> Grant:
        """Depend on nothing."""
        return self

    def begin(self) -> dict[str, str] | None:
        """Ask anew."""
        return {"grant_type": "client_credentials", **_given(scope=self.scope, resource=self.resource)}

    def identity(self) -> str:
        """Name scope and resource."""
        return f"client_credentials {self.resource} {self.scope}"

    def targets(self) -> dict[str, str]:
        """Repeat the resource."""
        return _given(resource=self.resource)


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A person signed in before: `token` is the first refresh token, and the store keeps what it was rotated to.

    An empty `token` means that the store has one already.
    """

    token: str = field(default="", repr=False)
    scope: str = ""
    resource: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError for scopes that are no text."""
        check_scope(self.scope)

    def settled(self) -> Grant:
        """Depend on nothing."""
        return self

    def begin(self) -> dict[str, str] | None:
        """Use the first refresh token."""
        if not self.token:
            return None
        return {"grant_type": "refresh_token", "refresh_token": self.token, **self.targets()}

    def identity(self) -> str:
        """Name the first token by its digest: another sign-in is another grant."""
        begun = _digest(self.token)[:16] if self.token else ""  # 16 characters, as in existing stores
        return f"refresh_token {self.resource} {self.scope} {begun}"

    def targets(self) -> dict[str, str]:
        """Repeat scope and resource."""
        return _given(scope=self.scope, resource=self.resource)


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """Somebody else's token is exchanged for one that is valid elsewhere.

    `subject_token` is called each time: a token obtained for one subject is never presented for another.
    """

    subject_token: Callable[[], str] = field(repr=False)
    subject_token_type: str = ACCESS_TOKEN
    scope: str = ""
    resource: str = ""
    audience: str = ""
    actor_token: Callable[[], str] | None = field(default=None, repr=False)
    name: str = ""  # tells exchanges apart that share a store

    def __post_init__(self) -> None:
        """Raise ValueError for scopes that are no text."""
        check_scope(self.scope)

    def settled(self) -> Grant:
        """Fix the present subject token."""
        token = self.subject_token()
        return replace(self, subject_token=lambda: token)

    def begin(self) -> dict[str, str] | None:
        """Exchange the present subject token."""
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": self.subject_token(),
            "subject_token_type": self.subject_token_type,
            **_given(scope=self.scope, resource=self.resource, audience=self.audience),
        }
        if self.actor_token is not None:
            form |= {"actor_token": self.actor_token(), "actor_token_type": ACCESS_TOKEN}
        return form

    def identity(self) -> str:
        """Name what is asked for, and for whom: the subject token by its digest."""
        return f"token-exchange {self.name} {self.resource} {self.audience} {self.scope} {_digest(self.subject_token())}"

    def targets(self) -> dict[str, str]:
        """Repeat the resource."""
        return _given(resource=self.resource)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
