"""What ends with a session, an account or a client, whoever ends it and by whatever way."""

import json
from typing import Any

import httpx
import pytest
from tests.fixtures.accounts import another, make, session_of
from tests.fixtures.applications import (
    ENDS,
    OFFLINE,
    ada,
    application,
    code_for,
    connect,
    end,
    is_alive,
    is_signed_in,
)
from tests.fixtures.code_flow import redeem, refresh
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, together

from watchword import jobs
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.store.database import Transaction

__all__ = ["ada"]


DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.mark.parametrize("way", ENDS)
async def test_tk_02_what_was_issued_from_a_session_ends_with_it(ada: Person, way: str) -> None:
    jwt_client = await application(ada.server, access_token_lifetime=86_400)
    opaque = await application(ada.server, access_token_format="opaque", access_token_lifetime=86_400)
    issued = [(client, await connect(ada, client)) for client in (jwt_client, opaque)]
    pending = await code_for(ada, jwt_client)
    for client, tokens in issued:
        assert await is_alive(ada.server, client, tokens["access_token"])
    await end(ada, way)
    for client, tokens in issued:
        assert not await is_alive(ada.server, client, tokens["access_token"])
        assert (await refresh(ada.server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    headers = {"authorization": f"Bearer {issued[0][1]['access_token']}"}
    assert (await ada.server.http.get("/userinfo", headers=headers)).status_code == 401
    assert (await redeem(ada.server, jwt_client, pending)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("way", ENDS)
async def test_offline_access_outlives_the_session_but_not_the_account_or_a_changed_password(
    ada: Person, way: str
) -> None:
    client = await application(ada.server)
    tokens = await connect(ada, client, OFFLINE)
    await end(ada, way)
    answer = await refresh(ada.server, client, tokens["refresh_token"])
    lives_on = way not in ("password", "disable", "delete", "end others and their access")
    assert (answer.status_code == 200) == lives_on, answer.text


async def test_a_code_for_offline_access_is_worth_nothing_once_its_session_has_ended(ada: Person) -> None:
    client = await application(ada.server)
    assert (await redeem(ada.server, client, await code_for(ada, client, OFFLINE))).status_code == 200
    code = await code_for(ada, client, OFFLINE)
    await end(ada, "sign out")
    assert (await redeem(ada.server, client, code)).json()["error"] == "invalid_grant"


async def test_a_session_that_runs_out_is_ended_and_recorded(ada: Person) -> None:
    session = await session_of(ada.server)
    ada.server.clock.advance(ada.server.settings.session_idle - 1)
    await jobs.housekeeping(ada.server.runtime)
    assert not await ends_of(ada.server, session.id)
    ada.server.clock.advance(1)
    await jobs.housekeeping(ada.server.runtime)
    assert await ends_of(ada.server, session.id) == ["expired"]
    await jobs.housekeeping(ada.server.runtime)
    assert len(await ends_of(ada.server, session.id)) == 1


async def ends_of(server: Server, session_id: str) -> list[str | None]:
    """Return why a session ended, as often as it did."""

    async def read(tx: Transaction) -> list[str | None]:
        rows = await tx.all(
            "SELECT data FROM events WHERE name = 'session.ended' AND target = $1", session_id
        )
        return [json.loads(row["data"]).get("reason") for row in rows]

    return await server.runtime.database.read(read)


async def test_mn_05_after_the_answer_to_a_logout_on_one_node_nothing_that_the_other_refreshed_lives(
    store: Store, tmp_path: Any
) -> None:
    async with open_server(tmp_path, on=store.address) as one, open_server(tmp_path, on=store.address) as two:
        await make(one)
        for round_ in range(8):
            client = await application(one, access_token_format="opaque" if round_ % 2 else "jwt")
            ada = Person(one, another(one))
            await ada.sign_in()
            tokens = await connect(ada, client)
            if round_ == 0:
                honest = await refresh(two, client, tokens["refresh_token"])
                assert honest.status_code == 200, "the honest variant: nobody signs out"
                assert await is_alive(one, client, honest.json()["access_token"])
                tokens |= honest.json()
            await ada.open("/sign-out")
            answers = await together(
                ada.send({"decision": "sign_out"}),
                *(refresh(two, client, tokens["refresh_token"]) for _ in range(3)),
            )
            assert answers[0].status_code == 200
            for answer in (tokens, *(won.json() for won in answers[1:] if won.status_code == 200)):
                again = await refresh(two, client, answer["refresh_token"])
                assert again.json()["error"] == "invalid_grant"
                assert not await is_alive(one, client, answer["access_token"])
                assert not await is_alive(two, client, answer["access_token"])


async def test_ad_07_a_disabled_or_deleted_client_is_worth_nothing_at_once(ada: Person) -> None:
    server = ada.server
    observer = await server.client(
        grant_types=["client_credentials"], scope="introspect", resources=["http://localhost"]
    )
    for how in ("disable", "delete"):
        client = await application(server)
        tokens, code = await connect(ada, client, OFFLINE), await code_for(ada, client, OFFLINE)
        assert await is_alive(server, observer, tokens["access_token"])
        if how == "delete":
            await client_registry.delete(server.runtime, client.client.client_id, actor="test")
        else:
            given = client_metadata.to_input(client.client)
            await client_registry.change(
                server.runtime, client.client.client_id, given, expected_version=None, disabled=True, actor="test"
            )  # fmt: skip
        assert not await is_alive(server, observer, tokens["access_token"]), how
        assert (await refresh(server, client, tokens["refresh_token"])).status_code == 401
        assert (await redeem(server, client, code)).status_code == 401
    assert await is_signed_in(ada), "the person's session is not the client's"


@pytest.mark.parametrize("how", ["disable", "delete"])
async def test_ad_07_a_disabled_or_deleted_person_has_nothing_left_at_once(ada: Person, how: str) -> None:
    server = ada.server
    client, device = (
        await application(server),
        await application(server, grant_types=[DEVICE], redirect_uris=[]),
    )
    own = await server.token(owner="ada")
    honest, pending = await approved(ada, device), await approved(ada, device)
    assert (await poll(server, device, honest)).status_code == 200
    tokens, code = await connect(ada, client, OFFLINE), await code_for(ada, client, OFFLINE)
    bearer = {"authorization": f"Bearer {own.secret}"}
    assert (await server.http.get("/api/v1/tokens/self", headers=bearer)).status_code == 200
    await end(ada, how)
    assert not await is_signed_in(ada)
    assert (await server.http.get("/api/v1/tokens/self", headers=bearer)).status_code == 401
    assert not await is_alive(server, client, tokens["access_token"])
    assert (await refresh(server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"
    assert (await poll(server, device, pending)).json()["error"] == "invalid_grant"


async def approved(person: Person, client: Registered) -> str:
    """Approve a device as a person does; return its device code."""
    begun = (await person.server.post("/device_authorization", client, scope=OFFLINE)).json()
    await person.open(f"/device?user_code={begun['user_code']}")
    await person.send({}, having="user_code")
    await person.send({"decision": "approve"}, having="user_code")
    return str(begun["device_code"])


async def poll(server: Server, client: Registered, device_code: str) -> httpx.Response:
    """Ask for the tokens of an approved device code."""
    return await server.post("/token", client, grant_type=DEVICE, device_code=device_code)
