"""A shop's API in plain WSGI: WATCHWORD_URL=https://auth.example.com API_URL=https://api.example.com gunicorn -b :8001 wsgi_app:app"""

import json
import os
from collections.abc import Iterable

from watchword.guard import Guard, Policy, Principal, Refused
from watchword.guard.wsgi import (
    Application,
    Environ,
    GuardMiddleware,
    MetadataMiddleware,
    StartResponse,
    answer,
)

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
audience = os.environ.get("API_URL", "http://localhost:8001")
guard = Guard(issuer, audience=audience)
STEP_UP = Policy(acr=("urn:watchword:aal2",), max_age=300)  # a second factor, used within five minutes


def public(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _answer(start_response, {"hello": "world"})


def nothing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return _answer(start_response, {"error": "not found"}, "404 Not Found")


def whoami(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    who: Principal = environ["watchword.principal"]
    return _answer(start_response, {"sub": who.subject, "kind": who.kind})


def catalog(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    who: Principal | None = environ["watchword.principal"]
    return _answer(start_response, {"hello": who.subject if who else "world"})


def refund(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    try:
        who = guard.demand(environ["watchword.principal"], STEP_UP)  # for example above a certain amount
    except Refused as refused:
        return answer(refused, environ, start_response)
    return _answer(start_response, {"sub": who.subject, "kind": who.kind})


ROUTES: dict[str, Application] = {
    "/public": public,
    "/catalog": GuardMiddleware(catalog, guard, Policy(scopes=("orders:read",)), optional=True),
    "/whoami": GuardMiddleware(whoami, guard),
    "/orders": GuardMiddleware(whoami, guard, Policy(scopes=("orders:read",))),
    "/reports": GuardMiddleware(whoami, guard, Policy(scopes=("orders:read", "reports:read"))),
    "/transfer": GuardMiddleware(whoami, guard, STEP_UP),
    "/refund": GuardMiddleware(refund, guard, optional=True),
}


def shop(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    return ROUTES.get(environ["PATH_INFO"], nothing)(environ, start_response)


app = MetadataMiddleware(shop, guard, ("orders:read",))


def _answer(start_response: StartResponse, document: object, status: str = "200 OK") -> list[bytes]:
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(document).encode()]
