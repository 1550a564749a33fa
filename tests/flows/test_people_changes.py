"""What is changed of an account by the JSON API is changed wholly or not at all, and nothing else is."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fixtures.accounts import EMAIL, make, user_of
from tests.fixtures.people import letters
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.flows.test_people_api import headers

from watchword.flows.users import account_changes, people
from watchword.flows.users.people import Changes
from watchword.oauth.errors import OAuthError
from watchword.store import factors, faults
from watchword.store.audit.events import list_events
from watchword.store.user_changes import mail_reset_link, set_disabled
from watchword.store.users import find_user


async def test_an_address_that_somebody_else_changes_is_told_to_its_owner_at_the_old_one(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path, mode="development") as server:
        own = await headers(server, "watchword:users:write")
        address = f"/api/v1/users/{(await make(server)).id}"
        for email, told in (("Ada@example.com", 0), ("eve@example.net", 1), ("ada@example.org", 2)):
            changed = {"email": email, "email_verified": True}
            assert (await server.http.patch(address, json=changed, headers=own)).status_code == 200
            mailed = dict(await letters(server))
            assert len(mailed) == told, mailed
        assert "e…e@example.net" in mailed["Ada@example.com"]
        assert "a…a@example.org" in mailed["eve@example.net"]


@pytest.mark.parametrize(
    ("wished", "status"),
    [
        ({"email": "eve@example.com"}, 409),
        ({"email": "no address"}, 400),
        ({"email": "ada@example.net", "is_admin": False}, 409),
    ],
    ids=["an address that is taken", "none at all", "the last administrator's right"],
)
async def test_of_a_change_that_is_refused_nothing_is_made(
    server: Server, wished: dict[str, object], status: int
) -> None:
    own = await headers(server, "watchword:admin")
    await make(server, "eve", "eve@example.com")
    address = f"/api/v1/users/{(await make(server)).id}"
    more = {"is_admin": True, "display_name": "Ada", "attributes": {"given_name": "Ada"}}
    made = await server.http.patch(address, json={**more, "email": EMAIL}, headers=own)
    assert (made.status_code, made.json()["is_admin"]) == (200, True), "the honest variant"
    before = await user_of(server)
    refused = await server.http.patch(
        address, json={"display_name": "Eve", "attributes": {}, **wished}, headers=own
    )
    assert refused.status_code == status, refused.text
    assert await user_of(server) == before


async def test_an_account_is_made_as_it_was_wished_or_not_at_all_wherever_the_database_fails(
    server: Server,
) -> None:
    own = await headers(server, "watchword:users:write")
    outcomes = set()
    for turn in range(1, 5):
        given = {"username": f"kim{turn}", "email": f"kim{turn}@example.com", "email_verified": True}
        faults.arm(f"commit.begun=error@{turn}")
        try:
            answer = await server.http.post("/api/v1/users", json=given, headers=own)
        finally:
            faults.arm(None)
        found = await server.runtime.database.read(find_user, f"kim{turn}")
        assert found is None or found.email_verified_at is not None
        outcomes.add((answer.status_code, found is None))
    assert outcomes == {(503, True), (201, False)}


async def test_one_account_is_shown_in_every_answer_with_what_its_person_has_set_up(server: Server) -> None:
    own = await headers(server, "watchword:users:read watchword:users:write")
    user = await make(server)
    assert await server.runtime.database.write(
        factors.set_email_code, user.id, True, actor=user.id, now=server.runtime.now()
    )
    acts = (("GET", ""), ("PATCH", ""), ("POST", "/disable"), ("POST", "/enable"), ("DELETE", "/factors"))
    for method, path in acts:
        given = {} if method in ("PATCH", "POST") else None
        answer = await server.http.request(method, f"/api/v1/users/{user.id}{path}", json=given, headers=own)
        shown = answer.json()
        has = {name: shown[name] for name in ("passkeys", "totp", "recovery_codes", "email_code")}
        lost = method == "DELETE"
        assert has == {"passkeys": 0, "totp": False, "recovery_codes": 0, "email_code": not lost}, path


async def test_whose_second_steps_an_administrator_removes_is_told_once_and_not_who_or_where_that_was(
    store: Store, tmp_path: Path
) -> None:
    async with open_server(tmp_path, on=store.address, mode="development") as server:
        user, database = await make(server), server.runtime.database
        own, now = await headers(server, "watchword:users:write"), server.runtime.now()
        await database.write(factors.set_email_code, user.id, True, actor=user.id, now=now)
        for _ in range(2):
            gone = await server.http.delete(f"/api/v1/users/{user.id}/factors", headers=own)
            assert gone.status_code == 200
        trail = [event.name for event in await database.read(list_events, limit=50)]
        assert trail.count("user.factors_removed") == 1, "the second time there was none"
        (told,) = [text for to, text in await letters(server) if to == EMAIL]
    assert "removed every second step" in told
    assert "Device:" not in told, "the actor of the audit trail is no device"
    assert "From:" not in told


async def test_an_address_that_is_written_again_stays_verified_and_another_is_not(server: Server) -> None:
    power = await headers(server, "watchword:users:write")
    given = {"username": "kim", "email": "kim@example.com", "email_verified": True}
    made = (await server.http.post("/api/v1/users", json=given, headers=power)).json()

    async def change(**wish: object) -> dict[str, object]:
        answer = await server.http.patch(f"/api/v1/users/{made['id']}", json=wish, headers=power)
        document: dict[str, object] = answer.json()
        return document

    again = await change(email="kim@example.com", display_name="Kim")
    assert (again["display_name"], again["email_verified_at"]) == ("Kim", made["email_verified_at"])
    assert (await change(email="kim@other.example"))["email_verified_at"] is None
    assert "email_verified_at" in await change(email="kim@other.example", email_verified=True)
    assert (await change(email="kim@other.example", email_verified=False))["email_verified_at"] is None


@pytest.mark.parametrize(
    "wish",
    [
        {"email_verified": True},
        {"email": "kim@example.com", "email_verified": True},
        {"is_admin": True, "groups": ["staff"], "display_name": "Kim"},
    ],
    ids=" ".join,
)
async def test_what_is_so_already_ends_nothing_when_it_is_written_again(
    server: Server, wish: dict[str, object]
) -> None:
    power = await headers(server, "watchword:admin")
    given = {"username": "kim", "email": "kim@example.com", "email_verified": True}
    given |= {"is_admin": True, "groups": ["staff"]}
    made = (await server.http.post("/api/v1/users", json=given, headers=power)).json()
    account = f"/api/v1/users/{made['id']}"
    link = (await server.http.post(f"{account}/reset-link", json={}, headers=power)).json()["link"]
    server.clock.advance(60)
    again = await server.http.patch(account, json=wish, headers=power)
    assert again.json()["email_verified_at"] == made["email_verified_at"], "since when"
    assert (await server.http.get(link)).status_code == 200
    changed = await server.http.patch(account, json={"email_verified": False}, headers=power)
    assert changed.json()["email_verified_at"] is None
    assert (await server.http.get(link)).status_code == 404


@pytest.mark.parametrize("verified", [True, False])
async def test_an_address_is_kept_in_one_form_whether_verified_or_not(server: Server, verified: bool) -> None:
    power = await headers(server, "watchword:users:write")
    given = {"username": "kim", "email": "Kim@BÜCHER.example", "email_verified": verified}
    made = (await server.http.post("/api/v1/users", json=given, headers=power)).json()
    assert made["email"] == "Kim@xn--bcher-kva.example"
    account = f"/api/v1/users/{made['id']}"
    link = (await server.http.post(f"{account}/reset-link", json={}, headers=power)).json()["link"]
    again = await server.http.patch(account, json={"email": "Kim@BÜCHER.example"}, headers=power)
    assert again.json()["email"] == made["email"]
    assert (await server.http.get(link)).status_code == 200, "nothing was changed"


async def test_ad_07_a_link_of_an_account_that_was_disabled_stays_dead(server: Server) -> None:
    power = await headers(server, "watchword:users:write")
    made = await server.http.post("/api/v1/users", json={"username": "eve"}, headers=power)
    account = f"/api/v1/users/{made.json()['id']}"

    async def link() -> str:
        answer = await server.http.post(f"{account}/reset-link", json={}, headers=power)
        return str(answer.json()["link"])

    before = await link()
    assert (await server.http.get(before)).status_code == 200
    for way in ("disable", "enable"):
        assert (await server.http.post(f"{account}/{way}", json={}, headers=power)).status_code == 200
        assert (await server.http.get(before)).status_code == 404, way
    assert (await server.http.get(await link())).status_code == 200


async def test_what_is_so_already_is_no_change_in_the_audit_trail(server: Server) -> None:
    power = await headers(server, "watchword:admin")
    given = {"username": "kim", "email": "kim@example.com", "email_verified": True}
    so: dict[str, object] = {
        "display_name": "Kim",
        "email": "kim@example.com",
        "email_verified": True,
        "attributes": {"floor": 3},
        "groups": ["staff"],
        "is_admin": True,
    }
    made = (await server.http.post("/api/v1/users", json=given, headers=power)).json()
    account = f"/api/v1/users/{made['id']}"

    async def updates(wish: dict[str, object]) -> int:
        answer = await server.http.patch(account, json=wish, headers=power)
        assert answer.status_code == 200
        trail = await server.runtime.database.read(list_events, target=made["id"], limit=50)
        return [event.name for event in trail].count("user.updated")

    assert await updates(so) == 1
    server.clock.advance(60)
    for wish in ({}, so, *({name: value} for name, value in so.items())):
        assert await updates(wish) == 1, wish
    assert await updates({"display_name": ""}) == 2
    assert await updates({"display_name": ""}) == 2
    assert await updates({"attributes": {}}) == 3


async def test_an_account_that_is_disabled_or_enabled_already_is_left_as_it_is(server: Server) -> None:
    account, read, write = await make(server), server.runtime.database.read, server.runtime.database.write
    seen = []
    for disabled in (True, True, False, False):
        server.clock.advance(60)
        done = await write(set_disabled, account.id, disabled, actor="test", now=server.runtime.now())
        assert done == "changed"
        seen.append((await user_of(server)).disabled_at)
    assert seen[0] is not None
    assert seen == [seen[0], seen[0], None, None], "since when"
    told = [event.name for event in await read(list_events, limit=50)]
    assert [told.count(f"user.{name}") for name in ("disabled", "enabled")] == [1, 1]
    assert (
        await write(set_disabled, "user_unknown", True, actor="test", now=server.runtime.now()) == "unknown"
    )


async def test_ad_07_an_account_that_is_disabled_while_a_link_is_asked_for_gets_none(server: Server) -> None:
    ada, now = await make(server), server.runtime.now()
    asked = {"expires_at": now + 1800, "now": now}

    async def mailed(link: bytes) -> bool:
        return await server.runtime.database.write(mail_reset_link, link, ada.id, EMAIL, **asked)

    assert await mailed(b"a" * 32)
    await server.runtime.database.write(set_disabled, ada.id, True, actor="test", now=now)
    assert not await mailed(b"b" * 32)


async def test_what_is_asked_of_an_account_that_was_deleted_since_it_was_read_leaves_no_trace(
    server: Server,
) -> None:
    runtime = server.runtime
    user = await make(server)
    await account_changes.delete(runtime, user, actor="test")
    acts: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: people.change(runtime, user, Changes(display_name="Ada"), actor="test"),
        lambda: people.change(runtime, user, Changes(email="ada@example.net"), actor="test"),
        lambda: people.remove_factors(runtime, user, actor="test"),
        lambda: account_changes.set_disabled(runtime, user, True, actor="test"),
        lambda: account_changes.delete(runtime, user, actor="test"),
    )
    for act in acts:
        with pytest.raises(OAuthError) as refused:
            await act()
        assert refused.value.code == "not_found"
    trail = await runtime.database.read(list_events, target=user.id, limit=9)
    assert trail[0].name == "user.deleted", "the newest comes first"
