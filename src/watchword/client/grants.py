"""The grants that a client sends to the token endpoint: values that become forms (RFC 6749 §4.4 and §6, RFC 8693 §2.1).

Each may have `parameters`: what a server wants to be told beside the protocol's own, such as the `audience` of Auth0 (§8.2).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from watchword.client.parts import check_function, check_parameters, check_scope
from watchword.oauth.credential_text import check_token

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class Grant(Protocol):
    """A way to obtain a token."""

    def settled(self) -> "Grant":
        """Return the grant with its inputs fixed for one request: the subject token of an exchange may change between calls."""

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
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for scopes or parameters that cannot be."""
        check_scope(self.scope)
        check_parameters(self.parameters)

    def settled(self) -> Grant:
        """Depend on nothing."""
        return self

    def begin(self) -> dict[str, str] | None:
        """Ask anew."""
        return {"grant_type": "client_credentials", **_given(scope=self.scope), **self.targets()}

    def identity(self) -> str:
        """Name scope, resource and parameters."""
        return f"client_credentials {self.resource} {self.scope}{_names(self.parameters)}"

    def targets(self) -> dict[str, str]:
        """Repeat resource and parameters."""
        return {**self.parameters, **_given(resource=self.resource)}


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """The client acts for a person who signed in earlier.

    `token` is the first refresh token; the store keeps its successors. Leave it empty if the store already has one.
    """

    token: str = field(default="", repr=False)
    scope: str = ""
    resource: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for scopes or parameters that cannot be."""
        check_scope(self.scope)
        check_parameters(self.parameters)

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
        return f"refresh_token {self.resource} {self.scope} {begun}{_names(self.parameters)}"

    def targets(self) -> dict[str, str]:
        """Repeat scope, resource and parameters."""
        return {**self.parameters, **_given(scope=self.scope, resource=self.resource)}


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """The client exchanges its caller's token for one that another API accepts.

    `subject_token` returns the caller's token and is called each time, so a token obtained for one subject is never used for another.
    """

    subject_token: Callable[[], str] = field(repr=False)
    subject_token_type: str = ACCESS_TOKEN
    scope: str = ""
    resource: str = ""
    audience: str = ""
    actor_token: Callable[[], str] | None = field(default=None, repr=False)
    name: str = ""  # tells exchanges apart that share a store
    parameters: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for tokens in place of functions, and for scopes or parameters that cannot be."""
        check_function("subject_token", self.subject_token)
        if self.actor_token is not None:
            check_function("actor_token", self.actor_token)
        check_scope(self.scope)
        check_parameters(self.parameters, "audience")

    def settled(self) -> Grant:
        """Fix the present subject token; raise ValueError where the function returns none."""
        token = self.subject_token()
        check_token("what subject_token returns", token)
        return replace(self, subject_token=lambda: token)

    def begin(self) -> dict[str, str] | None:
        """Exchange the present subject token."""
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": self.subject_token(),
            "subject_token_type": self.subject_token_type,
            **_given(scope=self.scope, audience=self.audience),
            **self.targets(),
        }
        if self.actor_token is not None:
            form |= {"actor_token": self.actor_token(), "actor_token_type": ACCESS_TOKEN}
        return form

    def identity(self) -> str:
        """Name what is asked for, and for whom: the subject token by its digest."""
        wanted = f"{self.name} {self.resource} {self.audience} {self.scope}"
        return f"token-exchange {wanted} {_digest(self.subject_token())}{_names(self.parameters)}"

    def targets(self) -> dict[str, str]:
        """Repeat resource and parameters."""
        return {**self.parameters, **_given(resource=self.resource)}


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def _names(parameters: Mapping[str, str]) -> str:
    """Return what tells parameters apart in `identity`; nothing without any, as in existing stores."""
    return f" {_digest(json.dumps(sorted(parameters.items())))}" if parameters else ""


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
