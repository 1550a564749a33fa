"""RFC 8628: a device asks, a person answers in a browser, the device polls; and what must not work about it."""

import os
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.code_flow import refresh, sign_in
from tests.fixtures.devices import GRANT, begin, decide, enter, person, poll, poll_now, register
from tests.fixtures.postgres import Store
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic, open_server, refusal, together
from tests.flows.conftest import Stored
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows.clients import client_registry
from watchword.flows.users import accounts
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.store.database import Transaction


async def approve(server: Server, codes: dict[str, Any]) -> None:
    """Connect a device as a new person."""
    await person(server)
    done = await decide(server, await enter(server, codes["user_code"]))
    assert done.status_code == 200


async def test_the_whole_flow(server: Server) -> None:
    client = await register(server)
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    assert GRANT in metadata["grant_types_supported"]
    assert metadata["device_authorization_endpoint"] == server.settings.issuer + "/device_authorization"
    codes = await begin(server, client)
    assert codes["verification_uri"] == server.settings.issuer + "/device"
    assert codes["verification_uri_complete"].endswith("?user_code=" + codes["user_code"])
    assert (codes["expires_in"], codes["interval"]) == (600, 5)
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    begun = await server.http.get(f"/device?user_code={codes['user_code']}")
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, begun)
    filled = await server.http.get(back.headers["location"])
    assert f'value="{codes["user_code"]}"' in filled.text, "sign-in leads back with the code"
    shown = await enter(server, codes["user_code"].lower().replace("-", " "))
    for told in ("Television", codes["user_code"], "orders:read", "127.0.0.1", "Did you start this yourself"):
        assert told in shown.text
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    assert "Device connected" in (await decide(server, shown)).text
    tokens = (await poll(server, client, codes)).json()
    assert tokens["scope"] == "openid orders:read"
    assert tokens["id_token"]
    active = (await server.post("/introspect", client, token=tokens["access_token"])).json()
    assert active["active"] is True
    assert active["auth_time"] <= active["iat"]
    assert (await refresh(server, client, tokens["refresh_token"])).status_code == 200


async def test_who_approved_what_is_in_the_audit_trail_and_among_the_consents(server: Server) -> None:
    client = await register(server)
    await approve(server, await begin(server, client))

    async def read(tx: Transaction) -> Any:
        events = await tx.all("SELECT actor, data FROM events WHERE name = 'device_code.approved'")
        consents = await tx.all("SELECT user_id, client_id, scope FROM consents")
        return events, consents

    events, consents = await server.runtime.database.read(read)
    assert len(events) == len(consents) == 1
    assert events[0]["actor"] == consents[0]["user_id"]
    assert client.client.client_id in events[0]["data"]
    assert (consents[0]["client_id"], consents[0]["scope"]) == (client.client.client_id, "openid orders:read")


@pytest.mark.parametrize("asked", [{}, {"resource": "https://elsewhere.example"}], ids=["as before", "more"])
async def test_dv_01_a_code_works_once_and_its_replay_ends_what_it_bought(
    server: Server, asked: dict[str, str]
) -> None:
    client = await register(server)
    codes = await begin(server, client)
    await approve(server, codes)
    tokens = (await poll(server, client, codes)).json()
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"] is True
    assert refusal(await poll(server, client, codes, **asked)) == (400, "invalid_grant")
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json() == {
        "active": False
    }
    assert refusal(await refresh(server, client, tokens["refresh_token"])) == (400, "invalid_grant")


async def test_dv_01_another_clients_poll_is_refused_and_changes_nothing(server: Server) -> None:
    client, thief = await register(server), await register(server)
    codes = await begin(server, client)
    await approve(server, codes)
    assert refusal(await poll(server, thief, codes)) == (400, "invalid_grant")
    assert (await poll_now(server, client, codes)).status_code == 200, "not even slowed down"
    assert refusal(await poll(server, thief, codes)) == (400, "invalid_grant")
    assert (await server.post("/introspect", client, token="x")).status_code == 200


@pytest.mark.parametrize("garbage", ["wwd_" + "0" * 36, "x", "a" * 60_000, "é", "\x00"])
async def test_dv_01_a_garbage_code_is_refused(server: Server, garbage: str) -> None:
    client = await register(server)
    codes = await begin(server, client)
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending")
    answer = await poll(server, client, codes | {"device_code": garbage})
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_grant", "invalid_request")


async def test_dv_03_codes_are_distinct_and_cannot_be_guessed(server: Server, stored: Stored) -> None:
    client = await register(server)
    made = [await begin(server, client) for _ in range(12)]
    assert len({codes["user_code"] for codes in made}) == len({codes["device_code"] for codes in made}) == 12
    kept = stored()
    for codes in made:
        assert codes["device_code"].encode() not in kept
        assert codes["user_code"].replace("-", "").encode() not in kept


async def test_polling_too_fast_slows_down_for_good(server: Server) -> None:
    client = await register(server)
    codes = await begin(server, client)
    assert refusal(await poll_now(server, client, codes)) == (400, "authorization_pending")
    server.clock.advance(4)
    assert refusal(await poll_now(server, client, codes)) == (400, "slow_down")
    assert refusal(await poll(server, client, codes)) == (400, "slow_down"), (
        "five seconds are no longer enough"
    )
    await approve(server, codes)
    server.clock.advance(15)
    assert (await poll_now(server, client, codes)).status_code == 200


async def test_a_code_expires_whatever_was_decided(server: Server) -> None:
    client = await register(server)
    codes, approved = await begin(server, client), await begin(server, client)
    await approve(server, approved)
    page = await enter(server, codes["user_code"])
    server.clock.advance(600)
    assert refusal(await poll_now(server, client, codes)) == (400, "expired_token")
    assert refusal(await poll_now(server, client, approved)) == (400, "expired_token")
    assert (await decide(server, page)).status_code == 400
    assert (await enter(server, codes["user_code"])).status_code == 400


@in_turn(
    ("given", "form", "error"),
    [
        ({"grant_types": ["client_credentials"]}, {}, "unauthorized_client"),
        ({}, {"scope": "admin"}, "invalid_scope"),
        ({"scope": "watchword:admin orders:read"}, {"scope": "watchword:admin"}, "invalid_scope"),
        ({}, {"resource": "https://other.example"}, "invalid_target"),
    ],
    ids=[
        "without the grant",
        "a scope that it does not have",
        "a scope over this server",
        "another resource",
    ],
)
async def test_a_device_may_not_ask(server: Server, given: Any, form: dict[str, str], error: str) -> None:
    honest = await register(server)
    await begin(server, honest)
    client = await register(server, **given)
    answer = await server.post("/device_authorization", client, **{"scope": "orders:read"} | form)
    assert refusal(answer) == (400, error)


async def test_a_scope_over_this_server_is_not_in_the_default_either(server: Server) -> None:
    client = await register(server, scope="watchword:admin introspect orders:read")
    codes = await begin(server, client, scope="")
    await approve(server, codes)
    assert (await poll(server, client, codes)).json()["scope"] == "orders:read"


def proof(server: Server, key: Key, path: str) -> dict[str, str]:
    """Return the header of a fresh DPoP proof."""
    claims = {"jti": os.urandom(8).hex(), "htm": "POST", "htu": server.settings.issuer + path}
    return {"dpop": jwt.encode_with_key(key, claims | {"iat": int(server.clock())}, "dpop+jwt")}


async def test_a_code_asked_for_with_a_key_is_worth_nothing_without_it(server: Server) -> None:
    client = await register(server, token_endpoint_auth_method="none")
    key, other = jwk.generate("ES256"), jwk.generate("ES256")
    identity = {"client_id": client.client.client_id}
    asked = await server.http.post(
        "/device_authorization",
        data=identity | {"scope": "orders:read"},
        headers=proof(server, key, "/device_authorization"),
    )
    codes = asked.json()
    await approve(server, codes)
    form = identity | {"grant_type": GRANT, "device_code": codes["device_code"]}
    bare = await server.http.post("/token", data=form)
    assert refusal(bare) == (400, "invalid_grant")
    assert "does not prove" in bare.json()["error_description"], "there is no other key to speak of"
    wrong = await server.http.post("/token", data=form, headers=proof(server, other, "/token"))
    assert refusal(wrong) == (400, "invalid_grant")
    right = (await server.http.post("/token", data=form, headers=proof(server, key, "/token"))).json()
    assert right["token_type"] == "DPoP"
    again = identity | {"grant_type": "refresh_token", "refresh_token": right["refresh_token"]}
    stolen = await server.http.post("/token", data=again, headers=proof(server, other, "/token"))
    assert refusal(stolen) == (400, "invalid_grant"), "DP-04"
    kept = await server.http.post("/token", data=again, headers=proof(server, key, "/token"))
    assert kept.status_code == 200


async def test_ad_07_a_code_dies_with_its_client_and_its_person(server: Server) -> None:
    client, other = await register(server), await register(server)
    mine, others = await begin(server, client), await begin(server, other)
    await approve(server, others)
    await client_registry.delete(server.runtime, client.client.client_id, actor="test")
    assert (await enter(server, mine["user_code"])).status_code == 400

    async def disable(tx: Transaction) -> None:
        await tx.run("UPDATE users SET disabled_at = 1")

    await server.runtime.database.write(disable)
    assert refusal(await poll(server, other, others)) == (400, "invalid_grant")


async def test_ad_07_nobody_approves_a_client_that_was_disabled_while_its_code_waits(server: Server) -> None:
    client = await register(server)
    codes, others = await begin(server, client), await begin(server, client)
    await person(server)
    page = await enter(server, codes["user_code"])
    assert page.status_code == 200

    async def switch(tx: Transaction, disabled_at: int | None) -> None:
        await tx.run("UPDATE clients SET disabled_at = $1, version = version + 1", disabled_at)

    await server.runtime.database.write(
        switch, 1
    )  # the product also deletes the codes, which would hide this
    for shown in (await enter(server, others["user_code"]), await decide(server, page)):
        assert (shown.status_code, "Television" in shown.text) == (400, False)
    await server.runtime.database.write(switch, None)
    assert refusal(await poll(server, client, codes)) == (400, "authorization_pending"), "nothing was decided"
    await decide(server, await enter(server, codes["user_code"]))
    assert (await poll(server, client, codes)).status_code == 200, "the honest variant"


async def test_rc_01_of_fifteen_polls_over_two_nodes_one_gets_the_tokens(
    store: Store, tmp_path: Path
) -> None:
    async with open_server(tmp_path, on=store.address) as one, open_server(tmp_path, on=store.address) as two:
        two.clock.now = one.clock.now
        client = await register(one)
        codes = await begin(one, client)
        await approve(one, codes)
        form = {"grant_type": GRANT, "device_code": codes["device_code"]}
        headers = {"authorization": basic(client)}
        answers = await together(
            *((one, two)[n % 2].http.post("/token", data=form, headers=headers) for n in range(15))
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 14
