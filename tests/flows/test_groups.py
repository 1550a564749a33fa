"""Groups of people: what they open, what tokens tell of them, and that who leaves one loses what it opened (TK-08)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures import devices
from tests.fixtures.accounts import user_of
from tests.fixtures.code_flow import (
    PASSWORD,
    answer_of,
    decide,
    redeem,
    refresh,
    register,
    request,
    sign_in,
)
from tests.fixtures.relying_party import claims_of
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.flows.users import accounts, people
from watchword.flows.users.people import Changes
from watchword.oauth.errors import OAuthError
from watchword.settings import ScopeText, SettingsError
from watchword.store import api_tokens as tokens
from watchword.store import users

SCOPES = {
    "orders:write": ScopeText(sentence="Change orders", personal=True, groups=("staff", "managers")),
    "orders:read": ScopeText(sentence="See orders", personal=True),
}
SCOPE = "openid groups orders:read orders:write offline_access"

server = server_with(scopes=SCOPES)


async def put_in(server: Server, *groups: str, name: str = "ada") -> None:
    """Set the groups of a person, as an operator does."""
    user = await user_of(server, name)
    await people.change(server.runtime, user, Changes(groups=groups), actor="ops")


async def signed_in(server: Server, *groups: str) -> Any:
    """Let somebody of these groups agree to everything; return the client and the answer to the code."""
    client = await register(server, scope=SCOPE)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, groups=groups, actor="test")
    back = await sign_in(server, await server.http.get("/authorize", params=request(client, scope=SCOPE)))
    consent = await server.http.get(back.headers["location"])
    return client, consent


async def test_a_scope_for_members_is_shown_to_them_alone_and_told_as_left_out(server: Server) -> None:
    client, consent = await signed_in(server, "staff", "north")
    assert "Change orders" in consent.text
    member = (await redeem(server, client, answer_of(await decide(server, consent))["code"])).json()
    assert set(member["scope"].split()) == set(SCOPE.split())
    await put_in(server, "north")
    consent = await server.http.get("/authorize", params=request(client, scope=SCOPE, prompt="consent"))
    assert "See orders" in consent.text
    assert "Change orders" not in consent.text
    other = (await redeem(server, client, answer_of(await decide(server, consent))["code"])).json()
    assert set(other["scope"].split()) == set(SCOPE.split()) - {"orders:write"}, "RFC 6749 §3.3"
    assert "orders:write" not in claims_of(other["access_token"])["scope"]


async def test_who_may_have_nothing_of_a_request_is_sent_back_with_a_denial(server: Server) -> None:
    client, _ = await signed_in(server)
    asked = request(client, scope="orders:write", nonce=None)
    for prompt in (None, "none"):
        answer = answer_of(
            await server.http.get("/authorize", params=asked | ({"prompt": prompt} if prompt else {}))
        )
        assert answer["error"] == "access_denied"
        assert answer["state"] == asked["state"]
    await put_in(server, "managers")
    assert "Change orders" in (await server.http.get("/authorize", params=asked)).text, "the honest variant"


async def test_tokens_tell_the_groups_where_their_scope_was_granted(server: Server) -> None:
    client, consent = await signed_in(server, "staff", "north")
    told = (await redeem(server, client, answer_of(await decide(server, consent))["code"])).json()
    headers = {"authorization": f"Bearer {told['access_token']}"}
    userinfo = (await server.http.get("/userinfo", headers=headers)).json()
    said = [claims_of(told["id_token"]), claims_of(told["access_token"]), userinfo]
    said.append(
        (
            await server.post(
                "/introspect", await server.client(scope="introspect"), token=told["access_token"]
            )
        ).json()
    )
    assert [one.get("groups") for one in said] == [["north", "staff"]] * 4
    narrower = (await refresh(server, client, told["refresh_token"], scope="openid orders:read")).json()
    assert "groups" not in claims_of(narrower["id_token"])
    assert "groups" not in claims_of(narrower["access_token"])


async def test_tk_08_who_leaves_a_group_loses_what_it_opened_with_the_next_token(server: Server) -> None:
    client, consent = await signed_in(server, "staff")
    first = (await redeem(server, client, answer_of(await decide(server, consent))["code"])).json()
    second = (await refresh(server, client, first["refresh_token"])).json()
    assert "orders:write" in second["scope"].split(), "the honest variant"
    await put_in(server, "north")
    third = (await refresh(server, client, second["refresh_token"])).json()
    assert set(third["scope"].split()) == set(SCOPE.split()) - {"orders:write"}
    assert claims_of(third["id_token"])["groups"] == ["north"]
    asked = await refresh(server, client, third["refresh_token"], scope="orders:write")
    assert asked.json()["error"] == "invalid_scope"
    await put_in(server, "managers")
    again = (await refresh(server, client, third["refresh_token"])).json()
    assert "orders:write" in again["scope"].split(), "what was agreed to comes back with the group"


async def test_a_code_gives_no_more_than_its_person_may_have_when_it_is_redeemed(server: Server) -> None:
    client, consent = await signed_in(server, "staff")
    code = answer_of(await decide(server, consent))["code"]
    await put_in(server)
    assert "orders:write" not in (await redeem(server, client, code)).json()["scope"].split()


async def test_a_consent_page_that_was_open_when_a_group_was_left_grants_no_more(server: Server) -> None:
    client, consent = await signed_in(server, "staff")
    assert "Change orders" in consent.text
    await put_in(server)
    granted = (await redeem(server, client, answer_of(await decide(server, consent))["code"])).json()
    assert "orders:write" not in granted["scope"].split()
    await put_in(server, "staff")
    page = await server.http.get("/authorize", params=request(client, scope=SCOPE))
    assert "Change orders" in page.text, "what was never agreed to is asked for"


async def test_a_device_gets_what_is_open_to_who_lets_it_in(server: Server) -> None:
    device = await devices.register(server, scope=SCOPE)
    await devices.person(server)
    for groups, scope in (((), "openid orders:read"), (("staff",), "openid orders:read orders:write")):
        await put_in(server, *groups)
        codes = await devices.begin(server, device, scope="openid orders:read orders:write")
        page = await devices.enter(server, codes["user_code"])
        assert ("Change orders" in page.text) == bool(groups)
        await devices.decide(server, page)
        assert (await devices.poll(server, device, codes)).json()["scope"] == scope
    await put_in(server)
    codes = await devices.begin(server, device, scope="orders:write")
    assert (
        "Nothing that was requested is open to this person."
        in (await devices.enter(server, codes["user_code"])).text
    )


async def test_a_client_for_members_lets_nobody_else_in(server: Server) -> None:
    client = await register(server, scope=SCOPE, groups=["staff"])
    await accounts.create(server.runtime, username="eve", password=PASSWORD, groups=("north",), actor="test")
    asked = request(client, scope="openid")
    back = await sign_in(server, await server.http.get("/authorize", params=asked), "eve")
    assert answer_of(await server.http.get(back.headers["location"]))["error"] == "access_denied"
    assert (
        answer_of(await server.http.get("/authorize", params=asked | {"prompt": "none"}))["error"]
        == "access_denied"
    )
    await accounts.create(server.runtime, username="ada", password=PASSWORD, groups=("staff",), actor="test")
    other = await server.http.get("/authorize", params=asked | {"prompt": "login"})
    back = await sign_in(server, other, "ada")  # who is signed in already may be somebody else
    consent = await server.http.get(back.headers["location"])
    code = answer_of(await decide(server, consent))["code"]
    given = (await redeem(server, client, code)).json()
    assert (await refresh(server, client, given["refresh_token"])).status_code == 200, "the honest variant"
    await put_in(server)
    left = await refresh(server, client, given["refresh_token"])
    assert left.json()["error"] == "invalid_grant"


async def test_a_device_of_a_client_for_members_is_let_in_by_one(server: Server) -> None:
    device = await devices.register(server, groups=["staff"])
    await devices.person(server)
    codes = await devices.begin(server, device)
    refused = await devices.enter(server, codes["user_code"])
    assert "members of groups that this person is not in" in refused.text
    await put_in(server, "staff")
    await devices.decide(server, await devices.enter(server, codes["user_code"]))
    assert (await devices.poll(server, device, codes)).status_code == 200


async def test_only_operators_say_whom_a_client_is_for(tmp_path: Path) -> None:
    async with open_server(tmp_path, registration="open") as server:
        admin = {"Authorization": f"Bearer {(await server.token(scope='watchword:admin')).secret}"}
        document: dict[str, Any] = {"redirect_uris": ["https://app.example.com/cb"], "groups": ["x"]}
        made = (await server.http.post("/register", json=document)).json()
        one = f"/api/v1/clients/{made['client_id']}"
        shown = (await server.http.get(one, headers=admin)).json()
        assert "groups" not in shown
        wrong = {"client": {"name": "x", "groups": ["a b"]}, "version": shown["version"]}
        assert (await server.http.put(one, json=wrong, headers=admin)).status_code == 400
        told = {
            "name": "x",
            "redirect_uris": document["redirect_uris"],
            "grant_types": ["authorization_code"],
        }
        told |= {"groups": ["staff"], "token_endpoint_auth_method": "none"}
        kept = await server.http.put(one, json={"client": told, "version": shown["version"]}, headers=admin)
        assert (kept.status_code, kept.json()["groups"]) == (200, ["staff"])
        own = {"Authorization": f"Bearer {made['registration_access_token']}"}
        again = document | {"client_id": made["client_id"]}
        changed = await server.http.put(made["registration_client_uri"], json=again, headers=own)
        assert changed.status_code == 200, changed.text
        assert (await server.http.get(one, headers=admin)).json()["groups"] == ["staff"]


async def make_token(server: Server, scope: str) -> api_tokens.Issued:
    user = await user_of(server)
    wanted = TokenInput(name="nightly", scope=scope)
    return await api_tokens.create(server.runtime, wanted, owner=("user", user.id), actor="ops")


async def test_api_tokens_of_a_person_end_with_the_group_that_opened_their_scope(server: Server) -> None:
    await accounts.create(
        server.runtime, username="ada", password=PASSWORD, groups=("staff", "north"), actor="test"
    )
    writing, reading = (
        await make_token(server, "orders:read orders:write"),
        await make_token(server, "orders:read"),
    )

    async def live() -> set[str]:
        found = [
            await server.runtime.database.read(tokens.get_token, one.token.id) for one in (writing, reading)
        ]
        return {one.scope for one in found if one is not None and one.revoked_at is None}

    await put_in(server, "managers")
    assert await live() == {"orders:read orders:write", "orders:read"}, "another group opens it as well"
    await put_in(server)
    assert await live() == {"orders:read"}
    with pytest.raises(OAuthError, match="invalid_scope") as refused:
        await make_token(server, "orders:write")
    assert "groups" in refused.value.description
    assert refused.value.detail == "not allowed: orders:write"


async def test_a_token_made_while_its_owner_leaves_a_group_does_not_stay(server: Server) -> None:
    await accounts.create(server.runtime, username="ada", password=PASSWORD, groups=("staff",), actor="test")
    for _ in range(5):
        await put_in(server, "staff")
        made, _ = await asyncio.gather(
            make_token(server, "orders:write"), put_in(server), return_exceptions=True
        )
        if isinstance(made, api_tokens.Issued):
            kept = await server.runtime.database.read(tokens.get_token, made.token.id)
            assert kept is not None
            assert kept.revoked_at is not None
        else:
            assert isinstance(made, OAuthError)


async def test_operators_set_groups_and_the_trail_says_who_joined_and_left(server: Server) -> None:
    admin = {"Authorization": f"Bearer {(await server.token(scope='watchword:admin')).secret}"}
    made = await server.http.post(
        "/api/v1/users", json={"username": "ada", "groups": ["b", "a", "b"]}, headers=admin
    )
    assert (made.status_code, made.json()["groups"]) == (201, ["a", "b"])
    one = f"/api/v1/users/{made.json()['id']}"
    kept = await server.http.patch(one, json={"display_name": "Ada"}, headers=admin)
    assert kept.json()["groups"] == ["a", "b"], "what is left out stays"
    changed = await server.http.patch(one, json={"groups": ["b", "c"]}, headers=admin)
    assert changed.json()["groups"] == ["b", "c"]
    await server.http.patch(one, json={"groups": ["c", "b"]}, headers=admin)  # nothing that anybody did
    events = await server.http.get("/api/v1/events", params={"name": "user.groups_changed"}, headers=admin)
    (event,) = events.json()["events"]
    assert (event["data"]["joined"], event["data"]["left"]) == (["c"], ["a"])
    for wrong in (["a b"], ["-x"], ["ä"], ["x" * 101], [""], [f"g{n}" for n in range(101)], "staff"):
        refused = await server.http.patch(one, json={"groups": wrong}, headers=admin)
        assert refused.status_code == 400, wrong
        assert "groups" in refused.text
    assert (await server.http.patch(one, json={"groups": []}, headers=admin)).json()["groups"] == []


async def test_operators_list_who_is_in_a_group(server: Server) -> None:
    admin = {"Authorization": f"Bearer {(await server.token(scope='watchword:admin')).secret}"}
    groups = {
        "ada": ("staff", "north"),
        "bob": ("staffing",),
        "cyd": ("sta_f", "x"),
        "dan": (),
        "eve": ("staff",),
    }
    for name, member_of in groups.items():
        await accounts.create(server.runtime, username=name, groups=member_of, actor="test")

    async def listed(**query: str) -> list[str]:
        found, cursor = [], ""
        while cursor is not None:
            asked = {**query, "limit": "1", "cursor": cursor}
            page = (await server.http.get("/api/v1/users", params=asked, headers=admin)).json()
            found += [one["username"] for one in page["users"]]
            cursor = page["next"]
        return sorted(found)

    assert await listed() == sorted(groups)
    assert await listed(group="staff") == ["ada", "eve"]
    assert await listed(group="sta_f") == ["cyd"], "no wildcard"
    assert await listed(group="staff", search="e") == ["eve"]
    for nobody in ("Staff", "nort", 'north","staff', '"', ",", "[]", "%"):
        assert await listed(group=nobody) == [], nobody
    typed = {"search": "", "group": "\udcff", "after": "", "limit": 9}  # as a shell hands on what is no UTF-8
    assert await server.runtime.database.read(users.search_users, **typed) == []
    await put_in(server, "north", name="eve")
    assert await listed(group="north") == ["ada", "eve"]
    assert await listed(group="staff") == ["ada"]


async def test_ad_06_an_attribute_does_not_speak_for_the_groups(server: Server) -> None:
    admin = {"Authorization": f"Bearer {(await server.token(scope='watchword:admin')).secret}"}
    user = await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    claimed = {"attributes": {"groups": ["staff"]}}
    refused = await server.http.patch(f"/api/v1/users/{user.id}", json=claimed, headers=admin)
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("scope", "groups"),
    [("orders:write", ("a b",)), ("openid", ("staff",))],
    ids=["no name of a group", "signing in"],
)
async def test_settings_that_nobody_could_satisfy_are_refused(
    tmp_path: Path, scope: str, groups: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError, match=f"scopes.{scope}.groups"):
        async with open_server(tmp_path, scopes={scope: ScopeText(groups=groups)}):
            pass
