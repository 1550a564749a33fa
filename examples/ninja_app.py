"""A shop's API with Django Ninja: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com uvicorn ninja_app:app --port 8001"""

import os
from typing import Any

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": __name__,
    "ALLOWED_HOSTS": ["*"],
    "SECRET_KEY": os.urandom(32).hex(),
}
if not settings.configured:
    settings.configure(**SETTINGS)
    django.setup()

from ninja import NinjaAPI  # noqa: E402  settings come first

from watchword.guard.django import metadata_path  # noqa: E402  settings come first
from watchword.guard.ninja import Guard, Policy  # noqa: E402  settings come first

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes
api = NinjaAPI()
guard.install(api)


@api.get("/public")
def public(request: Any) -> dict[str, str]:
    return {"hello": "world"}


@api.get("/catalog", auth=guard.optional("orders:read"))
def catalog(request: Any) -> dict[str, str]:
    who = request.principal
    return {"hello": who.subject if who else "world"}


@api.get("/whoami", auth=guard.require())
def whoami(request: Any) -> dict[str, str]:
    return {"sub": request.auth.subject, "kind": request.auth.kind}


@api.get("/orders", auth=guard.arequire("orders:read"))
async def orders(request: Any) -> dict[str, str]:
    return {"sub": request.auth.subject, "kind": request.auth.kind}


@api.get("/reports", auth=guard.require("orders:read", "reports:read"))
def reports(request: Any) -> dict[str, str]:
    return {"sub": request.auth.subject, "kind": request.auth.kind}


@api.get("/transfer", auth=guard.require(policy=STEP_UP))
def transfer(request: Any) -> dict[str, str]:
    return {"sub": request.auth.subject, "kind": request.auth.kind}


@api.get("/refund", auth=guard.optional())
def refund(request: Any) -> dict[str, str]:
    who = guard.demand(request.principal, STEP_UP)  # for example above a certain amount
    return {"sub": who.subject, "kind": who.kind}


urlpatterns = [path("", api.urls), metadata_path(guard, ("orders:read",))]
app = get_asgi_application()
