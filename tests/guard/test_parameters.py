"""Parameters that a framework fills: a caller is what a guard says, and nobody becomes one by sending it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI
from litestar import Litestar, Request, get, post
from litestar.di import Provide
from litestar.testing import TestClient as LitestarClient
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from watchword.guard.fastapi import Guard, Policy, Principal
from watchword.guard.litestar import Guard as LitestarGuard
from watchword.testing.kit import Auth

MALLORY = {
    "subject": "alice",
    "kind": "access_token",
    "issuer": "",
    "scopes": ["orders:read"],
    "audience": [],
}


def without(who: Principal) -> str:
    """Forget the guard."""
    return who.subject


def perhaps(who: Principal | None = None) -> str:
    """Forget it where a caller is not always there."""
    return who.subject if who else "nobody"


def several(who: Annotated[list[Principal], Body()]) -> str:
    """Ask for several callers."""
    return who[0].subject


def not_called(guard: Guard) -> Callable[..., str]:
    """Return an endpoint with `require` in the place of what it returns."""

    def endpoint(who: Principal = guard.require) -> str:  # type: ignore[assignment]  # the mistake
        return who.subject

    return endpoint


def annotated(guard: Guard) -> Callable[..., str]:
    """Do the same within an annotation."""

    def endpoint(who: Annotated[Principal, guard.require]) -> str:
        return who.subject

    return endpoint


def depending(guard: Guard) -> Callable[..., str]:
    """Do the same within `Depends`."""

    def endpoint(who: Principal = Depends(guard.require)) -> str:
        return who.subject

    return endpoint


def shortly(who: Principal = Depends()) -> str:
    """Have FastAPI make an object of the annotation, which is what `Depends()` means."""
    return who.subject


def shortly_annotated(who: Annotated[Principal, Depends()]) -> str:
    """Do the same within an annotation."""
    return who.subject


def of_the_class(who: Any = Depends(Principal)) -> str:
    """Do the same with the class by its name."""
    subject: str = who.subject
    return subject


def not_called_nor_annotated(guard: Guard) -> Callable[..., str]:
    """Forget what a caller is, too."""

    def endpoint(_=guard.require) -> str:  # type: ignore[no-untyped-def]  # the mistake
        return "open"

    return endpoint


def misannotated(guard: Guard) -> Callable[..., str]:
    """Take a caller for something that a request can say."""

    def endpoint(who: str = guard.require) -> str:  # type: ignore[assignment]  # the mistake
        return who

    return endpoint


def annotated_with_a_default(guard: Guard) -> Callable[..., str]:
    """Do the same within an annotation."""

    def endpoint(who: Annotated[Any, guard.require] = None) -> str:
        return str(who)

    return endpoint


def answering(guard: Guard) -> Callable[..., Principal]:
    """Return an endpoint that answers with all that is known of its caller."""

    def endpoint(who: Principal = guard.require()) -> Principal:
        return who

    return endpoint


def test_a_caller_that_nobody_vouches_for_is_refused_when_the_program_starts(auth: Auth) -> None:
    guard, app = auth.guard(Guard), FastAPI()

    @app.post("/orders")
    def orders(more: Annotated[dict[str, Any], Body()], who: Principal = guard.require()) -> str:
        return who.subject

    token, api = auth.token("orders:read", user=(alice := auth.user("alice"))), TestClient(app)
    assert api.post("/orders", json=MALLORY, headers=token.headers).json() == alice.id
    assert api.post("/orders", json=MALLORY).status_code == 401
    direct = (without, perhaps, several, shortly, shortly_annotated, of_the_class)
    forgetful = (not_called, not_called_nor_annotated, misannotated, annotated, annotated_with_a_default)
    for endpoint in (*direct, *(make(guard) for make in (*forgetful, answering))):
        with pytest.raises(TypeError, match=r"who: Principal = guard\.require\(…\)"):
            app.post("/forged")(endpoint)
    with pytest.raises(TypeError, match=r"who: Principal = guard\.require\(…\)"):
        app.post("/forged", dependencies=[guard.require])(orders)
    with pytest.raises(TypeError, match=r"Depends\(guard\.require\(…\)\), not Depends\(guard\.require\)"):
        app.post("/forged")(depending(guard))
    with pytest.raises(TypeError, match=r"Depends\(guard\.require\(…\)\)"):
        app.post("/forged", dependencies=[Depends(guard.require)])(orders)
    assert api.post("/forged", json=MALLORY).status_code == 404


def test_a_model_holds_a_caller_and_makes_none() -> None:
    class Entry(BaseModel):
        who: Principal
        needed: Policy = Policy()

    alice = Principal(subject="alice", kind="session", issuer="", scopes=frozenset(), audience=())
    assert Entry(who=alice).who is alice
    with pytest.raises(ValidationError, match="a Principal comes from a guard"):
        Entry.model_validate({"who": MALLORY})
    with pytest.raises(ValidationError, match="a Principal comes from a guard"):
        Entry.model_validate_json('{"who": {"subject": "alice"}}')


def litestar_app(auth: Auth) -> Litestar:
    """Return an application that takes its caller from its guard in one place, and in others from the request."""
    guard = auth.guard(LitestarGuard)

    @dataclass
    class Order:
        who: Principal

    async def caller(request: Request[Any, Any, Any]) -> Principal:
        found: Principal = request.state.principal
        return found

    @get("/orders", guards=[guard.require("orders:read")], dependencies={"who": Provide(caller)})
    async def orders(who: Principal) -> str:
        return who.subject

    @get("/parameter")
    async def parameter(who: Principal) -> str:
        return who.subject

    @get("/provided", dependencies={"who": Provide(Principal, sync_to_thread=False)})
    async def provided(who: Principal) -> str:
        return who.subject

    @post("/body")
    async def body(data: Principal) -> str:
        return data.subject

    @post("/within")
    async def within(data: Order) -> str:
        return data.who.subject

    return Litestar([orders, parameter, provided, body, within])


def test_litestar_makes_no_caller_of_what_a_request_says(auth: Auth) -> None:
    token = auth.token("orders:read", user=(alice := auth.user("alice")))
    query = {**MALLORY, "scopes": ["orders:read", "x"], "audience": ["a", "b"], "issuer": "https://a.example"}
    with LitestarClient(litestar_app(auth)) as api:
        assert api.get("/orders", headers=token.headers).text == alice.id
        assert api.get("/orders").status_code == 401
        for answer in (
            api.get("/parameter", params={"who": json.dumps(MALLORY)}),
            api.get("/provided", params={**query, "who": "alice"}),
            api.post("/body", json=MALLORY),
            api.post("/within", json={"who": MALLORY}),
        ):
            assert answer.status_code == 400, answer.url
            assert "Missing required" not in answer.text or "'who'" in answer.text


@pytest.mark.parametrize("above", [False, True], ids=["below", "above"])
def test_in_fastapi_a_decorator_says_where_it_belongs(auth: Auth, above: bool) -> None:
    guard, app = auth.guard(Guard), FastAPI()

    def orders(who: Principal = Depends(guard.require("orders:read"))) -> str:
        return who.subject

    app.get("/orders")(orders)
    token, api = auth.token("orders:read", user=(alice := auth.user("alice"))), TestClient(app)
    assert api.get("/orders", headers=token.headers).json() == alice.id
    assert api.get("/orders").status_code == 401
    with pytest.raises(TypeError, match=r"no decorator here: write who: Principal = guard\.require\(…\)"):
        guard.require("orders:read")(app.get("/decorated")(orders) if above else orders)
