"""The guard for Django REST framework: an authentication class and permission classes.

The permission alone is enough. The authentication class is for projects that read `request.user` or throttle by it.
"""

from dataclasses import dataclass
from typing import Any

from watchword.extras import needing
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

with needing("djangorestframework", "rest_framework", "django"):
    from rest_framework.authentication import BaseAuthentication
    from rest_framework.exceptions import APIException
    from rest_framework.permissions import BasePermission
    from rest_framework.request import Request

    from watchword.guard.django import presented

__all__ = ["Caller", "Guard", "Policy", "Principal"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A principal in the words that Django REST framework expects of a user."""

    principal: Principal
    is_authenticated: bool = True
    is_anonymous: bool = False

    @property
    def pk(self) -> str:
        """The subject, by which the framework's throttles count."""
        return self.principal.subject


class Refusal(APIException):
    """A refusal in the framework's words: its exception handler sends `auth_header` as `WWW-Authenticate`."""

    def __init__(self, refused: Refused) -> None:
        super().__init__()
        self.status_code = refused.status
        self.detail = dict(refused.document())
        headers = dict(refused.headers)
        self.auth_header = headers.get("WWW-Authenticate")
        self.wait = headers.get("Retry-After")


def _guard_of(request: Request) -> BaseGuard | None:
    found: BaseGuard | None = getattr(request._request, "guarded_by", None)
    return found


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in the views of Django REST framework."""

    @property
    def authentication(self) -> type[BaseAuthentication]:
        """The class for `authentication_classes`; the caller is `request.auth`, and `request.user.principal`."""
        guard = self

        class Authentication(BaseAuthentication):
            def authenticate(self, request: Request) -> tuple[Caller, Principal] | None:
                shown = presented(request._request)
                if not any(value.lower().startswith(("bearer ", "dpop ")) for value in shown.authorization):
                    return None
                try:
                    principal = guard.authenticate_sync(shown)
                except Refused as refused:
                    raise Refusal(refused) from None
                request._request.principal, request._request.guarded_by = principal, guard
                return Caller(principal), principal

            def authenticate_header(self, request: Request) -> str:
                return "Bearer"

        return Authentication

    def require(self, *scopes: str, policy: Policy | None = None) -> type[BasePermission]:
        """Return a class for `permission_classes`; the caller is `request.principal`."""
        guard, wanted = self, demanded(scopes, policy)

        class Permission(BasePermission):
            def has_permission(self, request: Request, view: Any) -> bool:
                try:
                    # A proof is good once: not authenticated again, unless it was another guard, of another API, that did it.
                    if isinstance(request.auth, Principal) and _guard_of(request) is guard:
                        guard.demand(request.auth, wanted)
                    else:
                        request._request.principal = guard.authenticate_sync(
                            presented(request._request), wanted
                        )
                except Refused as refused:
                    raise Refusal(refused) from None
                return True

        return Permission
