"""The authorization code flow: sign-in, consent, code, tokens, refresh; and what must not work about it."""

import html
import os
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from tests.fixtures.servers import Server, together
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows import accounts
from watchword.flows.client_registry import Registered
from watchword.jose import jwk, jwt
from watchword.oauth import pkce, token_format
from watchword.store.database import Transaction

REDIRECT = "https://app.example.com/cb"
VERIFIER = "a" * 43


async def register(server: Server, **given: Any) -> Registered:
    """Register a client of the code flow."""
    wanted: dict[str, Any] = {
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": "openid profile orders:read",
    }
    return await server.client(**wanted | given)


def request(client: Registered, **changes: str | None) -> dict[str, str]:
    """Return the parameters of an authorization request with some changed; None removes one."""
    parameters: dict[str, str | None] = {
        "client_id": client.client.client_id,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid orders:read",
        "state": "st&te=1",
        "nonce": "n-1",
        "code_challenge": pkce.challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (parameters | changes).items() if value is not None}


async def sign_in(server: Server, page: httpx.Response, name: str = "ada") -> httpx.Response:
    """Fill in the sign-in form that a page leads to."""
    shown = await server.http.get(page.headers["location"]) if page.status_code == 303 else page
    hidden = re.search(r'name="return" value="([^"]+)"', shown.text)
    form = {"csrf": csrf_of(shown.text), "identifier": name, "password": PASSWORD}
    form |= {"return": html.unescape(hidden[1])} if hidden else {}
    return await server.http.post("/sign-in", data=form)


async def decide(server: Server, page: httpx.Response, decision: str = "approve") -> httpx.Response:
    """Answer the consent page."""
    interaction = re.search(r'name="interaction" value="([^"]+)"', page.text)
    assert interaction is not None, page.text[:400]
    form = {"csrf": csrf_of(page.text), "interaction": interaction[1], "decision": decision}
    return await server.http.post("/authorize/consent", data=form)


def answer_of(response: httpx.Response) -> dict[str, str]:
    """Return the parameters of an authorization response."""
    assert response.status_code == 303, response.text[:400]
    location = response.headers["location"]
    assert location.startswith(REDIRECT + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


async def obtain_code(server: Server, client: Registered, **changes: str | None) -> dict[str, str]:
    """Walk the whole flow as a new person would; return the answer."""
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    begun = await server.http.get("/authorize", params=request(client, **changes))
    back = await sign_in(server, begun)
    consent = await server.http.get(back.headers["location"])
    return answer_of(await decide(server, consent))


async def redeem(server: Server, client: Registered, code: str, **changes: str) -> httpx.Response:
    """Redeem a code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    return await server.post("/token", client, **form | changes)


async def refresh(server: Server, client: Registered, token: str, **more: str) -> httpx.Response:
    """Use a refresh token."""
    return await server.post("/token", client, grant_type="refresh_token", refresh_token=token, **more)


async def test_the_whole_flow_gives_tokens_that_say_what_was_granted(server: Server) -> None:
    client = await register(server)
    answer = await obtain_code(server, client)
    assert answer["state"] == "st&te=1"
    assert answer["iss"] == server.settings.issuer, "AZ-13"
    tokens = (await redeem(server, client, answer["code"])).json()
    assert tokens["scope"] == "openid orders:read"
    keys = jwk.parse_set((await server.http.get("/.well-known/jwks.json")).json())
    claims = jwt.decode(
        tokens["id_token"],
        keys,
        algorithms=("ES256",),
        typ="JWT",
        issuer=server.settings.issuer,
        audience=client.client.client_id,
        now=int(server.clock()),
    )
    assert claims["nonce"] == "n-1"
    assert claims["amr"] == ["pwd"]
    assert claims["auth_time"] <= claims["iat"]
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    info = await server.http.get("/userinfo", headers=headers)
    assert info.json() == {"sub": claims["sub"]}


async def test_a_second_request_needs_neither_sign_in_nor_consent(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    silent = await server.http.get("/authorize", params=request(client, prompt="none"))
    assert "code" in answer_of(silent)
    wider = await server.http.get("/authorize", params=request(client, prompt="none", scope="openid profile"))
    assert answer_of(wider)["error"] == "consent_required", "AZ-23"


async def test_az_10_prompt_none_without_a_session_is_answered_without_a_page(server: Server) -> None:
    client = await register(server)
    answer = answer_of(await server.http.get("/authorize", params=request(client, prompt="none")))
    assert (answer["error"], answer["state"]) == ("login_required", "st&te=1")


async def test_az_11_prompt_login_asks_for_credentials_again(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    begun = await server.http.get("/authorize", params=request(client, prompt="login"))
    assert "/sign-in?return=" in begun.headers["location"]
    server.clock.advance(5)
    for interaction in await under_way(server):
        resumed = await server.http.get(f"/authorize/resume?interaction={interaction}")
        assert resumed.status_code != 303 or "code=" not in resumed.headers["location"], (
            "the old session is not enough"
        )
    shown = await server.http.get(begun.headers["location"])
    assert 'type="password"' in shown.text
    back = await sign_in(server, begun)
    assert "code" in answer_of(await server.http.get(back.headers["location"]))


async def under_way(server: Server) -> list[str]:
    """Return the identifiers of the requests under way."""

    async def listed(tx: Transaction) -> list[str]:
        return [row["id"] for row in await tx.all("SELECT id FROM interactions WHERE used_at IS NULL")]

    return await server.runtime.database.read(listed)


async def test_az_22_denying_says_so_to_the_client(server: Server) -> None:
    client = await register(server)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await server.http.get("/authorize", params=request(client)))
    answer = answer_of(await decide(server, await server.http.get(back.headers["location"]), "deny"))
    assert answer["error"] == "access_denied"
    assert "code" not in answer


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/cb",
        REDIRECT + "/x",
        REDIRECT + "?next=1",
        REDIRECT + "#f",
        "https://app.example.com.evil.example/cb",
        "https://app.example.com/x/../cb",
        "javascript:alert(1)",
        "http://app.example.com/cb",
        REDIRECT + "\n",
        "http://[",
        None,
    ],
)
async def test_ru_nothing_is_ever_sent_to_an_address_that_was_not_verified(
    server: Server, uri: str | None
) -> None:
    client = await register(server)
    assert (await server.http.get("/authorize", params=request(client))).status_code == 303
    shown = await server.http.get("/authorize", params=request(client, redirect_uri=uri))
    assert shown.status_code == 400
    assert "location" not in shown.headers


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"resource": "https://other.example"}, "invalid_target"),
        ({"max_age": "abc"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
    ],
    ids=lambda value: str(value),
)
async def test_a_wrong_request_is_answered_to_the_client(server: Server, changes: Any, error: str) -> None:
    client = await register(server)
    answer = answer_of(await server.http.get("/authorize", params=request(client, **changes)))
    assert answer["error"] == error
    assert answer["iss"] == server.settings.issuer


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "b" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "https://other.example"},
        {"redirect_uri": ""},
    ],
    ids=["PK-04 wrong verifier", "PK-04 no verifier", "other redirect_uri", "no redirect_uri"],
)
async def test_a_code_is_worth_nothing_without_what_it_is_bound_to(
    server: Server, changes: dict[str, str]
) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    refused = await redeem(server, client, code, **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await redeem(server, client, code)).status_code == 200


async def test_co_01_a_code_works_once_and_its_replay_ends_what_it_bought(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    tokens = (await redeem(server, client, code)).json()
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"] is True
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json() == {
        "active": False
    }
    assert (await refresh(server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_co_04_of_twenty_redemptions_at_once_one_wins(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    answers = await together(*(redeem(server, client, code) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 19


async def test_az_50_a_code_expires_after_a_minute(server: Server) -> None:
    client = await register(server)
    code = (await obtain_code(server, client))["code"]
    server.clock.advance(60)
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"


async def test_a_code_of_another_client_is_refused_and_lives_on(server: Server) -> None:
    client, thief = await register(server), await register(server)
    code = (await obtain_code(server, client))["code"]
    assert (await redeem(server, thief, code)).json()["error"] == "invalid_grant"
    assert (await redeem(server, client, code)).status_code == 200


async def test_se_11_a_request_under_way_belongs_to_one_browser(server: Server) -> None:
    client = await register(server)
    begun = await server.http.get("/authorize", params=request(client))
    resume = await sign_in_path(server, begun)
    server.http.cookies.clear()
    assert (await server.http.get(resume)).status_code == 400


async def sign_in_path(server: Server, begun: httpx.Response) -> str:
    """Return where the sign-in would lead back to."""
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, begun)
    return str(back.headers["location"])


async def test_rotation_and_reuse(server: Server) -> None:
    client = await register(server)
    first = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()[
        "refresh_token"
    ]
    second = (await refresh(server, client, first)).json()["refresh_token"]
    assert second != first
    again = (await refresh(server, client, first)).json()["refresh_token"]
    assert again == second, "TK-06: the loser of an honest race gets the very same successor"
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


async def test_a_pushed_request_works_once_for_its_client(server: Server) -> None:
    client, other = await register(server), await register(server)
    await obtain_code(server, client)
    pushed = await server.post("/par", client, **request(client))
    assert pushed.status_code == 201
    uri = pushed.json()["request_uri"]
    stolen = {"client_id": other.client.client_id, "request_uri": uri}
    assert (await server.http.get("/authorize", params=stolen)).status_code == 400, "PA-02"
    own = {"client_id": client.client.client_id, "request_uri": uri}
    assert "code" in answer_of(await server.http.get("/authorize", params=own))
    assert (await server.http.get("/authorize", params=own)).status_code == 400


async def test_form_post_sends_the_same_by_a_form(server: Server) -> None:
    client = await register(server)
    await obtain_code(server, client)
    page = await server.http.get(
        "/authorize", params=request(client, response_mode="form_post", state='"><script>')
    )
    assert page.status_code == 200
    assert f'action="{REDIRECT}"' in page.text
    assert "<script>" not in page.text.replace("<script src", ""), "AZ-15"
    assert 'name="code"' in page.text


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
