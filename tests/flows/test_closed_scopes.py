"""Scopes for members of groups where tokens are made of other tokens, and where somebody's groups change while they are asked."""

from pathlib import Path

from tests.fixtures import devices, holders, trusted_issuers
from tests.fixtures.code_flow import (
    PASSWORD,
    answer_of,
    decide,
    redeem,
    register,
    request,
    sign_in,
)
from tests.fixtures.relying_party import claims_of
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server, refusal
from tests.flows import test_identity_assertions as at_provider
from tests.flows import test_trusted_providers as trusted
from tests.flows.test_groups import SCOPE, SCOPES, put_in, signed_in
from tests.flows.test_token_exchange import API, DOWN, service, swap

from watchword.flows import token_verification
from watchword.flows.token_verification import Use
from watchword.flows.users import accounts
from watchword.jose import jwk
from watchword.settings import DetailText, ScopeText

server = server_with(scopes={**SCOPES, "read": ScopeText(groups=("staff",))}, fetch_allow_loopback=True)


async def test_tk_08_an_exchange_gives_nobody_back_what_a_group_opened(server: Server) -> None:
    client = await register(server, scope=SCOPE, resources=[API])
    await accounts.create(server.runtime, username="ada", password=PASSWORD, groups=("staff",), actor="test")
    back = await sign_in(server, await server.http.get("/authorize", params=request(client, scope=SCOPE)))
    consent = await server.http.get(back.headers["location"])
    bought = await redeem(server, client, answer_of(await decide(server, consent))["code"])
    sent = str(bought.json()["access_token"])
    api = await service(server, scope="orders:read orders:write groups", resources=[API, DOWN])
    member = claims_of((await swap(server, api, sent, audience=DOWN)).json()["access_token"])
    assert set(member["scope"].split()) == {"orders:read", "orders:write", "groups"}, "the honest variant"
    assert member["groups"] == ["staff"]
    silent = await swap(server, api, sent, audience=DOWN, scope="orders:read")
    assert "groups" not in claims_of(silent.json()["access_token"]), "the scope that tells them is left out"
    await put_in(server, "north")
    left = claims_of((await swap(server, api, sent, audience=DOWN)).json()["access_token"])
    assert (set(left["scope"].split()), left["groups"]) == ({"orders:read", "groups"}, ["north"])
    asked = await swap(server, api, sent, audience=DOWN, scope="orders:write")
    assert refusal(asked) == (400, "invalid_scope")


async def test_an_api_token_from_before_a_scope_was_for_members_is_exchanged_for_none_with_it(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path) as before:
        user = await accounts.create(before.runtime, username="ada", password=PASSWORD, actor="test")
        issued = await before.token("orders:read orders:write groups", owner=user.id, resource=API)
    async with open_server(tmp_path, scopes=SCOPES) as server:
        api = await service(server, scope="orders:read orders:write groups")
        for groups, scope in (((), "orders:read groups"), (("staff",), "orders:read orders:write groups")):
            if groups:
                issued = await server.token("orders:read orders:write groups", owner=user.id, resource=API)
            claims = claims_of((await swap(server, api, issued.secret, audience=DOWN)).json()["access_token"])
            assert set(claims["scope"].split()) == set(scope.split())
            assert "groups" not in claims, "nobody agreed to tell them to an application (AP-06)"
            await put_in(server, "staff")


async def test_an_api_token_from_before_a_scope_was_for_members_is_worth_what_is_open_to_its_owner(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path) as before:
        user = await accounts.create(before.runtime, username="ada", password=PASSWORD, actor="test")
        both = await before.token("orders:read orders:write", owner=user.id)
        closed = await before.token("orders:write", owner=user.id, rate_limit=100)
        of_program = await before.token("orders:write")
    async with open_server(tmp_path, scopes=SCOPES) as server:
        api = await server.client(scope="introspect")

        async def worth(secret: str) -> object:
            return (await server.post("/introspect", api, token=secret)).json()["scope"]

        async def narrowed() -> str:
            headers = {"authorization": f"Bearer {both.secret}"}
            made = await server.http.post("/api/v1/tokens/self/narrow", json={}, headers=headers)
            return str(made.json()["token"])

        child = await narrowed()
        assert await worth(both.secret) == await worth(child) == "orders:read"
        assert await worth(closed.secret) == ""
        assert await worth(of_program.secret) == "orders:write", "a program is in no group"
        use = Use(scope=("orders:write",))
        assert (await token_verification.verify(server.runtime, both.secret, use)).reason == "wrong_scope"
        await put_in(server, "staff")
        assert await worth(both.secret) == await worth(child) == "orders:read orders:write"
        assert await worth(closed.secret) == "orders:write", "the honest variant"
        assert (await token_verification.verify(server.runtime, both.secret, use)).active


async def test_a_provider_that_is_trusted_opens_nothing_that_is_closed_to_its_people(server: Server) -> None:
    client = await trusted.agent(server, scope="read write groups")
    user_id = await trusted_issuers.ada(server)
    await trusted_issuers.people(server, scope="read write groups")

    async def asked(**form: str) -> dict[str, object]:
        assertion = trusted.speaks_of(server, client, scope="read write groups")
        answer = await trusted_issuers.present(server, client, assertion, **form)
        return claims_of(answer.json()["access_token"])

    closed = await asked()
    assert (closed["sub"], closed["scope"]) == (user_id, "write groups")
    assert "groups" not in closed, "of no group"
    await put_in(server, "staff")
    member = await asked()
    assert (member["scope"], member["groups"]) == ("read write groups", ["staff"])
    assert "groups" not in await asked(scope="read")


async def test_a_proof_of_an_identity_is_worth_what_is_open_to_its_person(server: Server) -> None:
    holder, key = await holders.make_holder(server), jwk.generate("ES256")
    client = await server.client(
        token_endpoint_auth_method="none", grant_types=["zero_proof"], scope="orders:write orders:read groups"
    )
    claims = claims_of((await holders.token(holder, client.client.client_id, key)).json()["access_token"])
    assert (claims["scope"], "groups" in claims) == ("orders:read groups", False)
    await put_in(server, "staff")
    claims = claims_of((await holders.token(holder, client.client.client_id, key)).json()["access_token"])
    assert (claims["scope"], claims["groups"]) == ("orders:write orders:read groups", ["staff"])


async def test_an_identity_assertion_says_no_scope_that_is_closed_to_its_person(server: Server) -> None:
    client = await at_provider.own_client(server)
    id_token = await at_provider.id_token_of(server, client)
    assert (await at_provider.ask(server, client, id_token)).json()["scope"] == "write"
    assert refusal(await at_provider.ask(server, client, id_token, scope="read")) == (400, "invalid_scope")
    await put_in(server, "staff")
    assert (await at_provider.ask(server, client, id_token)).json()["scope"] == "read write"


async def test_who_may_have_nothing_can_go_on_as_somebody_else(server: Server) -> None:
    client, _ = await signed_in(server)
    await accounts.create(server.runtime, username="eve", password=PASSWORD, groups=("staff",), actor="test")
    asked = request(client, scope="orders:write", nonce=None)
    for prompt, page in (("select_account", "/select-account"), ("login", "/sign-in")):
        begun = await server.http.get("/authorize", params=asked | {"prompt": prompt})
        assert page in begun.headers["location"]
    back = await sign_in(server, begun, "eve")
    assert "Change orders" in (await server.http.get(back.headers["location"])).text


async def test_a_consent_page_is_shown_again_when_a_group_opens_more_than_it_told(server: Server) -> None:
    client, consent = await signed_in(server)
    assert "Change orders" not in consent.text
    await put_in(server, "staff")
    again = await decide(server, consent)
    assert "Change orders" in again.text
    granted = (await redeem(server, client, answer_of(await decide(server, again))["code"])).json()
    assert "orders:write" in granted["scope"].split()
    asked = request(client, scope="orders:write", nonce=None, prompt="consent")
    page = await server.http.get("/authorize", params=asked)
    await put_in(server)
    assert answer_of(await decide(server, page))["error"] == "access_denied"


async def test_a_device_gets_no_more_than_the_page_told_and_nothing_of_nothing(server: Server) -> None:
    device = await devices.register(server, scope="orders:read orders:write")
    await devices.person(server)
    codes = await devices.begin(server, device, scope="orders:read orders:write")
    page = await devices.enter(server, codes["user_code"])
    await put_in(server, "staff")
    again = await devices.decide(server, page)
    assert "Change orders" in again.text
    await devices.decide(server, again)
    assert (await devices.poll(server, device, codes)).json()["scope"] == "orders:read orders:write"
    codes = await devices.begin(server, device, scope="orders:write")
    page = await devices.enter(server, codes["user_code"])
    await put_in(server)
    refused = await devices.decide(server, page)
    assert (refused.status_code, "Nothing that was requested is open" in refused.text) == (400, True)
    assert refusal(await devices.poll(server, device, codes)) == (400, "authorization_pending")


async def test_a_device_for_whose_person_only_the_details_are_left_gets_these(tmp_path: Path) -> None:
    kinds = {"payment": DetailText(sentence="Pay")}
    async with open_server(tmp_path, scopes=SCOPES, authorization_details=kinds) as server:
        device = await devices.register(
            server, scope="orders:write", authorization_details_types=["payment"], redirect_uris=[]
        )
        await devices.person(server)
        asked = {"scope": "orders:write", "authorization_details": '[{"type": "payment"}]'}
        codes = await devices.begin(server, device, **asked)
        page = await devices.enter(server, codes["user_code"])
        assert "Change orders" not in page.text
        await devices.decide(server, page)
        got = (await devices.poll(server, device, codes)).json()
        assert got["authorization_details"] == [{"type": "payment"}]
        assert not got.get("scope")
