"""Token status lists: a place in a list for every token that asks for one, and a bit that flips with whatever ends the token."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.fixtures.servers import Server, open_server

from watchword.flows import minting, statuses
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered
from watchword.flows.minting import AccessGrant
from watchword.jose import jws, jwt
from watchword.oauth import status_list
from watchword.oauth.clients import Client
from watchword.store import grants
from watchword.store.grants import Grant

Claims = dict[str, Any]


def claims_of(token: str) -> Claims:
    """Return the claims of a token, not verified."""
    return jwt.read_claims(jws.b64decode(token.split(".")[1]))


async def status_of(server: Server, token: str) -> int:
    """Return the status of a token as its list says, fetched anew and verified."""
    uri, index = status_list.read_reference(claims_of(token)) or ("", 0)
    answer = await server.http.get(uri)
    assert (answer.status_code, answer.headers["content-type"]) == (200, status_list.MEDIA_TYPE)
    said = jwt.decode(
        answer.text, await server.runtime.keyring.verification_keys(), algorithms=("ES256",),
        typ=status_list.TOKEN_TYPE, now=server.runtime.now(), required=("sub", "iat", "exp", "ttl", "status_list"),
    )  # fmt: skip
    assert said["sub"] == uri
    return status_list.from_claim(said["status_list"]).get(index)


async def granted(server: Server, client: Client) -> str:
    """Return an access token of a person's grant to a client."""
    now = server.runtime.now()
    grant = Grant(
        id="grant0", client_id=client.client_id, user_id="user_1", session_id="session_1", scope="a", audience="b",
        claims="{}", created_at=now, started_at=now, last_used_at=now,
    )  # fmt: skip
    await server.runtime.database.write(grants.store_grant, grant)
    wanted = AccessGrant(
        client=client, subject="user_1", scope=("a",), audience=("https://api.example.com",), lifetime=300,
        grant_id=grant.id,
    )  # fmt: skip
    return (await minting.issue(server.runtime, wanted)).token


async def end_grant(server: Server, client: Client) -> None:
    await server.runtime.database.write(
        grants.end_grant, "grant0", reason="test", actor="test", now=server.runtime.now()
    )


async def end_client(server: Server, client: Client) -> None:
    await client_registry.delete(server.runtime, client.client_id, actor="test")


@pytest.mark.parametrize("end", [end_grant, end_client])
async def test_the_bit_flips_with_the_end_of(
    server: Server, end: Callable[[Server, Client], Awaitable[None]]
) -> None:
    registered = await server.client(access_token_status=True)
    token = await granted(server, registered.client)
    assert await status_of(server, token) == status_list.VALID
    server.clock.advance(2)
    await end(server, registered.client)
    assert await status_of(server, token) == status_list.INVALID


async def test_a_revoked_token_takes_no_other_with_it(server: Server) -> None:
    registered = await server.client(access_token_status=True)
    one, other = [(await server.grant(registered)).json()["access_token"] for _ in range(2)]
    assert await status_of(server, one) == await status_of(server, other) == status_list.VALID
    await server.post("/revoke", registered, token=one)
    assert await status_of(server, one) == status_list.INVALID
    assert await status_of(server, other) == status_list.VALID


async def test_who_was_killed_and_set_up_again_begins_with_a_new_list(server: Server) -> None:
    registered = await server.client(access_token_status=True)
    before = (await server.grant(registered)).json()["access_token"]
    given = client_metadata.to_input(registered.client)
    server.clock.advance(5)
    for disabled in (True, False):
        await client_registry.change(
            server.runtime, registered.client.client_id, given, expected_version=None, disabled=disabled, actor="test"
        )  # fmt: skip
    server.clock.advance(5)
    after = (await server.grant(registered)).json()["access_token"]
    assert await status_of(server, before) == status_list.INVALID
    assert await status_of(server, after) == status_list.VALID


async def test_a_client_that_is_there_again_at_once_gets_tokens_that_are_good(server: Server) -> None:
    registered = await server.client(access_token_status=True)
    given = client_metadata.to_input(registered.client)
    for disabled in (True, False):
        await client_registry.change(
            server.runtime, registered.client.client_id, given, expected_version=None, disabled=disabled, actor="test"
        )  # fmt: skip
    tokens = []
    for seconds in (1, 1, 1):
        tokens.append((await server.grant(registered)).json()["access_token"])
        assert await status_of(server, tokens[-1]) == status_list.VALID
        server.clock.advance(seconds)
    assert [await status_of(server, token) for token in tokens] == [status_list.VALID] * 3
    await end_client(server, registered.client)
    assert [await status_of(server, token) for token in tokens] == [status_list.INVALID] * 3


@pytest.mark.parametrize("seconds", [0, 5])
async def test_ap_09_who_was_deleted_and_made_again_begins_with_a_new_list(
    server: Server, seconds: int
) -> None:
    async def begin() -> tuple[Registered, str]:
        given = ClientInput(name="again", scope="orders:read", access_token_status=True)
        made = await client_registry.register(server.runtime, given, actor="test", client_id="again")
        return made, (await server.grant(made)).json()["access_token"]

    first, before = await begin()
    assert await status_of(server, before) == status_list.VALID
    server.clock.advance(seconds)
    await end_client(server, first.client)
    server.clock.advance(seconds)
    _, after = await begin()
    assert await status_of(server, before) == status_list.INVALID
    assert await status_of(server, after) == status_list.VALID


async def test_only_tokens_that_ask_for_it_have_a_status(server: Server) -> None:
    plain = await server.client()
    assert "status" not in claims_of((await server.grant(plain)).json()["access_token"])
    opaque = await server.client(access_token_status=True, access_token_format="opaque")
    assert (await server.grant(opaque)).status_code == 200


async def test_the_tokens_of_a_resource_ask_for_it(tmp_path: Any) -> None:
    async with open_server(tmp_path, status_lists=("https://api.example.com",)) as server:
        inside = await server.client(resources=["https://api.example.com"])
        outside = await server.client(resources=["https://other.example.com"])
        assert "status" in claims_of((await server.grant(inside)).json()["access_token"])
        assert "status" not in claims_of((await server.grant(outside)).json()["access_token"])


async def test_indexes_are_given_once_and_tell_nothing_of_the_order(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "SIZE", 200)
    monkeypatch.setattr(statuses, "RESERVE", 20)
    registered = await server.client(access_token_status=True)
    found = []
    for _ in range(30):
        found += await asyncio.gather(*(server.grant(registered) for _ in range(15)))
    places = [status_list.read_reference(claims_of(one.json()["access_token"])) for one in found]
    assert len(set(places)) == 450
    lists = {place[0] for place in places if place}
    assert 3 <= len(lists) <= 4, "a list for every two hundred tokens, opened ahead"
    first = [place[1] for place in places if place and place[0] == (places[0] or ("",))[0]]
    assert first != sorted(first)
    assert first != sorted(first, reverse=True)


async def test_a_list_is_for_caches(server: Server) -> None:
    registered = await server.client(access_token_status=True)
    token = (await server.grant(registered)).json()["access_token"]
    uri = claims_of(token)["status"]["status_list"]["uri"]
    first = await server.http.get(uri, headers={"accept": "application/statuslist+jwt;q=0.9, text/html"})
    assert first.headers["cache-control"] == "public, max-age=15"
    again = await server.http.get(uri, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    await server.post("/revoke", registered, token=token)
    changed = await server.http.get(uri, headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        pytest.param("", "application/statuslist+cwt", 406, id="another form"),
        pytest.param("", "application/statuslist+jwt;q=0.00", 406, id="the form, refused"),
        pytest.param("?time=1700000000", "*/*", 501, id="a time that is over"),
        pytest.param("x", "*/*", 404, id="a list that is none"),
    ],
)
async def test_there_is_no(server: Server, path: str, accept: str, status: int) -> None:
    registered = await server.client(access_token_status=True)
    token = (await server.grant(registered)).json()["access_token"]
    uri = claims_of(token)["status"]["status_list"]["uri"]
    assert (await server.http.get(uri)).status_code == 200
    answer = await server.http.get(uri + path, headers={"accept": accept})
    assert answer.status_code == status
