"""The address of an API that proofs name, where the framework's own settings say what a proxy took away or changed."""

import sys
from types import ModuleType
from typing import Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE, load

from watchword.testing.kit import Auth

PREFIX = "/shop"


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_dp_52_a_prefix_that_djangos_settings_name_is_part_of_the_address(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    load("drf_app")  # configures Django
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpRequest, JsonResponse
    from django.test import override_settings
    from django.urls import path

    from watchword.guard.django import Guard

    @auth.guard(Guard, audience=BASE).require("orders:read")
    def show(_request: HttpRequest, **_: str) -> JsonResponse:
        return JsonResponse({})

    urls = ModuleType("urls_below_a_prefix")
    urls.urlpatterns = [path("orders/<path:name>", show)]  # type: ignore[attr-defined]  # what Django reads of a module
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    token = auth.token("orders:read", audience=BASE, dpop=True)
    with override_settings(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], FORCE_SCRIPT_NAME=PREFIX):
        app: Any = get_asgi_application() if server == "asgi" else get_wsgi_application()
        with (example_apps.asgi if server == "asgi" else example_apps.wsgi)(app) as call:

            def ask(address: str) -> int:
                return call("GET", "/orders/a%2Fb", list(token.proof("GET", address).items())).status

            assert ask(f"{BASE}{PREFIX}/orders/a%2Fb") == 200
            assert ask(f"{BASE}/orders/a%2Fb") == 401
            assert ask(f"{BASE}{PREFIX}{PREFIX}/orders/a%2Fb") == 401
