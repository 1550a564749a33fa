"""Clients that are for members of groups: what they get for anybody else, by every way there is to a token of a person."""

from typing import Any

import httpx
import msgspec
from tests.fixtures import devices, holders, trusted_issuers
from tests.fixtures.accounts import user_of
from tests.fixtures.code_flow import (
    answer_of,
    decide,
    obtain_code,
    redeem,
    refresh,
    register,
    request,
)
from tests.fixtures.servers import Server
from tests.fixtures.trusted_issuers import server
from tests.flows import test_identity_assertions as at_provider
from tests.flows import test_trusted_providers as trusted
from tests.flows.test_groups import put_in
from tests.flows.test_token_exchange import API, DOWN, service, swap

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk
from watchword.oauth import exchange

SCOPE = "openid orders:read offline_access"
GRANTS = ["authorization_code", "refresh_token", "device_code", "token_exchange"]


__all__ = ["server"]


async def close(server: Server, client: Registered, *groups: str) -> None:
    """Say that a client is for members of groups, or for everybody again."""
    found = await client_registry.find(server.runtime, client.client.client_id)
    assert found is not None
    given = msgspec.structs.replace(client_metadata.to_input(found), groups=groups)
    await client_registry.change(server.runtime, found.client_id, given, expected_version=None, actor="ops")


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and error."""
    return answer.status_code, answer.json().get("error", "")


async def test_a_client_that_gets_groups_later_gets_nothing_more_for_others(server: Server) -> None:
    client = await register(server, scope=SCOPE, grant_types=GRANTS)
    code = (await obtain_code(server, client, scope=SCOPE))["code"]
    given = (await redeem(server, client, code)).json()

    async def authorize(**changes: str) -> httpx.Response:
        return await server.http.get("/authorize", params=request(client, scope=SCOPE) | changes)

    async def pushed() -> dict[str, str]:
        made = await server.post("/par", client, **request(client, scope=SCOPE, prompt="none"))
        return {"client_id": client.client.client_id, "request_uri": made.json()["request_uri"]}

    async def confirmed() -> dict[str, Any]:
        codes = await devices.begin(server, client, scope=SCOPE)
        await devices.decide(server, await devices.enter(server, codes["user_code"]))
        return codes

    async def ways(prepared: dict[str, Any]) -> dict[str, object]:
        """Return what each way leads to."""
        sent = str(given["access_token"])
        answers: dict[str, object] = {
            "consent remembered": answer_of(await authorize(prompt="none")).get("error"),
            "pushed": answer_of(await server.http.get("/authorize", params=prepared["pushed"])).get("error"),
            "page open": answer_of(await decide(server, prepared["page"])).get("error"),
            "code": refusal(await redeem(server, client, prepared["code"])),
            "device": refusal(await devices.poll(server, client, prepared["device"])),
            "its own token exchanged": refusal(await swap(server, client, sent, scope="orders:read")),
        }
        refreshed = await refresh(server, client, given["refresh_token"])
        given.update(refreshed.json() if refreshed.status_code == 200 else {})
        return answers | {"refresh": refusal(refreshed)}

    async def prepare() -> dict[str, Any]:
        return {
            "pushed": await pushed(),
            "page": await authorize(prompt="consent"),
            "code": answer_of(await authorize(prompt="none"))["code"],
            "device": await confirmed(),
        }

    opened = await ways(await prepare())
    assert set(opened.values()) == {None, (200, "")}, "the honest variant"
    prepared = await prepare()
    await close(server, client, "staff")
    assert await ways(prepared) == {
        "consent remembered": "access_denied",
        "pushed": "access_denied",
        "page open": "access_denied",
        "code": (400, "invalid_grant"),
        "device": (400, "invalid_grant"),
        "its own token exchanged": (400, "invalid_request"),
        "refresh": (400, "invalid_grant"),
    }
    await put_in(server, "staff")
    assert "code" in answer_of(await authorize(prompt="none")), "what was agreed to comes back with the group"
    assert (await refresh(server, client, given["refresh_token"])).status_code == 200


async def test_a_client_for_members_exchanges_nobody_elses_token(server: Server) -> None:
    client = await register(server, scope="openid orders:read", resources=[API])
    bought = await redeem(server, client, (await obtain_code(server, client))["code"])
    sent, user = str(bought.json()["access_token"]), await user_of(server)
    personal = (await server.token("orders:read", owner=user.id, resource=API)).secret
    of_program = (await server.token("orders:read", resource=API)).secret
    api = await service(server, groups=["staff"])
    own = (await server.grant(api, scope="act")).json()["access_token"]
    acts = {"actor_token_type": exchange.ACCESS_TOKEN}

    async def swapped() -> list[tuple[int, str]]:
        return [
            refusal(await swap(server, api, sent, audience=DOWN)),
            refusal(await swap(server, api, personal, audience=DOWN)),
            refusal(await swap(server, api, sent, audience=DOWN, actor_token=own, **acts)),
            refusal(await swap(server, api, of_program, audience=DOWN, actor_token=personal, **acts)),
            refusal(await swap(server, api, of_program, audience=DOWN)),
        ]

    assert await swapped() == [(400, "invalid_request")] * 4 + [(200, "")], "a program is in no group"
    await put_in(server, "staff")
    assert await swapped() == [(200, "")] * 5, "the honest variant"


async def test_what_a_client_for_members_was_given_is_exchanged_for_nobody_else(server: Server) -> None:
    client = await register(server, scope="openid orders:read", resources=[API])
    bought = await redeem(server, client, (await obtain_code(server, client))["code"])
    first = await service(server)
    then = await service(server, token_exchange={"serves": [DOWN], "audiences": [API], "impersonate": True})
    sent = str(bought.json()["access_token"])
    exchanged = str((await swap(server, first, sent, audience=DOWN)).json()["access_token"])

    async def swapped() -> list[tuple[int, str]]:
        return [
            refusal(await swap(server, first, sent, audience=DOWN)),
            refusal(await swap(server, then, exchanged, audience=API)),
        ]

    assert await swapped() == [(200, "")] * 2, "the honest variant"
    await close(server, client, "staff")
    assert await swapped() == [(400, "invalid_request")] * 2
    await put_in(server, "staff")
    assert await swapped() == [(200, "")] * 2


async def test_a_client_for_members_is_told_of_nobody_else_by_assertions_and_proofs(server: Server) -> None:
    at_home = await at_provider.own_client(server)
    id_token = await at_provider.id_token_of(server, at_home)
    await close(server, at_home, "staff")
    assert refusal(await at_provider.ask(server, at_home, id_token)) == (400, "access_denied")
    holder, key = (
        await holders.make_holder(server, ("user", (await user_of(server)).id)),
        jwk.generate("ES256"),
    )
    program = await server.client(
        token_endpoint_auth_method="none", grant_types=["zero_proof"], groups=["staff"]
    )
    client_id = program.client.client_id
    assert refusal(await holders.token(holder, client_id, key)) == (400, "access_denied")
    await put_in(server, "staff")
    assert (await at_provider.ask(server, at_home, id_token)).status_code == 200, "the honest variant"
    assert (await holders.token(holder, client_id, key)).status_code == 200, "the honest variant"


async def test_a_client_for_members_gets_nothing_by_a_provider_that_speaks_of_others(server: Server) -> None:
    client = await trusted.agent(server, groups=["staff"])
    await trusted_issuers.ada(server)
    await trusted_issuers.people(server)
    answer = await trusted_issuers.present(server, client, trusted.speaks_of(server, client))
    assert refusal(answer) == (400, "invalid_grant")
    await put_in(server, "staff")
    member = await trusted_issuers.present(server, client, trusted.speaks_of(server, client))
    assert member.status_code == 200, "the honest variant"
