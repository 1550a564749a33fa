"""A shop's API with Django in one file: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com gunicorn -b :8001 django_app:app

For its asynchronous views serve `django_app:async_app` with uvicorn.
"""

import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": __name__,
    "ALLOWED_HOSTS": ["*"],
    "SECRET_KEY": os.urandom(32).hex(),
}
if not settings.configured:
    settings.configure(**SETTINGS)
    django.setup()

from watchword.guard.django import Guard, Policy, metadata_path  # noqa: E402  settings come first

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


def public(request: Any) -> JsonResponse:
    return JsonResponse({"hello": "world"})


@guard.optional("orders:read")
async def catalog(request: Any) -> JsonResponse:
    who = request.principal
    return JsonResponse({"hello": who.subject if who else "world"})


@guard.require()
def whoami(request: Any) -> JsonResponse:
    return JsonResponse({"sub": request.principal.subject, "kind": request.principal.kind})


@guard.require("orders:read")
async def orders(request: Any) -> JsonResponse:
    return JsonResponse({"sub": request.principal.subject, "kind": request.principal.kind})


@guard.require("orders:read", "reports:read")
def reports(request: Any) -> JsonResponse:
    return JsonResponse({"sub": request.principal.subject, "kind": request.principal.kind})


@guard.require(policy=STEP_UP)
async def transfer(request: Any) -> JsonResponse:
    return JsonResponse({"sub": request.principal.subject, "kind": request.principal.kind})


@guard.optional()
def refund(request: Any) -> JsonResponse:
    who = guard.demand(request.principal, STEP_UP)  # for example above a certain amount
    return JsonResponse({"sub": who.subject, "kind": who.kind})


urlpatterns = [
    path("public", public),
    path("catalog", catalog),
    path("whoami", whoami),
    path("orders", orders),
    path("reports", reports),
    path("transfer", transfer),
    path("refund", refund),
    metadata_path(guard, ("orders:read",)),
]
app = get_wsgi_application()
async_app = get_asgi_application()
