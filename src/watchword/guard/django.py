"""The guard for Django: a decorator for views and a middleware, both synchronous or asynchronous as the project is."""

import functools
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar, cast

from watchword.extras import needing
from watchword.guard import asgi, order, resource, transport, wsgi
from watchword.guard.cookies import SAFE
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.guard import Presented
from watchword.guard.misuse import check_exclude, check_flag, check_function
from watchword.guard.policy import OPEN, Policy, Refused, check_policy, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("django", "django", "asgiref"):
    from asgiref.sync import iscoroutinefunction, sync_to_async
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
    from django.middleware.csrf import CsrfViewMiddleware
    from django.urls import URLPattern, path
    from django.utils.decorators import sync_and_async_middleware
    from django.utils.module_loading import import_string

__all__ = ["Guard", "Policy", "Principal", "admit", "admit_sync", "answer", "metadata_path", "presented"]

View = Callable[..., Any]
V = TypeVar("V", bound=View)


class Guard(BaseGuard):
    """A guard for a Django project; `watchword.guard.Guard` describes its options."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[V], V]:
        """Guard a view function, or with `method_decorator` a class-based view; the caller is in `request.principal`.

        The view needs no CSRF token, since browsers never add an `Authorization` header by themselves, and Django's
        `LoginRequiredMiddleware` lets it through.
        """
        return self._decorator(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> Callable[[V], V]:
        """Guard a view as `require` does, and also let in requests without any credential: `request.principal` is then None.

        Those are subject to the project's CSRF check, since the view may go by Django's own session: put `csrf_exempt` below this if
        it does not.
        """
        return self._decorator(demanded(scopes, policy, "optional"), optional=True)

    def _decorator(self, wanted: Policy, *, optional: bool = False) -> Callable[[V], V]:
        def guard(view: V) -> V:
            check_function(view, 'by `method_decorator(guard.require(…), name="dispatch")` the views of')
            _check_order(view, sys._getframe(1))
            guarded = functools.wraps(view)(self._around(view, wanted, optional=optional, is_view=True))
            guarded.csrf_exempt = True  # type: ignore[attr-defined]  # how Django marks views
            return cast(V, _without_login(guarded))  # it takes what the view takes

        return guard

    def middleware(
        self, policy: Policy = OPEN, *, exclude: tuple[str, ...] = (), optional: bool = False
    ) -> Callable[[View], View]:
        """Return a middleware that guards every path except `exclude`; give it a name and list that in `MIDDLEWARE`.

        With `optional`, requests without any credential pass too, and their principal is None.
        """
        check_policy("policy", policy)
        check_exclude(exclude)
        check_flag("optional", optional)

        def middleware(get_response: View) -> View:
            guarded = self._around(get_response, policy, frozenset(exclude), optional=optional)
            # What a view demands: Django makes a response of an exception before the middleware could.
            guarded.process_exception = _answer_refused  # type: ignore[attr-defined]  # how Django calls it
            return guarded

        marked: Callable[[View], View] = sync_and_async_middleware(middleware)
        return marked

    def _around(
        self,
        view: View,
        policy: Policy,
        exclude: frozenset[str] = frozenset(),
        *,
        optional: bool = False,
        is_view: bool = False,
    ) -> View:
        async def guarded_async(request: HttpRequest, *args: object, **named: object) -> HttpResponseBase:
            if (document := self._asked_for(request)) is not None:
                return document
            try:
                if request.path_info not in exclude:
                    request.principal = await admit(self, request, policy, optional)
                    if not is_view:
                        _exempt(request)
                    elif _may_be_forged(request):
                        forged = await sync_to_async(_check_csrf)(request, view)
                        if forged is not None:
                            return forged
                return await view(request, *args, **named)
            except Refused as refused:
                return answer(refused)

        def guarded(request: HttpRequest, *args: object, **named: object) -> HttpResponseBase:
            if (document := self._asked_for(request)) is not None:
                return document
            try:
                if request.path_info not in exclude:
                    request.principal = admit_sync(self, request, policy, optional)
                    if not is_view:
                        _exempt(request)
                    elif _may_be_forged(request):
                        forged = _check_csrf(request, view)
                        if forged is not None:
                            return forged
                return view(request, *args, **named)
            except Refused as refused:
                return answer(refused)

        return guarded_async if _is_async(view) else guarded

    def _asked_for(self, request: HttpRequest) -> HttpResponse | None:
        """Return the resource's metadata when the request is for it: a middleware runs before its URL pattern could match."""
        metadata = self.metadata
        if metadata is None or not metadata.is_asked(request.method or "", request.path):
            return None
        return _document(metadata)


def _check_order(view: View, where: FrameType) -> None:
    """Raise ValueError for a view that a Ninja API or router has registered already: it would be called unguarded."""
    routers = (one for one in order.near(where) if type(one).__module__ == "ninja.router")
    paths = (path for router in routers for path in getattr(router, "path_operations", {}).values())
    if order.is_taken(view, (operation.view_func for path in paths for operation in path.operations)):
        raise ValueError(
            f"put @guard.require below @api.get, or use watchword.guard.ninja: {view.__name__} was taken unguarded"
        )


def _is_async(view: View) -> bool:
    # `method_decorator` passes `dispatch` bound to its view: a plain function, but what it returns is awaitable in an async view.
    owner = getattr(getattr(view, "func", view), "__self__", None)
    return iscoroutinefunction(view) or bool(getattr(owner, "view_is_async", False))


def _exempt(request: HttpRequest) -> None:
    """Exempt a caller from Django's CSRF check, as the guard of a single view does."""
    if request.principal is not None:
        request._dont_enforce_csrf_checks = True  # the flag by which Django's own test client does it


def _may_be_forged(request: HttpRequest) -> bool:
    """Whether a request without a credential may change something: a guarded view is exempt from Django's CSRF check."""
    return request.principal is None and request.method not in SAFE


def _check_csrf(request: HttpRequest, view: View) -> HttpResponseBase | None:
    """Check a request as the project's CSRF middleware would if the view were not guarded; return its refusal."""
    for made in map(import_string, settings.MIDDLEWARE):
        if isinstance(made, type) and issubclass(made, CsrfViewMiddleware):
            refusal: HttpResponseBase | None = made(view).process_view(request, view, (), {})
            return refusal
    return None


async def admit(
    guard: BaseGuard, request: HttpRequest, policy: Policy, optional: bool = False
) -> Principal | None:
    """Return the caller of a request, None only where one is optional; raise Refused."""
    _keep_in_no_cache(request)
    check = guard.authenticate_optional if optional else guard.authenticate
    return await check(presented(request), policy)


def admit_sync(
    guard: BaseGuard, request: HttpRequest, policy: Policy, optional: bool = False
) -> Principal | None:
    """Do as `admit` does, for code without an event loop."""
    _keep_in_no_cache(request)
    check = guard.authenticate_optional_sync if optional else guard.authenticate_sync
    return check(presented(request), policy)


def _keep_in_no_cache(request: HttpRequest) -> None:
    # A Django cache outside the guard would answer callers that the guard never sees; one inside it sets this to True again.
    request._cache_update_cache = False  # the flag that Django's two cache middlewares pass to each other


def metadata_path(guard: BaseGuard, scopes: Sequence[str] = (), name: str = "") -> URLPattern:
    """Return an entry for `urlpatterns` that serves the resource's metadata (RFC 9728), and name its address in challenges.

    Put it into the project's root URLconf, with the guards for Django REST framework and Ninja too.
    """
    metadata = Metadata(guard, scopes, name)

    def show(_: HttpRequest) -> HttpResponse:
        return _document(metadata)

    found: URLPattern = path(metadata.path.lstrip("/"), _without_login(show))
    return found


def _without_login(view: View) -> View:
    # As `login_not_required` does from Django 5.1 on: its middleware would send callers, who have no session, to a login page.
    view.login_required = False  # type: ignore[attr-defined]  # how Django marks views
    return view


def _document(metadata: Metadata) -> HttpResponse:
    return HttpResponse(metadata.body(), content_type=resource.CONTENT_TYPE, headers=resource.HEADERS)


def presented(request: HttpRequest) -> Presented:
    """Return what a request presented; scheme and host follow Django's own proxy settings."""
    meta, scope = request.META, getattr(request, "scope", None)
    extensions = (None if scope is None else scope.get("extensions")) or {}
    named = meta
    if type(request) is HttpRequest:
        # Not made by a server but, for example, by Ninja's test client, whose header names may be in lower case.
        named = {name.upper(): value for name, value in meta.items()}
    authorization, proof = named.get("HTTP_AUTHORIZATION"), named.get("HTTP_DPOP")
    cookie, origin = named.get("HTTP_COOKIE"), named.get("HTTP_ORIGIN")
    session = None if scope is None else scope.get(asgi.SESSION)
    needed = proof or origin
    uri = f"{request.scheme}://{request.get_host()}{_raw_path(request)}" if needed else ""
    return Presented(
        authorization=() if authorization is None else (authorization,),
        dpop=() if proof is None else tuple(part.strip() for part in proof.split(",")),
        method=request.method or "GET",
        uri=uri,
        path=request.path if scope is None else asgi.sent_path(scope),
        address=meta.get("REMOTE_ADDR") if scope is None else meta.get("REMOTE_ADDR") or asgi.address(scope),
        certificate=transport.der_certificate(meta.get("SSL_CLIENT_CERT")) or asgi.certificate(extensions),
        secure=request.is_secure(),
        cookies=() if cookie is None else (cookie,),
        subject="" if session is None else session.subject,
        site=named.get("HTTP_SEC_FETCH_SITE"),
        origin=origin,
        websocket=named.get("HTTP_UPGRADE", "").lower() == "websocket",
        kept=meta if scope is None else scope,
    )


def _raw_path(request: HttpRequest) -> str:
    scope = getattr(request, "scope", None)
    if scope is None:
        return wsgi.raw_path(request.META, "utf-8")
    # Not the scope's own `root_path`: FORCE_SCRIPT_NAME counts more than what the server says.
    return asgi.raw_path({**scope, "root_path": request.META.get("SCRIPT_NAME", "")})


def answer(refused: Refused) -> JsonResponse:
    """Return a refusal."""
    return JsonResponse(refused.document(), status=refused.status, headers=dict(refused.fields()))


def _answer_refused(_: HttpRequest, error: Exception) -> HttpResponse | None:
    return answer(error) if isinstance(error, Refused) else None
