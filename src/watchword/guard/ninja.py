"""The guard for Django Ninja: values for `auth=`, which are also the security scheme of the OpenAPI document."""

from collections.abc import Awaitable
from typing import Any

from watchword.extras import needing
from watchword.guard import openapi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

with needing("django-ninja", "ninja", "django"):
    from django.http import HttpRequest, HttpResponseBase
    from ninja import NinjaAPI
    from ninja.errors import HttpError
    from ninja.security.base import AuthBase

    from watchword.guard.django import admit, admit_sync, answer

__all__ = ["Guard", "Policy", "Principal"]

SCHEME = "Watchword"


class Refusal(Refused, HttpError):
    """A refusal that an API answers with the right status at least, even without `install`."""

    def __init__(self, refused: Refused) -> None:
        HttpError.__init__(self, refused.status, refused.description)
        vars(self).update(vars(refused))


class _Requirement(AuthBase):
    """A policy as a value for `auth=`."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    is_optional = False

    def __init__(self, guard: BaseGuard, policy: Policy) -> None:
        super().__init__()
        self._guard = guard
        self._policy = policy

    def __call__(self, request: HttpRequest) -> Any:
        _check_request(request)
        try:
            return _kept(request, admit_sync(self._guard, request, self._policy, self.is_optional))
        except Refused as refused:
            raise Refusal(refused) from None


class _AsyncRequirement(_Requirement):
    def __init__(self, guard: BaseGuard, policy: Policy) -> None:
        super().__init__(guard, policy)
        # Ninja looks at this attribute to learn whether to await; Python calls the method of the class, which notices misuse at once.
        self.__call__ = self._admitted  # type: ignore[method-assign]  # on the instance, beside the class's

    def __call__(self, request: HttpRequest) -> Awaitable[Any]:
        _check_request(request)
        return self._admitted(request)

    async def _admitted(self, request: HttpRequest) -> Any:
        try:
            return _kept(request, await admit(self._guard, request, self._policy, self.is_optional))
        except Refused as refused:
            raise Refusal(refused) from None


class _Optional(_Requirement):
    is_optional = True


class _AsyncOptional(_AsyncRequirement):
    is_optional = True


def _kept(request: HttpRequest, caller: Principal | None) -> Any:
    request.principal = caller
    return caller or True  # Ninja refuses a request for which it gets nothing


def _check_request(given: object) -> None:
    """Raise ValueError when used as a decorator: above `@api.get` it would guard nothing."""
    if not isinstance(given, HttpRequest):
        raise ValueError(
            f"this is a value for auth=, as in @api.get(…, auth=guard.require(…)), not a decorator for {given!r}"
        )


# Ninja names a security scheme of the OpenAPI document like the class of its `auth=`.
_Requirement.__name__ = _AsyncRequirement.__name__ = SCHEME
_Optional.__name__ = _AsyncOptional.__name__ = openapi.optional(SCHEME)


class Guard(BaseGuard):
    """A guard for a Ninja API; `watchword.guard.Guard` describes its options."""

    def install(self, api: NinjaAPI) -> None:
        """Make an API answer refusals with their challenge, and its OpenAPI document say where a credential is optional."""
        api.add_exception_handler(Refused, _refuse)
        made = api.get_openapi_schema

        def get_openapi_schema(*args: Any, **named: Any) -> Any:
            document = made(*args, **named)
            openapi.state_optional(document, SCHEME)
            return document

        api.get_openapi_schema = get_openapi_schema  # type: ignore[method-assign]  # Ninja asks the API for it

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of an operation if it satisfies one more policy; raise what `install` answers as `require` does."""
        try:
            return super().demand(principal, policy)
        except Refused as refused:
            raise Refusal(refused) from None

    def require(self, *scopes: str, policy: Policy | None = None) -> AuthBase:
        """Return a value for `auth=` of an operation; the caller is in `request.auth` and `request.principal`."""
        return _Requirement(self, demanded(scopes, policy))

    def arequire(self, *scopes: str, policy: Policy | None = None) -> AuthBase:
        """Return the same as `require` for an asynchronous operation."""
        return _AsyncRequirement(self, demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> AuthBase:
        """Return a value for `auth=` that also lets in requests without any credential: `request.principal` is then None.

        Read the caller from there: `request.auth` is then True, since Ninja does not let it be None.
        """
        return _Optional(self, demanded(scopes, policy, "optional"))

    def aoptional(self, *scopes: str, policy: Policy | None = None) -> AuthBase:
        """Return the same as `optional` for an asynchronous operation."""
        return _AsyncOptional(self, demanded(scopes, policy, "aoptional"))


def _refuse(request: HttpRequest, refused: Refused | type[Refused]) -> HttpResponseBase:
    if isinstance(refused, type):
        raise TypeError("an exception was expected, not its class")
    return answer(refused)
