"""Ways to use a guard that come naturally: none of them leaves an API open, or half open."""

from typing import Annotated, Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE, Headers

from watchword.guard import Policy
from watchword.testing.kit import Auth

READ = ("orders:read",)


def bearer(auth: Auth, scopes: Any = READ) -> Headers:
    """Return the headers of a token for the API."""
    return list(auth.token(scopes, audience=BASE).headers.items())


def test_scopes_that_fastapi_is_told_by_security_are_demanded(auth: Auth) -> None:
    from fastapi import APIRouter, FastAPI, Security

    from watchword.guard.fastapi import Guard, Principal

    guard, app = auth.guard(Guard, audience=BASE), FastAPI()
    router = APIRouter(dependencies=[Security(guard.require(), scopes=["orders:write"])])

    def caller(who: Principal = guard.require("orders:read")) -> Principal:
        return who

    @app.get("/wrapped")
    def wrapped(who: Principal = Security(guard.require("orders:read"), scopes=["orders:write"])) -> str:
        return who.subject

    @app.get("/below")
    def below(who: Annotated[Principal, Security(caller, scopes=["orders:write"])]) -> str:
        return who.subject

    @router.get("/router")
    def routed() -> str:
        return "orders"

    any_of = guard.require(policy=Policy(any_scopes=("orders:read", "orders:write")))

    @app.get("/any")
    def one_of(who: Principal = any_of) -> str:
        return who.subject

    @app.get("/any-and")
    def one_of_and(who: Principal = Security(any_of, scopes=["orders:write"])) -> str:
        return who.subject

    app.include_router(router)
    both, less = bearer(auth, ("orders:read", "orders:write")), bearer(auth)
    with example_apps.asgi(app) as call:
        for path in ("/wrapped", "/below", "/router", "/any-and"):
            assert call("GET", path, both).status == 200, path
            refused = call("GET", path, less)
            assert refused.status == 403, path
            assert "orders:write" in str(refused.challenge)
            assert call("GET", path, []).status == 401, path
        assert call("GET", "/any", less).status == 200
        assert call("GET", "/any", bearer(auth, ())).status == 403
