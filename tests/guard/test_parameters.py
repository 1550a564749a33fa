"""Parameters that a framework fills: a caller is what a guard says, and nobody becomes one by sending it."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, FastAPI
from pydantic import BaseModel, ValidationError
from starlette.testclient import TestClient

from watchword.guard.fastapi import Guard, Policy, Principal
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
    for endpoint in (without, perhaps, several, not_called(guard), annotated(guard), answering(guard)):
        with pytest.raises(TypeError, match=r"who: Principal = guard\.require\(…\)"):
            app.post("/forged")(endpoint)
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
