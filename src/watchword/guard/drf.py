"""The guard for Django REST framework: an authentication class and permission classes.

The permission alone is enough. The authentication class is for projects that read `request.user` or throttle by it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from watchword.extras import needing
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import OPEN, Policy, Refused, demanded
from watchword.guard.principal import Principal

with needing("djangorestframework", "rest_framework", "django"):
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.exceptions import APIException
    from rest_framework.permissions import BasePermission
    from rest_framework.request import Request

    from watchword.guard.django import admit_sync, presented

__all__ = ["Caller", "Guard", "Policy", "Principal"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal with the attributes that Django and its REST framework expect of a user, and none of Django's permissions."""

    principal: Principal
    is_authenticated: bool = True
    is_anonymous: bool = False
    is_active: bool = True
    is_staff: bool = False
    is_superuser: bool = False

    def __str__(self) -> str:
        """Return the subject: pages of the framework show it as who is signed in."""
        return self.principal.subject

    @property
    def pk(self) -> str:
        """The subject, by which the framework's throttles count."""
        return self.principal.subject

    def has_perms(self, _permissions: Iterable[str], _of: object = None) -> bool:
        """Return False: the caller was authenticated elsewhere and has no permissions in Django."""
        return False


class Refusal(APIException):
    """A refusal as the framework's exception, whose handler sends `auth_header` as `WWW-Authenticate` and `wait` as `Retry-After`."""

    def __init__(self, refused: Refused) -> None:
        document = refused.document()
        super().__init__(document, document["error"])  # the code, for handlers that ask `get_codes()`
        self.status_code = refused.status
        headers = dict(refused.headers)
        self.auth_header = headers.get("WWW-Authenticate")
        self.wait = int(headers.get("Retry-After", "0"))


def _admit(guard: BaseGuard, request: Request, policy: Policy, optional: bool = False) -> Principal | None:
    try:
        request._request.principal = found = admit_sync(guard, request._request, policy, optional)
    except Refused as refused:
        view: Any = (request.parser_context or {}).get("view")
        # For OPTIONS the framework asks what other methods would demand: that is no refusal of this request.
        is_answer = request.method == request._request.method
        if is_answer and hasattr(view, "headers"):  # its exceptions carry only two headers, and no DPoP-Nonce
            view.headers.update(dict(refused.fields()))
        raise Refusal(refused) from None
    return found


class Guard(BaseGuard):
    """A guard for the views of Django REST framework; `watchword.guard.Guard` describes its options."""

    @property
    def authentication(self) -> type[BaseAuthentication]:
        """A class for `authentication_classes`; the caller is in `request.auth` and `request.user.principal`. It refuses nobody by itself."""
        guard = self

        class Authentication(BaseAuthentication):
            def authenticate(self, request: Request) -> tuple[Caller, Principal] | None:
                shown = presented(request._request)
                if not any(value.lower().startswith(("bearer ", "dpop ")) for value in shown.authorization):
                    return None
                principal = _admit(guard, request, OPEN)
                return None if principal is None else (Caller(principal), principal)

            def authenticate_header(self, request: Request) -> str:
                return "Bearer"

        return Authentication

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of a view if it satisfies one more policy; raise APIException with the answer that `require` gives."""
        try:
            return super().demand(principal, policy)
        except Refused as refused:
            raise Refusal(refused) from None

    def require(self, *scopes: str, policy: Policy | None = None) -> type[BasePermission]:
        """Return a class for `permission_classes`; the caller is in `request.principal`."""
        return self._permission(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> type[BasePermission]:
        """Return a class for `permission_classes` that also lets in requests without any credential: `request.principal` is then None."""
        return self._permission(demanded(scopes, policy, "optional"), optional=True)

    def _permission(self, wanted: Policy, *, optional: bool = False) -> type[BasePermission]:
        guard = self

        class Permission(BasePermission):
            def has_permission(self, request: Request, view: Any) -> bool:
                _admit(guard, request, wanted, optional)
                return True

        return Permission
