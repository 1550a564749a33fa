"""The guard for FastAPI: a dependency that is also the security scheme of the OpenAPI document, with the refusals that it may give.

A WebSocket is refused before it is accepted. A dependency has no say in the responses that FastAPI documents: they are added to the
finished document, to each operation that names the scheme.
"""

import copy
import functools
import inspect
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from watchword.extras import needing
from watchword.guard import asgi, openapi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

with needing("fastapi", "fastapi"):
    from fastapi import FastAPI, HTTPException, WebSocketException, params
    from fastapi.openapi.models import HTTPBearer
    from fastapi.security import SecurityScopes
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection

    from watchword.guard.starlette import metadata_route

__all__ = ["Guard", "Policy", "Principal"]

SCHEME = "Watchword"
REFUSAL = "WatchwordRefusal"  # its name among the schemas of a document
_TEXT = {"type": "string"}
_SCHEMA = {
    "title": REFUSAL,
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "type": "object",
            "required": ["error", "error_description"],
            "properties": {"error": _TEXT, "error_description": _TEXT},
        }
    },
}
_CHALLENGE = {"WWW-Authenticate": "What to send instead (RFC 6750, RFC 9449, RFC 9470)."}
_WAIT = {"Retry-After": "Seconds until the request may be sent again."}
_REFUSALS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "400": ("The credential was sent in a way that is not accepted.", _CHALLENGE),
    "401": ("No credential was sent, or one that is not good enough here.", _CHALLENGE),
    "403": ("The caller may not do this, for example because a scope is missing.", _CHALLENGE),
    "429": ("The token is used more often than it may be.", _WAIT),
    "503": ("The credential cannot be checked right now.", _WAIT),
}


class _OneOf(str):
    """One of `any_scopes`: documented like the others, but not demanded together with them."""

    __slots__ = ()


class _Requirement(SecurityBase):
    """A policy as a dependency."""

    def __init__(self, guard: "Guard", policy: Policy, optional: bool) -> None:
        issuers = " or ".join(guard.issuers)
        self.model = HTTPBearer(description=f"An API token or OAuth access token of {issuers}.")
        self.scheme_name = openapi.optional(guard.scheme) if optional else guard.scheme
        self._guard = guard
        self._policy = policy
        self._optional = optional

    async def __call__(self, connection: HTTPConnection, named: SecurityScopes) -> Principal | None:
        # A dependant may add scopes, as in `Security(guard.require(), scopes=[…])`.
        more = [one for one in named.scopes if not isinstance(one, _OneOf) and one not in self._policy.scopes]
        policy = replace(self._policy, scopes=(*self._policy.scopes, *more)) if more else self._policy
        try:
            return await asgi.admit(self._guard, connection.scope, policy, self._optional)
        except Refused as refused:
            extensions = connection.scope.get("extensions") or {}
            if connection.scope["type"] == "websocket" and "websocket.http.response" not in extensions:
                raise WebSocketException(1008, refused.error or "unauthorized") from None
            raise _refusal(refused) from None


def _refusal(refused: Refused) -> HTTPException:
    return HTTPException(refused.status, refused.document(), dict(refused.fields()))


class _Required(params.Security):
    """The default of a parameter, and also callable as a dependency, since people write `Depends(guard.require(…))` as well."""

    @property
    def __signature__(self) -> inspect.Signature:
        parameter = inspect.Parameter(
            "who", inspect.Parameter.KEYWORD_ONLY, default=self, annotation=Principal
        )
        return inspect.Signature([parameter])

    @property
    def __call__(self) -> "_Filled":
        return _Filled(_same)


async def _same(*, who: Principal | None) -> Principal | None:
    return who


class _Filled(functools.partial[Coroutine[Any, Any, Principal | None]]):
    """What FastAPI calls for the dependency: a `partial` of a coroutine function, so that it is awaited. As a decorator it raises TypeError."""

    def __call__(self, *given: object, **named: Any) -> Coroutine[Any, Any, Principal | None]:
        if given:
            raise TypeError(
                f"a guard is no decorator here: write who: Principal = guard.require(…) as a parameter of {given[0]!r}, "
                "or name it in dependencies=[…]"
            )
        return super().__call__(**named)


if TYPE_CHECKING:

    class Required(Principal, params.Security):  # type: ignore[misc]  # they have `scopes` of other types
        """What a type checker takes `guard.require(…)` for: a `Principal` as a default, also a dependency and an argument of `Depends`."""

        def __call__(self) -> Principal: ...


class _Uncalled(params.Depends):
    """`guard.require` and `guard.optional`, to be called. To FastAPI it is an impossible dependency, so a program that forgets to call it
    does not start.
    """

    guard: "Guard"

    def __init__(self, guard: "Guard") -> None:
        super().__init__(_not_called)
        # A frozen dataclass in newer releases of FastAPI, a plain class in older ones.
        object.__setattr__(self, "guard", guard)

    def _called(self, wanted: Policy, *, optional: bool = False) -> Any:
        scopes_named = (*wanted.scopes, *map(_OneOf, wanted.any_scopes))
        # No caching: FastAPI's cache key cannot tell one of `any_scopes` from the same scope that is demanded.
        return _Required(_Requirement(self.guard, wanted, optional), use_cache=False, scopes=scopes_named)


class _Require(_Uncalled):
    """`guard.require`."""

    def __call__(self, *scopes: str, policy: Policy | None = None) -> "Required":
        """Return the default of a parameter that receives the `Principal`."""
        found: Required = self._called(demanded(scopes, policy))
        return found


class _Optional(_Uncalled):
    """`guard.optional`."""

    def __call__(self, *scopes: str, policy: Policy | None = None) -> "Required | None":
        """Return the default of a parameter that receives the `Principal`, or None if the request has no credential."""
        found: Required = self._called(demanded(scopes, policy, "optional"), optional=True)
        return found


def _not_called(who: Principal) -> Principal:
    return who


class Guard(BaseGuard):
    """A guard for a FastAPI application; `watchword.guard.Guard` describes its options.

    `scheme` is its name in the OpenAPI document. If a second guard has other issuers, give it another name before you first call its
    `require` (`partners.scheme = "Partners"`), since the document holds one description per name.
    """

    scheme = SCHEME

    @property
    def require(self) -> _Require:
        """Return the default of a parameter that receives the `Principal`: `who: Principal = guard.require("orders:read")`."""
        return _Require(self)

    @property
    def optional(self) -> _Optional:
        """Return a default as `require` does that also lets in requests without any credential: `who: Principal | None = guard.optional()`."""
        return _Optional(self)

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of an endpoint if it satisfies one more policy; raise HTTPException with the answer that `require` gives."""
        try:
            return super().demand(principal, policy)
        except Refused as refused:
            raise _refusal(refused) from None

    def publish(self, app: FastAPI, scopes: Sequence[str] = (), name: str = "") -> None:
        """Serve the resource's metadata (RFC 9728) and name its address in challenges; `scopes` are those that basic use needs.

        Also completes the OpenAPI document, as `document` does.
        """
        # In front: an application may have a route for every path.
        app.router.routes.insert(0, metadata_route(self, scopes, name))
        self.document(app)

    def document(self, app: FastAPI) -> None:
        """Add the refusals of guarded operations to the application's OpenAPI document, except where it documents them itself.

        Operations that `optional` guards are described as open to callers without a credential.
        """
        made = app.openapi

        def described() -> dict[str, Any]:
            document = made()
            openapi.state_optional(document, self.scheme)
            add_refusals(document, self.scheme)
            return document

        app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way of extending the document


def add_refusals(document: dict[str, Any], scheme: str) -> None:
    """Document the refusals of every operation that a security scheme guards; idempotent."""
    guarded = [
        operation
        for operation in openapi.operations(document)
        if any(scheme in one for one in operation.get("security", ()))
    ]
    for operation in guarded:
        _add(operation.setdefault("responses", {}))
    if guarded:
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.setdefault(REFUSAL, copy.deepcopy(_SCHEMA))


def _add(responses: dict[str, Any]) -> None:
    for status, (description, headers) in _REFUSALS.items():
        if responses.keys().isdisjoint({status, f"{status[0]}XX", "default"}):
            responses[status] = {
                "description": description,
                "headers": {name: {"description": says, "schema": _TEXT} for name, says in headers.items()},
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{REFUSAL}"}}},
            }
