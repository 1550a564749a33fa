"""Refresh tokens rotate, bear one repetition within their grace, and end their family when they are used again."""

import os

import httpx
import pytest
from tests.fixtures.code_flow import REDIRECT, VERIFIER, obtain_code, redeem, refresh, register
from tests.fixtures.servers import Server, together
from tests.flows.test_first_sign_in import csrf_of

from watchword.jose import jwk, jwt
from watchword.oauth import token_format


async def test_rotation_and_reuse(server: Server) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    second = (await refresh(server, client, first)).json()["refresh_token"]
    assert second != first
    again = (await refresh(server, client, first)).json()["refresh_token"]
    assert again == second, "RT-02, TK-06: the loser of an honest race gets the very same successor"
    third = (await refresh(server, client, second)).json()["refresh_token"]
    assert (await refresh(server, client, first)).json()["error"] == "invalid_grant", (
        "TK-07: two generations old"
    )
    assert (await refresh(server, client, third)).json()["error"] == "invalid_grant", "and the family is dead"


async def test_a_replay_after_the_grace_burns_the_family(server: Server) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    second = (await refresh(server, client, first)).json()["refresh_token"]
    server.clock.advance(11)
    assert (await refresh(server, client, first)).json()["error"] == "invalid_grant"
    assert (await refresh(server, client, second)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "more",
    [
        {"scope": "orders:write"},
        {"scope": '"'},
        {"resource": "https://elsewhere.example.com"},
        {"authorization_details": '[{"type":"payment"}]'},
    ],
    ids=[
        "a scope that was not granted",
        "no scope at all",
        "another resource",
        "details that were not granted",
    ],
)
async def test_a_reuse_is_noticed_whatever_is_asked_for_with_it(server: Server, more: dict[str, str]) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    refused = (await refresh(server, client, first, **more)).json()["error"]
    assert refused != "invalid_grant", "the newest token is not used up by a request for too much"
    newest = (await refresh(server, client, first)).json()["refresh_token"]
    server.clock.advance(11)
    newest = (await refresh(server, client, newest)).json()["refresh_token"]
    assert (await refresh(server, client, first, **more)).json()["error"] == "invalid_grant"
    assert (await refresh(server, client, newest)).json()["error"] == "invalid_grant"


async def test_a_token_that_was_used_long_ago_burns_the_family_although_nothing_is_kept_of_it(
    server: Server,
) -> None:
    client = await register(server)
    tokens = [
        (await redeem(server, client, (await obtain_code(server, client))["code"])).json()["refresh_token"]
    ]
    for _ in range(8):
        tokens.append((await refresh(server, client, tokens[-1])).json()["refresh_token"])
    assert len(set(tokens)) == 9
    assert (await refresh(server, client, tokens[1])).json()["error"] == "invalid_grant"
    assert (await refresh(server, client, tokens[-1])).json()["error"] == "invalid_grant"


async def test_a_made_up_token_with_the_mark_of_a_family_burns_nothing(server: Server) -> None:
    client = await register(server)
    token = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    second = (await refresh(server, client, token)).json()["refresh_token"]
    mark = token_format.family_mark(token)
    assert token_format.family_mark(second) == mark
    for n in range(20):
        made_up = token_format.make("ww", "r", bytes([n]) * 48, mark)
        assert (await refresh(server, client, made_up)).json()["error"] == "invalid_grant"
        assert (await server.post("/revoke", client, token=made_up)).status_code == 200
    assert (await refresh(server, client, second)).status_code == 200


async def test_an_old_token_of_a_family_revokes_it(server: Server) -> None:
    client = await register(server)
    token = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    newest = token
    for _ in range(3):
        newest = (await refresh(server, client, newest)).json()["refresh_token"]
    assert (await server.post("/revoke", client, token=token)).status_code == 200
    assert (await refresh(server, client, newest)).json()["error"] == "invalid_grant"


async def test_rt_05_twenty_refreshes_at_once_leave_one_descendant(server: Server) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    answers = await together(*(refresh(server, client, first) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_rt_03_another_client_cannot_use_or_burn_it(server: Server) -> None:
    client, thief = await register(server), await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    assert (await refresh(server, thief, first)).json()["error"] == "invalid_grant"
    assert (await refresh(server, client, first)).status_code == 200


async def test_signing_out_ends_what_was_not_granted_offline(server: Server) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    page = await server.http.get("/sign-out")
    await server.http.post("/sign-out", data={"csrf": csrf_of(page.text), "decision": "sign_out"})
    assert (await refresh(server, client, first)).json()["error"] == "invalid_grant"


async def test_a_public_client_keeps_its_refresh_token_bound_to_its_key(server: Server) -> None:
    client = await register(server, token_endpoint_auth_method="none")
    code = (await obtain_code(server, client))["code"]
    key, other = jwk.generate("ES256"), jwk.generate("ES256")

    async def send(proof_key: jwk.Key, **form: str) -> httpx.Response:
        claims = {
            "jti": os.urandom(8).hex(),
            "htm": "POST",
            "htu": "http://localhost/token",
            "iat": int(server.clock()),
        }
        headers = {"dpop": jwt.encode_with_key(proof_key, claims, "dpop+jwt")}
        return await server.http.post(
            "/token", data=form | {"client_id": client.client.client_id}, headers=headers
        )

    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    tokens = (await send(key, **form)).json()
    assert tokens["token_type"] == "DPoP"
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert (await send(other, **again)).json()["error"] == "invalid_grant", "DP-04"
    assert (await send(key, **again)).status_code == 200


async def test_a_revoked_refresh_token_ends_its_grant(server: Server) -> None:
    client, other = await register(server), await register(server)
    answer = await obtain_code(server, client)
    tokens = (await redeem(server, client, answer["code"])).json()
    await server.post("/revoke", other, token=tokens["refresh_token"])
    renewed = (await refresh(server, client, tokens["refresh_token"])).json()
    assert "access_token" in renewed, "another client ends nothing"
    assert (await server.post("/revoke", client, token=renewed["refresh_token"])).status_code == 200
    assert (await refresh(server, client, renewed["refresh_token"])).json()["error"] == "invalid_grant"
    for token in (tokens["access_token"], renewed["access_token"]):
        seen = await server.post("/introspect", client, token=token)
        assert seen.json() == {"active": False}, "RFC 7009 §2.1"
