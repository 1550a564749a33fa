"""Attacks on codes and refresh tokens: after what they stand on has ended, in races, after restarts; each beside the honest use."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from tests.fixtures.accounts import user_of
from tests.fixtures.code_flow import (
    REDIRECT,
    VERIFIER,
    answer_of,
    decide,
    obtain_code,
    redeem,
    refresh,
    register,
    request,
)
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, basic, open_server, together

from watchword.flows import sessions
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import account_access, people
from watchword.jose import jwk, jwt
from watchword.settings import ScopeText
from watchword.store import profile_changes, user_changes, users
from watchword.store import sessions as session_store
from watchword.store.users import User

DAY = 86_400
OPTIONS: dict[str, Any] = {
    "refresh_token_idle": 3 * DAY,
    "refresh_token_lifetime": 7 * DAY,
    "scopes": {"orders:read": ScopeText(claims=("teams",))},
}
OFFLINE = "openid orders:read offline_access"


@pytest_asyncio.fixture
async def nodes(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    """Two nodes on one database of each kind."""
    options = {"database": store.address, "key_file": str(tmp_path / "key")} | OPTIONS
    async with open_server(tmp_path, **options) as a, open_server(tmp_path, **options) as b:
        b.clock.now = a.clock.now
        yield a, b


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One node whose refresh tokens live for days."""
    async with open_server(tmp_path, **OPTIONS) as opened:
        yield opened


async def offline_client(server: Server, **given: Any) -> Registered:
    """Register a client whose grants outlive sessions."""
    return await register(server, **{"scope": OFFLINE} | given)


async def tokens_of(server: Server, client: Registered, **changes: str | None) -> Any:
    """Walk the whole flow; return the token response."""
    answer = await obtain_code(server, client, **{"scope": OFFLINE} | changes)
    return (await redeem(server, client, answer["code"])).json()


async def another_code(server: Server, client: Registered, **changes: str | None) -> str:
    """Return a further code, without any page: the person agreed before."""
    silent = await server.http.get("/authorize", params=request(client, prompt="none", **changes))
    return answer_of(silent)["code"]


async def ada(server: Server) -> User:
    """Return the person."""
    found = await server.runtime.database.read(users.find_user, "ada")
    assert found is not None
    return found


async def is_active(server: Server, client: Registered, token: str) -> bool:
    """Ask whether a token is alive."""
    return bool((await server.post("/introspect", client, token=token)).json()["active"])


async def change(server: Server, client: Registered, *, disabled: bool | None = None, **changes: Any) -> None:
    """Change a client as an administrator would."""
    given = msgspec.structs.replace(client_metadata.to_input(client.client), **changes)
    await client_registry.change(
        server.runtime, client.client.client_id, given, expected_version=None, disabled=disabled, actor="test"
    )


async def test_az_51_a_code_of_a_disabled_person_buys_nothing(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    assert (await redeem(server, client, await another_code(server, client))).status_code == 200
    user = await ada(server)
    now = server.runtime.now()
    await server.runtime.database.write(user_changes.set_disabled, user.id, True, actor="test", now=now)
    refused = await redeem(server, client, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    await server.runtime.database.write(user_changes.set_disabled, user.id, False, actor="test", now=now)
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant", "and stays dead"


async def test_az_52_a_code_of_a_client_that_ended_buys_nothing(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    codes = [await another_code(server, client) for _ in range(4)]
    assert (await redeem(server, client, codes[0])).status_code == 200
    await account_access.withdraw(server.runtime, (await ada(server)).id, client.client.client_id)
    assert (await redeem(server, client, codes[1])).json()["error"] == "invalid_grant"
    await change(server, client, disabled=True)
    refused = await redeem(server, client, codes[2])
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    await client_registry.delete(server.runtime, client.client.client_id, actor="test")
    assert (await redeem(server, client, codes[3])).status_code == 401


async def test_az_52_a_code_buys_no_scope_that_its_client_lost(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client, scope="openid orders:read"))["code"]
    assert (await redeem(server, client, await another_code(server, client))).json()[
        "scope"
    ] == "openid orders:read"
    await change(server, client, scope="openid profile")
    assert (await redeem(server, client, code)).json()["scope"] == "openid"


async def test_rc_03_of_eight_redemptions_with_one_proof_one_wins(nodes: tuple[Server, Server]) -> None:
    a, b = nodes
    client = await register(a, dpop_bound_access_tokens=True)
    await obtain_code(a, client)
    codes = [await another_code(a, client) for _ in range(9)]
    key = jwk.generate("ES256")

    async def spend(server: Server, code: str, proof: str) -> int:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        headers = {"authorization": basic(client), "dpop": proof}
        answer = await server.http.post("/token", data=form | {"code_verifier": VERIFIER}, headers=headers)
        assert answer.status_code == 200 or answer.json()["error"] == "invalid_dpop_proof"
        return answer.status_code

    assert await spend(a, codes[8], proof_of(a, key)) == 200
    one = proof_of(a, key)
    statuses = await together(*(spend((a, b)[n % 2], codes[n], one) for n in range(8)))
    assert sorted(statuses) == [200] + [400] * 7


def proof_of(server: Server, key: jwk.Key) -> str:
    """Return a fresh proof for the token endpoint."""
    claims = {"jti": os.urandom(8).hex(), "htm": "POST", "htu": server.settings.issuer + "/token"}
    return jwt.encode_with_key(key, claims | {"iat": int(server.clock())}, "dpop+jwt")


@pytest.mark.parametrize("kind", ["opaque", "jwt"])
async def test_rt_06_after_a_revocation_nothing_lives_that_refreshes_beside_it_gave(
    nodes: tuple[Server, Server], kind: str
) -> None:
    a, b = nodes
    client = await offline_client(a, access_token_format=kind)
    first = await tokens_of(a, client)
    bystander = await redeem(a, client, await another_code(a, client, scope=OFFLINE))
    answers = await together(
        *(refresh((a, b)[n % 2], client, first["refresh_token"]) for n in range(4)),
        b.post("/revoke", client, token=first["refresh_token"]),
        *(refresh((a, b)[n % 2], client, first["refresh_token"]) for n in range(3)),
    )
    assert answers[4].status_code == 200
    for answer in (*answers[:4], *answers[5:]):
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            assert not await is_active(a, client, answer.json()["access_token"])
            dead = await refresh(b, client, answer.json()["refresh_token"])
            assert dead.json()["error"] == "invalid_grant"
    assert not await is_active(a, client, first["access_token"])
    assert await is_active(a, client, bystander.json()["access_token"]), "another grant is untouched"


async def test_tk_03_a_grant_ends_with_what_it_stands_on(server: Server) -> None:
    client = await offline_client(server)
    first = await tokens_of(server, client)
    second = (await redeem(server, client, await another_code(server, client, scope=OFFLINE))).json()
    renewed = (await refresh(server, client, first["refresh_token"])).json()
    await change(server, client, scope="openid orders:read")
    refused = await refresh(server, client, renewed["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant"), (
        "offline_access was taken away"
    )
    await change(server, client, scope=OFFLINE)
    assert (await refresh(server, client, second["refresh_token"])).status_code == 200
    await account_access.withdraw(server.runtime, (await ada(server)).id, client.client.client_id)
    for token in (renewed["refresh_token"], second["refresh_token"]):
        assert (await refresh(server, client, token)).json()["error"] == "invalid_grant", (
            "consent was withdrawn"
        )
    assert not await is_active(server, client, second["access_token"])


async def test_tk_03_a_scope_that_the_client_lost_is_gone_with_the_next_token(server: Server) -> None:
    client = await offline_client(server)
    first = await tokens_of(server, client)
    await change(server, client, scope="openid offline_access")
    renewed = (await refresh(server, client, first["refresh_token"])).json()
    assert renewed["scope"] == "openid offline_access"
    refused = await refresh(server, client, renewed["refresh_token"], scope="orders:read")
    assert refused.json()["error"] == "invalid_scope"


async def test_tk_04_a_family_ends_however_often_it_is_used(server: Server) -> None:
    client = await offline_client(server)
    token = (await tokens_of(server, client))["refresh_token"]
    for _ in range(6):
        server.clock.advance(DAY)
        answer = await refresh(server, client, token)
        assert answer.status_code == 200
        token = answer.json()["refresh_token"]
    server.clock.advance(DAY)
    refused = await refresh(server, client, token)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_tk_04_a_family_that_nobody_uses_ends_sooner(server: Server) -> None:
    client = await offline_client(server)
    token = (await tokens_of(server, client))["refresh_token"]
    server.clock.advance(3 * DAY - 1)
    token = (await refresh(server, client, token)).json()["refresh_token"]
    server.clock.advance(3 * DAY)
    assert (await refresh(server, client, token)).json()["error"] == "invalid_grant"


async def test_tk_05_a_rotated_token_is_known_after_a_restart(store: Store, tmp_path: Path) -> None:
    options = {"database": store.address, "key_file": str(tmp_path / "key")} | OPTIONS
    async with open_server(tmp_path, **options) as before:
        client = await offline_client(before)
        first = (await tokens_of(before, client))["refresh_token"]
        second = (await refresh(before, client, first)).json()["refresh_token"]
    async with open_server(tmp_path, **options) as after:
        after.clock.now = before.clock.now + 60
        third = (await refresh(after, client, second)).json()["refresh_token"]
        assert (await refresh(after, client, first)).json()["error"] == "invalid_grant"
        assert (await refresh(after, client, third)).json()["error"] == "invalid_grant", "the family is dead"


async def test_tk_08_what_a_person_lost_is_gone_with_the_next_token(server: Server) -> None:
    client = await offline_client(server)
    await obtain_code(server, client, scope=OFFLINE)
    user = await ada(server)

    async def put_in(*teams: str) -> None:
        await server.runtime.database.write(
            profile_changes.update_profile,
            user.id,
            display_name=None,
            attributes={"teams": list(teams)},
            is_admin=False,
            actor="test",
            now=server.runtime.now(),
        )

    async def teams_told(tokens: Any) -> Any:
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        return (await server.http.get("/userinfo", headers=headers)).json().get("teams")

    await put_in("staff", "admins")
    first = (await redeem(server, client, await another_code(server, client, scope=OFFLINE))).json()
    assert await teams_told(first) == ["staff", "admins"]
    await put_in("staff")
    renewed = (await refresh(server, client, first["refresh_token"])).json()
    assert await teams_told(renewed) == ["staff"]
    assert await teams_told(first) == ["staff"], "nor does the older token tell what is no longer so"


async def test_a_session_that_ended_takes_along_what_was_not_granted_offline(server: Server) -> None:
    client = await offline_client(server)
    bound = await tokens_of(server, client, scope="openid orders:read")
    offline = (await redeem(server, client, await answer_offline(server, client))).json()
    assert (await refresh(server, client, bound["refresh_token"])).status_code == 200
    user = await ada(server)
    listed = await server.runtime.database.read(
        session_store.list_sessions, user_id=user.id, now=server.runtime.now()
    )
    for session in listed:
        await sessions.end(server.runtime, session)
    assert (await refresh(server, client, bound["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await refresh(server, client, offline["refresh_token"])).status_code == 200


async def answer_offline(server: Server, client: Registered) -> str:
    """Agree to access while away; return the code."""
    page = await server.http.get("/authorize", params=request(client, scope=OFFLINE))
    return answer_of(await decide(server, page))["code"]


async def test_every_outcome_has_its_audit_event(server: Server) -> None:
    client = await offline_client(server)
    code = (await obtain_code(server, client, scope=OFFLINE))["code"]
    late = await another_code(server, client, scope=OFFLINE)
    first = (await redeem(server, client, code)).json()["refresh_token"]
    second = (await refresh(server, client, first)).json()["refresh_token"]
    await refresh(server, client, first)
    server.clock.advance(60)
    await redeem(server, client, late)
    await refresh(server, client, first)
    await refresh(server, client, second)
    other = (await redeem(server, client, await another_code(server, client, scope=OFFLINE))).json()
    server.clock.advance(3 * DAY)
    await refresh(server, client, other["refresh_token"])
    await redeem(server, client, code)
    told = [
        event for event in await events(server) if event.startswith(("code.", "refresh_token.", "grant."))
    ]
    assert told == [
        "grant.created",
        "grant.created",
        "code.redeemed",
        "refresh_token.rotated",
        "refresh_token.replayed",
        "code.refused",
        "refresh_token.reused",
        "grant.ended",
        "refresh_token.refused",
        "grant.created",
        "code.redeemed",
        "refresh_token.expired",
        "code.replayed",
    ]


@pytest.mark.parametrize("asked", [{}, {"resource": "https://elsewhere.example"}], ids=["as before", "more"])
@pytest.mark.parametrize(
    "state", ["its session was ended", "it was withdrawn", "it is too old", "it was used"]
)
async def test_a_code_that_is_worth_nothing_is_on_record_whatever_is_asked_for_with_it(
    server: Server, state: str, asked: dict[str, str]
) -> None:
    client = await offline_client(server)
    code = (await obtain_code(server, client))["code"]
    user = await user_of(server)
    if state == "its session was ended":
        await people.end_sessions(server.runtime, user, actor="test")
    elif state == "it was withdrawn":
        await account_access.withdraw(server.runtime, user.id, client.client.client_id)
    elif state == "it is too old":
        server.clock.advance(60)
    else:
        assert (await redeem(server, client, code)).status_code == 200, "the honest variant"
    assert (await redeem(server, client, code, **asked)).json()["error"] == "invalid_grant"
    told = "code.replayed" if state == "it was used" else "code.refused"
    assert (await events(server)).count(told) == 1


async def events(server: Server) -> list[str]:
    """Return the names of the audit events in their order."""

    async def listed(tx: Any) -> list[str]:
        return [row["name"] for row in await tx.all("SELECT name FROM events ORDER BY at, seq")]

    return await server.runtime.database.read(listed)
