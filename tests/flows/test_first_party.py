"""Applications of the operator's own: nobody is asked to consent, and all else is as with any other."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from tests.fixtures.accounts import newest, user_of
from tests.fixtures.code_flow import REDIRECT, answer_of, decide, redeem, register, request, sign_in
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows import consents
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import account_access, account_changes, accounts, people
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.errors import OAuthError
from watchword.settings import ScopeText

choosy = server_with(scopes={"orders:read": ScopeText(sentence="Read your orders", optional=True)})


async def ask(server: Server, client: Registered, **changes: str | None) -> httpx.Response:
    """Send an authorization request in the browser that is signed in."""
    return await server.http.get("/authorize", params=request(client, **changes))


async def signed_in(server: Server, client: Registered, **changes: str | None) -> httpx.Response:
    """Make an account, sign in at a client's request, and return where that leads."""
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await ask(server, client, **changes))
    return await server.http.get(back.headers["location"])


async def test_nobody_is_asked_about_an_application_of_the_operators_own(server: Server) -> None:
    client = await register(server, first_party=True)
    code = answer_of(await signed_in(server, client))["code"]
    tokens = (await redeem(server, client, code)).json()
    assert tokens["scope"] == "openid orders:read"
    given = (await newest(server, "consent.given")).data
    assert (given["scope"], given["implied"]) == ("openid orders:read", True)
    wider = await ask(server, client, prompt="none", scope="openid profile orders:read")
    assert "code" in answer_of(wider), "a silent request as well, and for more than before"
    pushed = await server.post("/par", client, **request(client, prompt="none", scope="openid profile"))
    reference = {"client_id": client.client.client_id, "request_uri": pushed.json()["request_uri"]}
    assert "code" in answer_of(await server.http.get("/authorize", params=reference))


async def test_it_may_ask_all_the_same_and_others_have_to(server: Server) -> None:
    client, other = await register(server, first_party=True), await register(server)
    assert "code" in answer_of(await signed_in(server, client))
    shown = await ask(server, client, prompt="consent")
    assert "code" in answer_of(await decide(server, shown))
    assert answer_of(await ask(server, other, prompt="none"))["error"] == "consent_required"
    assert answer_of(await ask(server, client, prompt="login none"))["error"] == "invalid_request"


async def test_what_was_implied_is_listed_withdrawn_and_forgotten(server: Server) -> None:
    client = await register(server, first_party=True)
    code = answer_of(await signed_in(server, client, scope="openid orders:read"))["code"]
    assert (await redeem(server, client, code)).status_code == 200
    ada = await user_of(server, "ada")
    listed = await account_access.applications(server.runtime, ada.id, after="", limit=10)
    assert [one.client.client_id for one, _ in listed] == [client.client.client_id]
    assert await account_access.withdraw(server.runtime, ada.id, client.client.client_id) == 1
    assert "code" in answer_of(await ask(server, client, prompt="none")), "it is begun anew"
    await change(server, client, first_party=False)
    refused = answer_of(await ask(server, client, prompt="none"))
    assert refused["error"] == "consent_required", "nobody ever agreed to it"


async def test_what_a_person_left_out_is_not_implied_later(choosy: Server) -> None:
    client = await register(choosy, first_party=True)
    page = await signed_in(choosy, client, prompt="consent")
    assert "code" in answer_of(await decide(choosy, page)), "without the optional scope"
    for scope, answer in (
        ("openid orders:read", "code"),
        ("openid profile orders:read", "error"),
        ("openid profile", "code"),
    ):
        assert answer in answer_of(await ask(choosy, client, prompt="none", scope=scope)), scope


async def test_nothing_is_implied_of_somebody_who_was_deleted_just_now(server: Server) -> None:
    client = await register(server, first_party=True)
    asked = AuthorizationRequest(
        client_id=client.client.client_id, redirect_uri=REDIRECT, redirect_uri_sent=True, scope=("openid",)
    )
    await signed_in(server, await register(server))
    ada = await user_of(server, "ada")
    session = (await people.live_sessions(server.runtime, ada.id))[0]

    async def implied() -> bool:
        await consents.imply(server.runtime, asked, client.client, session)
        return bool(await account_access.applications(server.runtime, ada.id, after="", limit=10))

    assert await implied()
    await account_changes.delete(server.runtime, ada, actor="test")
    assert not await implied()


async def test_of_first_requests_at_once_each_is_answered(server: Server) -> None:
    client = await register(server, first_party=True)
    assert "code" in answer_of(await signed_in(server, client))
    other = await register(server, first_party=True)
    answers = await asyncio.gather(*(ask(server, other, prompt="none") for _ in range(5)))
    assert all("code" in answer_of(answer) for answer in answers)


async def change(server: Server, client: Registered, **given: Any) -> None:
    """Change a client as an administrator does."""
    found = await client_registry.find(server.runtime, client.client.client_id)
    assert found is not None
    wanted = msgspec.structs.replace(client_metadata.to_input(found), **given)
    await client_registry.change(server.runtime, found.client_id, wanted, expected_version=None, actor="ops")


async def test_rfc_8252_8_6_people_are_asked_about_what_another_program_can_pass_for(server: Server) -> None:
    public = {"token_endpoint_auth_method": "none"}
    client = await register(server, **public, first_party=True)
    assert "code" in answer_of(await signed_in(server, client)), "a browser application at its own address"
    for imitable in (
        {"application_type": "native"},
        public | {"redirect_uris": [REDIRECT, "http://127.0.0.1/cb"]},
        public | {"redirect_uris": ["cursor://app.example/cb"]},
    ):
        other = await register(server, **imitable)
        with pytest.raises(OAuthError) as refused:
            await change(server, other, first_party=True)
        assert (refused.value.code, refused.value.field) == ("invalid_client_metadata", "first_party")
        with pytest.raises(OAuthError):
            await register(server, **imitable, first_party=True)
    with_secret = await register(server, redirect_uris=["http://localhost:3000/cb"], first_party=True)
    assert with_secret.client.first_party, "whoever gets its codes lacks its secret"
