"""Django REST framework: two guards in one project, each of an API of its own."""

from pathlib import Path
from typing import Any

from tests.guard.example_apps import load

from watchword.testing.kit import Auth

ORDERS, REPORTS = "https://orders.test", "https://reports.test"


def test_what_one_guard_authenticated_is_nothing_to_the_guard_of_another_api(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory
    from rest_framework.views import APIView

    from watchword.guard.drf import Guard

    orders, reports = (auth.guard(Guard, audience=audience) for audience in (ORDERS, REPORTS))

    class Show(APIView):
        authentication_classes = (orders.authentication,)

        def get(self, request: Any) -> Response:
            return Response({"sub": request.principal.subject})

    class Reports(Show):
        permission_classes = (reports.require("x"),)

    class Orders(Show):
        permission_classes = (orders.require("x"),)

    token = auth.token("x", audience=ORDERS)
    asked = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}", secure=True)
    assert Orders.as_view()(asked).status_code == 200
    assert Reports.as_view()(asked).status_code == 401


def test_permissions_of_the_framework_refuse_who_has_no_rights_of_django(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from rest_framework import permissions
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory
    from rest_framework.views import APIView

    from watchword.guard.drf import Guard

    guard = auth.guard(Guard, audience=ORDERS)

    class Show(APIView):
        authentication_classes = (guard.authentication,)
        permission_classes = (guard.require("x"), permissions.IsAuthenticated)

        def get(self, request: Any) -> Response:
            return Response({"sub": request.user.pk})

    class Administer(Show):
        permission_classes = (guard.require("x"), permissions.IsAdminUser)

    token = auth.token("x", audience=ORDERS)
    asked = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}", secure=True)
    assert Show.as_view()(asked).status_code == 200
    assert Administer.as_view()(asked).status_code == 403


def test_a_revocation_is_noticed_though_the_very_same_request_comes_again(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory
    from rest_framework.views import APIView

    from watchword.guard.drf import Guard

    guard = auth.guard(Guard, audience=ORDERS)

    class Show(APIView):
        permission_classes = (guard.require("x"), guard.require())

        def get(self, request: Any) -> Response:
            return Response({"sub": request.principal.subject})

    token = auth.token("x", audience=ORDERS)
    asked = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}", secure=True)
    assert Show.as_view()(asked).status_code == 200
    auth.revoke(token)
    assert Show.as_view()(asked).status_code == 401


def test_the_pages_of_the_framework_show_whom_a_token_is_for_and_nothing_else_of_it(auth: Auth) -> None:
    load("drf_app")  # configures Django
    import rest_framework
    from django.test import override_settings
    from rest_framework.renderers import BrowsableAPIRenderer
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory
    from rest_framework.views import APIView

    from watchword.guard.drf import Guard

    guard, alice = auth.guard(Guard, audience=ORDERS), auth.user("alice")

    class Show(APIView):
        authentication_classes = (guard.authentication,)
        permission_classes = (guard.require("x"),)
        renderer_classes = (BrowsableAPIRenderer,)

        def get(self, _request: Any) -> Response:
            return Response({})

    token = auth.token("x", user=alice, audience=ORDERS)
    asked = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}", secure=True)
    libraries = {
        "rest_framework": "rest_framework.templatetags.rest_framework",
        "static": "django.templatetags.static",
    }
    pages = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(rest_framework.__file__).parent / "templates"],
        "OPTIONS": {"libraries": libraries},
    }
    with override_settings(TEMPLATES=[pages], ROOT_URLCONF=(), STATIC_URL="/static/"):
        page = Show.as_view()(asked).rendered_content.decode()
    assert alice.id in page
    assert "Principal(" not in page


def test_what_another_method_would_demand_is_no_challenge_to_who_asks_for_the_options(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from rest_framework.generics import GenericAPIView
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory

    from watchword.guard.drf import Guard

    guard = auth.guard(Guard, audience=ORDERS)

    class Show(GenericAPIView):
        def get_permissions(self) -> list[Any]:
            return [guard.require("write" if self.request.method == "POST" else "read")()]

        def post(self, _request: Any) -> Response:
            return Response({})

    sent = {"HTTP_AUTHORIZATION": f"Bearer {auth.token('read', audience=ORDERS)}", "secure": True}
    refused = Show.as_view()(APIRequestFactory().post("/", **sent))
    assert refused.status_code == 403
    assert 'scope="write"' in refused["WWW-Authenticate"]
    options = Show.as_view()(APIRequestFactory().options("/", **sent))
    assert options.status_code == 200
    assert "WWW-Authenticate" not in options


def test_a_handler_of_the_projects_own_learns_the_code_of_a_refusal(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory
    from rest_framework.views import APIView

    from watchword.guard.drf import Guard

    class Show(APIView):
        permission_classes = (auth.guard(Guard, audience=ORDERS).require("x"),)

        def get_exception_handler(self) -> Any:
            return lambda refused, _context: Response(refused.get_full_details(), refused.status_code)

    bad = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {auth.token()}", secure=True)
    answer = Show.as_view()(bad)
    assert (answer.status_code, answer.data["error"]["code"]) == (401, "invalid_token")
    assert answer.data["error_description"]["message"] == "The token is meant for another API."
