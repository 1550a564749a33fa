"""Attacks on what was given: power that outgrows or outlives what it came from, and answers that go where nobody agreed to."""

from typing import Any

import httpx
import pytest
from tests.attacks.test_administration import bearer, call
from tests.attacks.test_grants import (
    OFFLINE,
    another_code,
    change,
    is_active,
    offline_client,
    tokens_of,
)
from tests.fixtures.code_flow import (
    REDIRECT,
    answer_of,
    decide,
    obtain_code,
    redeem,
    refresh,
    register,
    request,
    sign_in,
)
from tests.fixtures.rows import in_turn
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server
from tests.flows.test_first_sign_in import PASSWORD, csrf_of

from watchword.flows import client_auth
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import accounts
from watchword.oauth.clients import Client
from watchword.store.audit import events
from watchword.store.database import Transaction

ELSEWHERE = "https://elsewhere.example.net/cb"
API, OTHER_API = "https://api.example.com", "https://other-api.example.com"

server = server_with(registration="open")


async def test_tk_03_a_resource_that_the_client_lost_is_gone_with_the_next_token(server: Server) -> None:
    client = await offline_client(server, resources=[API, OTHER_API])
    answer = await obtain_code(server, client, scope=OFFLINE, resource=OTHER_API)
    tokens = (await redeem(server, client, answer["code"])).json()
    renewed = await refresh(server, client, tokens["refresh_token"])
    assert renewed.status_code == 200
    waiting = await another_code(server, client, scope=OFFLINE, resource=OTHER_API)
    await change(server, client, resources=[API])
    for refused in (
        await refresh(server, client, renewed.json()["refresh_token"]),
        await redeem(server, client, waiting),
    ):
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_ad_07_what_a_client_was_granted_before_it_was_disabled_stays_dead(server: Server) -> None:
    client = await offline_client(server)
    tokens = await tokens_of(server, client)
    code = await another_code(server, client, scope=OFFLINE)
    assert await is_active(server, client, tokens["access_token"])
    await change(server, client, disabled=True)
    assert (await refresh(server, client, tokens["refresh_token"])).status_code == 401
    server.clock.advance(2)
    await change(server, client, disabled=False)
    fresh = await another_code(server, client, scope=OFFLINE)
    assert (await redeem(server, client, fresh)).status_code == 200, "it may begin anew"
    assert not await is_active(server, client, tokens["access_token"])
    assert (await refresh(server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"


async def test_ad_07_a_client_that_is_there_again_at_once_gets_no_token_that_is_dead(server: Server) -> None:
    client = await offline_client(server)
    await tokens_of(server, client)
    for disabled in (True, False):
        await change(server, client, disabled=disabled)
    code = await another_code(server, client, scope=OFFLINE)
    tokens = (await redeem(server, client, code)).json()
    assert await is_active(server, client, tokens["access_token"])
    server.clock.advance(10)
    assert await is_active(server, client, tokens["access_token"])
    assert (await refresh(server, client, tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
@pytest.mark.parametrize("how", ["is disabled", "is deleted"])
async def test_ad_07_a_client_that_ends_once_it_was_authenticated_gets_no_token(
    server: Server, monkeypatch: pytest.MonkeyPatch, how: str, token_format: str
) -> None:
    client = await server.client(access_token_format=token_format)
    assert (await server.grant(client)).status_code == 200, "the honest variant"
    authenticate = client_auth.authenticate

    async def ended_just_now(*given: Any) -> Client:
        found = await authenticate(*given)
        if how == "is deleted":
            await client_registry.delete(server.runtime, client.client.client_id, actor="test")
        else:
            await change(server, client, disabled=True)
        return found

    monkeypatch.setattr(client_auth, "authenticate", ended_just_now)
    refused = await server.grant(client)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def page_of(server: Server, client: Registered, **changes: str) -> httpx.Response:
    """Walk up to the consent page."""
    page = await server.http.get("/authorize", params=request(client, **changes))
    while page.status_code == 303:
        to_sign_in = "/sign-in?" in page.headers["location"]
        page = await sign_in(server, page) if to_sign_in else await server.http.get(page.headers["location"])
    return page


async def consents(server: Server) -> int:
    """Return how many consents are kept."""

    async def counted(tx: Transaction) -> int:
        row = await tx.one("SELECT COUNT(*) AS n FROM consents")
        return int(row["n"]) if row else 0

    return await server.runtime.database.read(counted)


@pytest.mark.parametrize("how", ["loses the address", "is disabled", "is deleted"])
@pytest.mark.parametrize("decision", ["approve", "deny"])
async def test_az_52_a_client_that_changed_while_a_person_read_gets_no_answer(
    server: Server, how: str, decision: str
) -> None:
    client = await register(server, redirect_uris=[REDIRECT, ELSEWHERE])
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    honest = await decide(server, await page_of(server, client, redirect_uri=ELSEWHERE), decision)
    assert honest.headers["location"].startswith(ELSEWHERE)
    page, before = await page_of(server, client, prompt="consent"), await consents(server)
    if how == "is deleted":
        await client_registry.delete(server.runtime, client.client.client_id, actor="test")
        before = 0
    elif how == "is disabled":
        await change(server, client, disabled=True)
    else:
        await change(server, client, redirect_uris=[ELSEWHERE])
    refused = await decide(server, page, decision)
    assert refused.status_code == 400
    assert "location" not in refused.headers
    assert await consents(server) == before, "nor is an answer to it kept"


async def newcomer(server: Server, *redirect_uris: str) -> dict[str, Any]:
    """Register a confidential client as anybody can where registration is open."""
    document = {
        "client_name": "A trusted name",
        "redirect_uris": list(redirect_uris),
        "grant_types": ["authorization_code"],
        "scope": "openid profile",
    }
    registered: dict[str, Any] = (await server.http.post("/register", json=document)).json()
    return registered | {"document": document}


def known_as(registered: dict[str, Any]) -> Registered:
    """Return a client that registered itself as the tests of the code flow name clients."""
    client = Client(client_id=registered["client_id"], name="", token_endpoint_auth_method="")
    return Registered(client, registered["client_secret"], None)


async def silently(server: Server, client: Registered, redirect_uri: str) -> httpx.Response:
    """Ask for a code without any page."""
    asked = request(client, scope="openid", prompt="none", redirect_uri=redirect_uri)
    return await server.http.get("/authorize", params=asked)


async def test_dc_07_a_consent_is_to_the_one_destination_that_was_shown(server: Server) -> None:
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    honest = known_as(await newcomer(server, REDIRECT, REDIRECT + "/2"))
    await decide(server, await page_of(server, honest, scope="openid"))
    assert "code" in answer_of(await silently(server, honest, REDIRECT))
    twofold = known_as(await newcomer(server, REDIRECT, ELSEWHERE))
    page = await page_of(server, twofold, scope="openid")
    assert "elsewhere" not in page.text, "the person sees the destination that they know"
    await decide(server, page)
    answer = (await silently(server, twofold, ELSEWHERE)).headers["location"]
    assert "error=consent_required" in answer
    assert "code=" not in answer


async def test_dc_07_a_client_that_moves_is_agreed_to_anew(server: Server) -> None:
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    registered = await newcomer(server, REDIRECT)
    client, document = known_as(registered), registered["document"]
    await decide(server, await page_of(server, client, scope="openid"))
    other = known_as(await newcomer(server, REDIRECT))
    await decide(server, await server.http.get("/authorize", params=request(other, scope="openid")))
    where, headers = (
        registered["registration_client_uri"],
        bearer(registered["registration_access_token"]),
    )

    async def move(redirect_uri: str) -> int:
        changed = document | {"redirect_uris": [redirect_uri], "client_id": registered["client_id"]}
        return (await server.http.put(where, json=changed, headers=headers)).status_code

    assert await move(REDIRECT) == 200
    assert "code" in answer_of(await silently(server, client, REDIRECT))
    assert await move(ELSEWHERE) == 200
    answer = (await silently(server, client, ELSEWHERE)).headers["location"]
    assert "error=consent_required" in answer
    assert "code" in answer_of(await silently(server, other, REDIRECT)), "which did not move"
    assert "code=" not in answer


async def test_ap_05_nobody_lives_longer_by_rotating_a_token_that_does(server: Server) -> None:
    scope = "watchword:tokens:write orders:read"
    lasting, brief = await server.token(scope=scope), await server.token(scope=scope, expires_in=3600)
    briefer = await server.token(scope=scope, expires_in=3599)
    narrowed = await call(server, lasting, "POST", "/tokens/self/narrow", {"expires_in": 600})
    assert (await call(server, brief, "POST", f"/tokens/{briefer.token.id}/rotate", {})).status_code == 200
    for caller in (brief, narrowed.json()["token"]):
        refused = await call(server, caller, "POST", f"/tokens/{lasting.token.id}/rotate", {})
        assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    own = await call(server, brief, "POST", f"/tokens/{brief.token.id}/rotate", {})
    assert (own.status_code, own.json()["expires_at"]) == (200, brief.token.expires_at), (
        "no longer than before"
    )
    plain = await server.token(scope="orders:read")
    assert (await call(server, brief, "POST", f"/tokens/{plain.token.id}/rotate", {})).status_code == 200


async def test_ap_05_nobody_comes_to_a_tokens_power_by_signing_in_as_its_owner(server: Server) -> None:
    await accounts.create(server.runtime, username="kim", password=PASSWORD, actor="test")
    plain, powerful = (
        await server.token(scope="orders:read", owner="kim"),
        await server.token(scope="orders:read watchword:admin", owner="kim"),
    )
    await sign_in(server, await server.http.get("/sign-in"), "kim")

    async def press(token_id: str, button: str) -> httpx.Response:
        csrf = csrf_of((await server.http.get("/account/tokens")).text)
        form = {"csrf": csrf, "do": button, "token": token_id}
        return await server.http.post("/account/tokens", data=form)

    assert "wwa_" in (await press(plain.token.id, "rotate")).text
    refused = await press(powerful.token.id, "rotate")
    assert refused.status_code == 403
    assert "wwa_" not in refused.text
    assert (await call(server, powerful, "GET", "/users")).status_code == 200, "nothing happened to it"
    await press(powerful.token.id, "revoke")
    assert (await call(server, powerful, "GET", "/users")).status_code == 401, "to end it is always right"


async def test_ap_05_who_is_no_longer_an_administrator_keeps_no_token_of_that_power(server: Server) -> None:
    boss = await server.token(scope="watchword:admin")
    for name in ("kim", "eve"):
        await accounts.create(server.runtime, username=name, is_admin=True, actor="test")
    kims = {
        scope: await server.token(scope=scope, owner="kim")
        for scope in ("orders:read", "orders:read introspect", "watchword:users:read", "watchword:admin")
    }
    eves = await server.token(scope="watchword:admin", owner="eve")
    narrowed = await call(
        server, kims["orders:read introspect"], "POST", "/tokens/self/narrow", {"scope": "introspect"}
    )

    async def live(secret: str) -> bool:
        headers = {"authorization": f"Bearer {secret}"}
        return (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200

    held = [*(token.secret for token in kims.values()), narrowed.json()["token"]]
    for more in ({"display_name": "Kim"}, {"is_admin": True}):
        assert (await call(server, boss, "PATCH", "/users/kim", more)).status_code == 200
    assert [await live(secret) for secret in held] == [True] * 5, "the honest variant"
    assert (await call(server, boss, "PATCH", "/users/kim", {"is_admin": False})).status_code == 200
    assert [await live(secret) for secret in held] == [True, False, False, False, False]
    assert await live(eves.secret), "nobody else's token ends"
    ended = await server.runtime.database.read(events.list_events, name="token.revoked", limit=50)
    assert {(one.actor, one.data["reason"]) for one in ended} == {
        (boss.token.id, "no longer an administrator")
    }
    given = await server.token(scope="introspect", owner="kim")
    assert (await call(server, boss, "PATCH", "/users/kim", {"is_admin": False})).status_code == 200
    assert await live(given.secret), "what an ordinary person was given goes with no right"


async def test_ap_05_a_reset_link_of_before_opens_no_administrators_account(server: Server) -> None:
    admin = await server.token(scope="watchword:admin")
    helper = await server.token(scope="watchword:users:write")
    await accounts.create(server.runtime, username="kim", password=None, actor="test")

    async def link() -> str:
        made = await call(server, helper, "POST", "/users/kim/reset-link", {})
        address: str = made.json()["link"]
        return address

    honest = await link()
    assert (await call(server, admin, "PATCH", "/users/kim", {"display_name": "Kim"})).status_code == 200
    assert 'type="password"' in (await server.http.get(honest)).text
    before = await link()
    assert (await call(server, admin, "PATCH", "/users/kim", {"is_admin": True})).status_code == 200
    refused = await server.http.get(before)
    assert refused.status_code == 404
    assert 'type="password"' not in refused.text
    assert (await call(server, helper, "POST", "/users/kim/reset-link", {})).status_code == 403


@pytest.mark.parametrize("limit", [{"quota": 3}, {"rate_limit": 3}], ids=["quota", "rate"])
async def test_ap_05_narrowing_does_not_begin_a_count_anew(server: Server, limit: dict[str, int]) -> None:
    free = await server.token(scope="orders:read orders:write")
    assert (await call(server, free, "POST", "/tokens/self/narrow", {})).status_code == 201
    counted = await server.token(scope="orders:read orders:write", **limit)
    refused = await call(server, counted, "POST", "/tokens/self/narrow", {"scope": "orders:read"})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


@in_turn(
    "limit",
    [{"quota": 50}, {"rate_limit": 50}, {"addresses": ["127.0.0.0/8"]}, {"path": "/api/v1"}],
    ids=["quota", "rate", "addresses", "path"],
)
@in_turn(
    ("path", "body"),
    [
        ("/tokens", {"owner": "reports"}),
        ("/clients", {}),
        ("/trust", {"issuer": "https://ci.example", "claims": {"ref": "main"}, "subject": "ci:{sub}"}),
    ],
    ids=["a token", "a client", "a trust rule"],
)  # fmt: skip
async def test_ap_05_a_limited_token_gives_no_power_that_would_be_free_of_its_limits(
    server: Server, limit: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    power = "watchword:tokens:write watchword:clients:write watchword:trust:write introspect"
    free, limited = await server.token(scope=power), await server.token(scope=power, **limit)
    body |= {"name": f"free {limit}"}
    assert (await call(server, free, "POST", path, body | {"scope": "introspect"})).status_code == 201
    body |= {"name": f"limited {limit}"}
    refused = await call(server, limited, "POST", path, body | {"scope": "introspect"})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    plain = await call(server, limited, "POST", path, body | {"scope": "orders:read"})
    assert plain.status_code == 201
    own = await call(server, limited, "POST", f"/tokens/{limited.token.id}/rotate", {})
    assert own.status_code == 200, "it may renew itself, for that stays as limited"


async def test_a_bound_token_is_not_accepted_by_whoever_asks_for_no_proof(server: Server) -> None:
    jkt = "A" * 43
    admin, bound = await server.token(scope="watchword:admin"), await server.token(jkt=jkt)

    async def verdict(**told: str) -> tuple[bool, str]:
        asked = {"token": bound.secret, **told}
        answer = (await call(server, admin, "POST", "/tokens/verify", asked)).json()
        return answer["active"], answer["reason"]

    assert await verdict(jkt=jkt) == (True, "active")
    assert await verdict(jkt="B" * 43) == (False, "unbound")
    assert await verdict() == (False, "unbound")
    assert await verdict(jkt="") == (False, "unbound")
    assert await verdict(jkt=jkt, resource=bound.token.resource, scope=bound.token.scope) == (True, "active")
    assert await verdict(jkt=jkt, resource=OTHER_API) == (False, "wrong_resource")
    assert await verdict(jkt=jkt, scope=f"{bound.token.scope} orders:delete") == (False, "wrong_scope")
