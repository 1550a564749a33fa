"""Django's LoginRequiredMiddleware, which sends everybody without a session of Django to a login page: callers with tokens have none."""

import sys
from types import ModuleType
from typing import Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE, load

from watchword.testing.kit import Auth

SETTINGS = {
    "ALLOWED_HOSTS": ["*"],
    "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.auth"],
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "MIDDLEWARE": [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ],
}


def _patterns(auth: Auth) -> list[Any]:
    from django.contrib.auth.decorators import login_required
    from django.http import JsonResponse
    from django.urls import path
    from django.utils.decorators import method_decorator
    from django.views import View

    from watchword.guard.django import Guard, metadata_path

    guard = auth.guard(Guard, audience=BASE)
    require = guard.require("orders:read")

    def show(request: Any) -> JsonResponse:
        return JsonResponse({"sub": request.principal.subject})

    async def show_later(request: Any) -> JsonResponse:
        return JsonResponse({"sub": request.principal.subject})

    def unguarded(_request: Any) -> JsonResponse:
        return JsonResponse({})

    class Orders(View):
        def get(self, request: Any) -> JsonResponse:
            return JsonResponse({"sub": request.principal.subject})

    return [
        path("view", require(show)),
        path("later", require(show_later)),
        path("class", method_decorator(require, name="dispatch")(Orders).as_view()),
        path("both", require(login_required(show))),
        path("unguarded", unguarded),
        metadata_path(guard, ("orders:read",)),
    ]


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_a_guarded_view_answers_callers_with_tokens_and_sends_nobody_to_a_login_page(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    load("drf_app")  # configures Django
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.test import override_settings

    urls = ModuleType("urls_with_logins")
    urls.urlpatterns = _patterns(auth)  # type: ignore[attr-defined]  # what Django reads of a module
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    token = list(auth.token("orders:read", audience=BASE).headers.items())
    with override_settings(ROOT_URLCONF=urls.__name__, **SETTINGS):
        drive = (
            example_apps.asgi(get_asgi_application())
            if server == "asgi"
            else example_apps.wsgi(get_wsgi_application())
        )
        with drive as call:
            for path in ("/view", "/later", "/class"):
                assert call("GET", path, token).says("sub"), path
                refused = call("GET", path, [])
                assert refused.status == 401
                assert "resource_metadata=" in (refused.challenge or "")
            metadata = call("GET", "/.well-known/oauth-protected-resource", [])
            assert metadata.says("resource") == BASE
            assert metadata.headers["access-control-allow-origin"] == "*", "for scripts without a token yet"
            assert call("GET", "/both", token).status == 302, "what demands a login of its own still does"
            assert call("GET", "/unguarded", token).status == 302
