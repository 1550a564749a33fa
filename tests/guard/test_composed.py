"""Guards in what frameworks put together of parts: classes, routers, mounted applications. Each part is as guarded as it stands there."""

from tests.guard import example_apps
from tests.guard.example_apps import BASE, Headers

from watchword.guard import Policy
from watchword.testing.kit import Auth

READ, WRITE = "orders:read", "orders:write"


def bearer(auth: Auth, *scopes: str) -> Headers:
    """Return the headers of a token for the API."""
    return list(auth.token(scopes, audience=BASE).headers.items())


def test_a_scope_that_fastapi_is_told_is_demanded_though_a_router_is_content_with_another(auth: Auth) -> None:
    from fastapi import APIRouter, FastAPI, Security

    from watchword.guard.fastapi import Guard, Principal

    guard, app = auth.guard(Guard, audience=BASE), FastAPI()
    either = guard.require(policy=Policy(any_scopes=(READ, WRITE)))
    router = APIRouter(dependencies=[either])

    @router.get("/read")
    def read() -> str:
        return "orders"

    @router.get("/write")
    def write(who: Principal = Security(either, scopes=[WRITE])) -> str:
        return who.subject

    app.include_router(router)
    with example_apps.asgi(app) as call:
        reader, writer = bearer(auth, READ), bearer(auth, WRITE)
        assert [call("GET", path, writer).status for path in ("/read", "/write")] == [200, 200]
        assert call("GET", "/read", reader).status == 200
        refused = call("GET", "/write", reader)
        assert refused.status == 403
        assert WRITE in str(refused.challenge)
