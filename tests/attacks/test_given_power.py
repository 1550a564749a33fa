"""AP-05, AP-06: what a token gives by way of an account, a client or an exchange is no more than it has itself."""

from typing import Any

import pytest
from tests.attacks.test_administration import bearer, call
from tests.fixtures.servers import Server

from watchword.flows.api_tokens import Issued
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts, people
from watchword.flows.users.people import Changes
from watchword.oauth import exchange
from watchword.store.users import User


@pytest.mark.parametrize("limit", [{"quota": 50}, {"path": "/api/v1"}], ids=["quota", "path"])
async def test_ap_05_a_limited_token_makes_and_opens_no_administrators_account(
    server: Server, monkeypatch: pytest.MonkeyPatch, limit: dict[str, Any]
) -> None:
    free = await server.token(scope="watchword:admin")
    limited = await server.token(scope="watchword:admin", **limit)
    for name, is_admin in (("root", True), ("kim", False)):
        await accounts.create(
            server.runtime, username=name, email=f"{name}@example.com", is_admin=is_admin, actor="test"
        )

    def opening(whose: str) -> list[tuple[str, str, object]]:
        address = {"email": f"thief-of-{whose}@example.com", "email_verified": True}
        at = f"/users/{whose}"
        return [
            ("POST", f"{at}/reset-link", {}),
            ("PATCH", at, address),
            ("PATCH", at, {"email_verified": True}),
            ("DELETE", f"{at}/factors", None),
            ("POST", f"{at}/enable", {}),
        ]

    powerful: list[tuple[str, str, object]] = [
        ("POST", "/users", {"username": "eve", "is_admin": True}),
        ("POST", "/users/invite", {"email": "ann@example.com", "is_admin": True}),
        ("PATCH", "/users/kim", {"is_admin": True}),
        *opening("root"),
    ]
    for method, path, body in powerful:
        refused = await call(server, limited, method, path, body)
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope"), (path, body)
    for method, path, body in opening("kim"):
        done = await call(server, limited, method, path, body)
        assert done.is_success, "an ordinary account gives no power"
    assert (await call(server, limited, "PATCH", "/users/root", {"display_name": "R"})).status_code == 200
    find = people.find

    async def promoted_just_now(runtime: Runtime, who: str) -> User:
        found = await find(runtime, who)
        if not found.is_admin:
            await people.change(server.runtime, found, Changes(is_admin=True), actor="test")
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(people, "find", promoted_just_now)
        assert (await call(server, limited, "POST", "/users/kim/reset-link", {})).status_code == 403
    assert (await call(server, free, "PATCH", "/users/kim", {"is_admin": False})).status_code == 200
    for method, path, body in powerful:
        assert (await call(server, free, method, path, body)).is_success, (path, body)


async def test_ap_05_a_changed_client_has_no_power_that_the_caller_lacks(server: Server) -> None:
    low = await server.token(scope="watchword:clients:write")
    high = await server.token(scope="watchword:clients:write watchword:users:read")
    limited = await server.token(scope="watchword:clients:write watchword:users:read", path="/api/v1/clients")
    client = await server.client(scope="orders:read")
    place = f"/clients/{client.client.client_id}"

    async def give(token: Issued, version: int, scope: str) -> tuple[int, str]:
        change = {"version": version, "client": {"name": "a client", "scope": scope}}
        answer = await call(server, token, "PUT", place, change)
        return answer.status_code, answer.json().get("error") or answer.json()["scope"]

    assert await give(low, 1, "orders:read orders:write") == (200, "orders:read orders:write")
    for token in (low, limited):
        assert await give(token, 2, "orders:read watchword:users:read") == (403, "insufficient_scope")
    assert await give(high, 2, "orders:read watchword:users:read") == (
        200,
        "orders:read watchword:users:read",
    )
    assert await give(low, 3, "watchword:users:read") == (403, "insufficient_scope"), "nor does it keep it"
    assert await give(low, 3, "orders:read") == (200, "orders:read"), "to take it away is always right"
    assert await give(high, 3, "orders:read watchword:users:read") == (412, "precondition_failed")


async def test_ap_06_an_exchanged_api_token_does_not_tell_who_its_owner_is(server: Server) -> None:
    await accounts.create(server.runtime, username="kim", email="kim@example.com", actor="test")
    owned = await server.token(scope="openid email orders:read", owner="kim")
    client = await server.client(scope="openid email orders:read", grant_types=["token_exchange"])
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": owned.secret,
        "subject_token_type": exchange.ACCESS_TOKEN,
    }
    exchanged = await server.post("/token", client, **form)
    assert (exchanged.status_code, exchanged.json()["scope"]) == (200, "email orders:read")
    told = await server.http.get("/userinfo", headers=bearer(exchanged.json()["access_token"]))
    assert (told.status_code, told.json()["error"]) == (403, "insufficient_scope")
    asked = await server.post("/token", client, **form, scope="openid")
    assert (asked.status_code, asked.json()["error"]) == (400, "invalid_scope")
