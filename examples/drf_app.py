"""A shop's API with Django REST framework: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com gunicorn -b :8001 drf_app:app"""

import os
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": __name__,
    "ALLOWED_HOSTS": ["*"],
    "SECRET_KEY": os.urandom(32).hex(),
    "REST_FRAMEWORK": {
        "UNAUTHENTICATED_USER": None,
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    },
}
if not settings.configured:
    settings.configure(**SETTINGS)
    django.setup()

from rest_framework.response import Response  # noqa: E402  settings come first
from rest_framework.views import APIView  # noqa: E402  settings come first

from watchword.guard.django import metadata_path  # noqa: E402  settings come first
from watchword.guard.drf import Guard, Policy  # noqa: E402  settings come first

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


class Public(APIView):
    def get(self, request: Any) -> Response:
        return Response({"hello": "world"})


class Catalog(APIView):
    permission_classes = (guard.optional("orders:read"),)

    def get(self, request: Any) -> Response:
        who = request.principal
        return Response({"hello": who.subject if who else "world"})


class Whoami(APIView):
    authentication_classes = (guard.authentication,)
    permission_classes = (guard.require(),)

    def get(self, request: Any) -> Response:
        return Response({"sub": request.principal.subject, "kind": request.principal.kind})


class Orders(Whoami):
    permission_classes = (guard.require("orders:read"),)


class Reports(Whoami):
    authentication_classes = ()  # the permission is enough
    permission_classes = (guard.require("orders:read", "reports:read"),)


class Transfer(Whoami):
    permission_classes = (guard.require(policy=STEP_UP),)


class Refund(APIView):
    permission_classes = (guard.optional(),)

    def get(self, request: Any) -> Response:
        who = guard.demand(request.principal, STEP_UP)  # for example above a certain amount
        return Response({"sub": who.subject, "kind": who.kind})


urlpatterns = [
    path("public", Public.as_view()),
    path("catalog", Catalog.as_view()),
    path("whoami", Whoami.as_view()),
    path("orders", Orders.as_view()),
    path("reports", Reports.as_view()),
    path("transfer", Transfer.as_view()),
    path("refund", Refund.as_view()),
    metadata_path(guard, ("orders:read",)),
]
app = get_wsgi_application()
