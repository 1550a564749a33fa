"""A credential that others may have is ended by its text: all of what it opens, and nothing else."""

from pathlib import Path

import httpx
import msgspec
import pytest
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.flows.test_status_lists import status_of
from tests.flows.test_token_exchange import API, DOWN, FORMATS, caller, look, own, service, swap

from watchword.flows import api_tokens, leaks
from watchword.flows.api_tokens import Issued
from watchword.oauth import token_format
from watchword.store.audit import events


async def end(server: Server, text: str) -> tuple[str, bool]:
    finding, ended = await leaks.end(server.runtime, text, actor="operator")
    return finding.reason, ended


async def is_active(server: Server, token: str) -> bool:
    if token.startswith("wwa_"):
        headers = {"authorization": f"Bearer {token}"}
        return (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    asking = await server.client(scope="introspect", grant_types=["client_credentials"])
    return bool((await server.post("/introspect", asking, token=token)).json()["active"])


async def done(server: Server, name: str) -> list[tuple[str, str]]:
    found = await server.runtime.database.read(events.list_events, limit=20, name=name)
    return [(event.actor, event.target) for event in found]


async def test_an_api_token_ends_with_what_was_narrowed_from_it(server: Server) -> None:
    issued, other = await server.token(), await server.token()
    narrow = {"scope": "orders:read", "expires_in": 600}
    headers = {"authorization": f"Bearer {issued.secret}"}
    narrowed = (await server.http.post("/api/v1/tokens/self/narrow", json=narrow, headers=headers)).json()[
        "token"
    ]
    assert await is_active(server, narrowed)
    assert await end(server, f"Bearer {issued.secret}") == ("active", True)
    assert [await is_active(server, one) for one in (issued.secret, narrowed, other.secret)] == [
        False,
        False,
        True,
    ]
    assert ("operator", issued.token.id) in await done(server, "token.compromised")
    assert await end(server, issued.secret) == ("revoked", False)


async def test_a_secret_that_was_replaced_does_not_end_the_one_that_replaced_it(server: Server) -> None:
    issued = await server.token()
    rotated = await api_tokens.rotate(server.runtime, issued.token.id, overlap=0, actor="test")
    assert await end(server, issued.secret) == ("rotated", False)
    server.runtime.settings = msgspec.structs.replace(server.runtime.settings, exposed_tokens="revoke")
    assert (await server.http.post("/exposed", data={"token": issued.secret})).status_code == 200
    assert await done(server, "token.exposed") == []
    assert await is_active(server, rotated.secret)
    limited = await server.token(addresses=["192.0.2.0/24"], path="/orders")
    assert (await server.http.post("/exposed", data={"token": limited.secret})).status_code == 200
    assert await done(server, "token.compromised") == [("guard", limited.token.id)], "the honest variant"
    assert await end(server, rotated.secret) == ("active", True)
    assert not await is_active(server, rotated.secret)


@pytest.mark.parametrize("limit", [{"quota": 1}, {"rate_limit": 1}])
async def test_a_token_that_is_used_up_for_now_ends_as_well(server: Server, limit: dict[str, int]) -> None:
    issued = await server.token(**limit)
    assert await is_active(server, issued.secret)
    assert not await is_active(server, issued.secret), "used up"
    assert (await end(server, issued.secret))[1] is True
    server.clock.advance(120)
    assert not await is_active(server, issued.secret)


@pytest.mark.parametrize("form", ["opaque", "jwt"])
async def test_an_access_token_ends_by_itself(server: Server, form: str) -> None:
    client = await server.client(access_token_format=form)
    token, other = [(await server.grant(client)).json()["access_token"] for _ in range(2)]
    assert await is_active(server, token)
    assert await end(server, token) == ("active", True)
    assert [await is_active(server, one) for one in (token, other)] == [False, True]
    assert await end(server, token) == ("revoked", False)


async def test_its_status_list_tells_of_a_token_that_was_ended_by_its_text(server: Server) -> None:
    client = await server.client(access_token_status=True)
    token, other = [(await server.grant(client)).json()["access_token"] for _ in range(2)]
    assert [await status_of(server, one) for one in (token, other)] == [0, 0]
    assert await end(server, token) == ("active", True)
    assert [await status_of(server, one) for one in (token, other)] == [1, 0]
    server.clock.advance(3600)
    assert await end(server, other) == ("expired", True), "nothing stands in the way of it"


@FORMATS
async def test_an_access_token_ends_with_those_that_were_exchanged_for_it(
    server: Server, token_format: str
) -> None:
    asked, api = await caller(server, access_token_format=token_format), await service(server)
    token = await own(server, asked, resource=API)
    made = [(await swap(server, api, token, audience=DOWN)).json()["access_token"] for _ in range(2)]
    assert await end(server, made[0]) == ("active", True)
    assert (await look(server, asked, token))["active"] is True
    assert [(await look(server, api, one))["active"] for one in made] == [False, True]
    assert await end(server, token) == ("active", True)
    assert (await look(server, api, made[1]))["active"] is False
    assert await end(server, made[1]) == ("parent_ended", False)


@pytest.mark.parametrize("older", [False, True], ids=["its newest token", "one that was replaced"])
async def test_a_refresh_token_ends_its_whole_grant(server: Server, older: bool) -> None:
    client = await register(server)
    answer = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    newest = (await refresh(server, client, answer["refresh_token"])).json()
    assert await is_active(server, newest["access_token"])
    server.clock.advance(60)
    reason, ended = await end(server, (answer if older else newest)["refresh_token"])
    assert (reason, ended) == ("replaced" if older else "active", True)
    assert not await is_active(server, newest["access_token"])
    assert (await refresh(server, client, newest["refresh_token"])).json()["error"] == "invalid_grant"
    assert [actor for actor, _ in await done(server, "grant.ended")] == ["operator"]


async def test_nobody_ends_a_grant_by_a_text_that_only_begins_like_one_of_its_tokens(server: Server) -> None:
    client = await register(server)
    token = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    mark = token_format.family_mark(token)
    for forged in (
        token_format.make("ww", "r", bytes(range(48)), mark),
        token_format.make_refresh_token("ww", bytes(range(48)), bytes(32), mark),
    ):
        assert token_format.kind_of(forged, "ww") == "r"
        assert await end(server, forged) == ("unknown", False)
    assert await end(server, token.replace("ww", "xx", 1)) == ("nothing", False)
    assert (await refresh(server, client, token)).status_code == 200
    assert await end(server, token) == ("replaced", True)


@pytest.mark.parametrize("form", ["opaque", "jwt"])
@pytest.mark.parametrize(("wrong", "reason"), [(3600, "expired"), (-3600, "too_early")])
async def test_an_access_token_ends_whatever_this_nodes_clock_makes_of_it(
    server: Server, form: str, wrong: int, reason: str
) -> None:
    client = await server.client(access_token_format=form)
    token, other = [(await server.grant(client)).json()["access_token"] for _ in range(2)]
    server.clock.advance(wrong)
    assert await end(server, token) == (reason, True)
    server.clock.advance(-wrong)
    assert [await is_active(server, one) for one in (token, other)] == [False, True]


async def test_access_that_outlives_an_expired_refresh_token_ends_with_it(
    store: Store, tmp_path: Path
) -> None:
    async with open_server(tmp_path, on=store.address, refresh_token_idle=60) as server:
        client = await register(server)
        answer = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
        server.clock.advance(60)
        assert await is_active(server, answer["access_token"])
        assert await end(server, answer["refresh_token"]) == ("expired", True)
        assert not await is_active(server, answer["access_token"])
        assert await end(server, answer["refresh_token"]) == ("grant_ended", False)


async def test_what_opens_nothing_is_told_and_left(server: Server) -> None:
    secret = (await server.client()).client_secret or ""
    before = await server.runtime.database.read(events.list_events, limit=50)
    for text, reason in ((secret, "elsewhere"), ("hello", "nothing"), (secret[:-1], "mistyped")):
        assert await end(server, text) == (reason, False)
    assert await server.runtime.database.read(events.list_events, limit=50) == before


async def test_the_admin_api_explains_and_ends_for_those_who_may(server: Server) -> None:
    reader = await server.token(scope="watchword:tokens:read")
    writer = await server.token(scope="watchword:tokens:write")
    found = await server.token(jkt="A" * 43)

    async def ask(path: str, by: Issued, text: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {by.secret}"}
        return await server.http.post(f"/api/v1/tokens/{path}", json={"token": text}, headers=headers)

    told = (await ask("explain", reader, f"Bearer {found.secret}")).json()
    assert (told["kind"], told["reason"], told["token_id"], told["bound"]) == (
        "a",
        "active",
        found.token.id,
        True,
    )
    assert found.secret not in str(told)
    for refused in (await ask("explain", writer, found.secret), await ask("leaked", reader, found.secret)):
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    assert (await ask("leaked", writer, found.secret)).json()["ended"] is True
    assert (await ask("explain", reader, found.secret)).json()["reason"] == "revoked"
    assert (await ask("explain", reader, "")).status_code == 400
