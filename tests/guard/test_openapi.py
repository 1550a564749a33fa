"""What the OpenAPI document of a guarded FastAPI application tells its readers: the scheme, the scopes, and how requests are refused."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from tests.fixtures.servers import Server

from watchword.guard.fastapi import Guard, Principal

BY_THE_GUARD = {"400", "401", "403", "429", "503"}


def application(guard: Guard) -> FastAPI:
    """Return an application that is guarded in every way FastAPI knows."""
    app = FastAPI()

    def indirectly(who: Principal = guard.require("orders:read")) -> str:
        return who.subject

    @app.get("/public")
    def public() -> str:
        return "hello"

    @app.get("/parameter")
    def parameter(who: Principal = guard.require("orders:read")) -> str:
        return who.subject

    @app.get("/dependency", dependencies=[guard.require("orders:read")])
    def dependency() -> str:
        return "hello"

    @app.get("/nested")
    def nested(subject: str = Depends(indirectly)) -> str:
        return subject

    @app.get("/annotated")
    def annotated(who: Annotated[Principal, guard.require("orders:read")]) -> str:
        return who.subject

    @app.get("/wrapped")
    def wrapped(who: Principal = Depends(guard.require("orders:read"))) -> str:
        return who.subject

    router = APIRouter(dependencies=[Depends(guard.require("orders:read"))])

    @router.get("/router")
    def routed() -> str:
        return "hello"

    @app.get("/own", responses={401: {"description": "Sign in first."}})
    def own(who: Principal = guard.require("orders:read")) -> str:
        return who.subject

    @app.get("/all", responses={"4XX": {"description": "Not for you."}})
    def ranged(who: Principal = guard.require("orders:read")) -> str:
        return who.subject

    app.include_router(router, prefix="/v1")
    return app


def document(app: FastAPI) -> dict[str, Any]:
    """Return the paths of the document, as it is the second time that somebody asks."""
    assert app.openapi() == app.openapi()
    return app.openapi()


@pytest.fixture
def paths(server: Server) -> dict[str, Any]:
    """The paths of an application whose guard documents them."""
    guard = Guard(server.app, clock=server.clock)
    app = application(guard)
    guard.document(app)
    return {path: said["get"]["responses"] for path, said in document(app)["paths"].items()}


GUARDED = ["/parameter", "/dependency", "/nested", "/annotated", "/wrapped", "/v1/router"]


@pytest.mark.parametrize("path", GUARDED)
async def test_wherever_a_requirement_stands_it_is_kept_and_documented(server: Server, path: str) -> None:
    guard = Guard(server.app, clock=server.clock, audience=server.settings.issuer)
    app = application(guard)
    told = app.openapi()["paths"][path]["get"]["security"]
    assert told == [{"Watchword": ["orders:read"]}]
    good, poor = (await server.token()).secret, (await server.token(scope="profile")).secret
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://api.test") as api:
        answers = [
            (await api.get(path, headers={"authorization": f"Bearer {token}"} if token else {})).status_code
            for token in (good, poor, None)
        ]
    assert answers == [200, 403, 401]


@pytest.mark.parametrize("path", GUARDED)
async def test_a_guarded_operation_tells_how_it_refuses(paths: dict[str, Any], path: str) -> None:
    assert paths[path].keys() == {"200"} | BY_THE_GUARD
    assert "WWW-Authenticate" in paths[path]["401"]["headers"]
    assert "Retry-After" in paths[path]["503"]["headers"]


async def test_an_operation_that_nobody_guards_refuses_nothing(paths: dict[str, Any]) -> None:
    assert paths["/public"].keys() == {"200"}


async def test_what_an_operation_says_itself_is_kept(paths: dict[str, Any]) -> None:
    assert paths["/own"]["401"]["description"] == "Sign in first."
    assert paths["/own"].keys() == {"200"} | BY_THE_GUARD
    assert paths["/all"].keys() == {"200", "4XX", "503"}


async def test_the_documented_schema_is_that_of_the_answers(server: Server) -> None:
    guard = Guard(server.app, clock=server.clock, audience="https://api.test")
    app = application(guard)
    guard.publish(app)
    schema = document(app)["components"]["schemas"]["WatchwordRefusal"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://api.test") as api:
        refused = await api.get("/parameter")
        shown = (await api.get("/openapi.json")).json()
    assert refused.status_code == 401
    assert refused.json().keys() == set(schema["required"])
    assert refused.json()["detail"].keys() == set(schema["properties"]["detail"]["required"])
    assert shown["paths"]["/v1/router"]["get"]["responses"]["401"]["content"]["application/json"][
        "schema"
    ] == {"$ref": "#/components/schemas/WatchwordRefusal"}


async def test_an_application_without_guarded_operations_has_the_document_of_always(server: Server) -> None:
    plain, documented = FastAPI(), FastAPI()
    Guard(server.app, clock=server.clock).document(documented)
    assert documented.openapi() == plain.openapi()


async def test_two_guards_of_other_issuers_have_a_description_each() -> None:
    ours, partners = Guard("https://auth.example.com"), Guard(["https://a.example", "https://b.example"])
    partners.scheme = "Partners"
    app = FastAPI()
    for path, guard in (("/ours", ours), ("/partners", partners)):
        app.add_api_route(path, lambda: "hello", dependencies=[guard.require("orders:read")])
        guard.document(app)
    told = app.openapi()
    schemes = told["components"]["securitySchemes"]
    assert {name: scheme["description"].partition(" of ")[2] for name, scheme in schemes.items()} == {
        "Watchword": "https://auth.example.com.",
        "Partners": "https://a.example or https://b.example.",
    }
    for path, name in (("/ours", "Watchword"), ("/partners", "Partners")):
        assert told["paths"][path]["get"]["security"] == [{name: ["orders:read"]}]
        assert told["paths"][path]["get"]["responses"].keys() == {"200"} | BY_THE_GUARD
