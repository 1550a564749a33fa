"""RFC 8707: what a client calls a resource, and what the token that it gets calls it."""

import secrets

import httpx
import msgspec
import pytest
from tests.fixtures.code_flow import (
    answer_of,
    decide,
    obtain_code,
    redeem,
    refresh,
    register,
    request,
    sign_in,
)
from tests.fixtures.servers import Server, basic
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.users import accounts
from watchword.jose import jwk, jwt
from watchword.oauth.clients import TokenFormat
from watchword.oauth.errors import OAuthError
from watchword.store.database import Transaction

BARE = "https://api.example.com"


def audience_of(answer: dict[str, str]) -> object:
    """Return for whom an access token is meant."""
    return jwt.read_claims(jwk.b64decode(answer["access_token"].split(".")[1]))["aud"]


@pytest.mark.parametrize(("registered", "asked"), [(BARE, f"{BARE}/"), (f"{BARE}/", BARE)])
async def test_a_slash_for_an_empty_path_names_the_same_resource(
    server: Server, registered: str, asked: str
) -> None:
    """As JavaScript's URL writes it, and so clients made with the MCP SDK for TypeScript."""
    client = await register(server, resources=[registered], scope="openid orders:read offline_access")
    answer = await obtain_code(
        server, client, resource=asked, scope="openid orders:read offline_access", prompt="consent"
    )
    tokens = (await redeem(server, client, answer["code"], resource=asked)).json()
    assert audience_of(tokens) == registered, "the API knows itself by the name that was registered"
    refreshed = (await refresh(server, client, tokens["refresh_token"], resource=asked)).json()
    assert audience_of(refreshed) == registered


@pytest.mark.parametrize(
    "asked", ["https://api.example.com/mcp/", "https://api.example.com/mcp//", "https://API.example.com/mcp"]
)
async def test_every_other_letter_of_a_resource_counts(server: Server, asked: str) -> None:
    client = await server.client(scope="orders:read", resources=[f"{BARE}/mcp"])
    honest = await server.post("/token", client, grant_type="client_credentials", resource=f"{BARE}/mcp")
    assert audience_of(honest.json()) == f"{BARE}/mcp"
    refused = await server.post("/token", client, grant_type="client_credentials", resource=asked)
    assert refused.json()["error"] == "invalid_target"


async def test_tokens_are_for_some_of_the_granted_resources_and_never_for_another(server: Server) -> None:
    other, third = "https://other.example", "https://third.example"
    client = await register(server, resources=[BARE, other, third])
    await obtain_code(server, client)
    asked = [*request(client, prompt="consent").items(), ("resource", BARE), ("resource", other)]

    async def code() -> str:
        page = await server.http.get("/authorize", params=httpx.QueryParams(asked))
        return answer_of(await decide(server, page))["code"]

    assert audience_of((await redeem(server, client, await code())).json()) == [BARE, other]
    narrowed = (await redeem(server, client, await code(), resource=other)).json()
    assert audience_of(narrowed) == other
    again = (await refresh(server, client, narrowed["refresh_token"], resource=BARE)).json()
    assert audience_of(again) == BARE, "the refresh token keeps what was granted"
    for refused in (
        await redeem(server, client, await code(), resource=third),
        await refresh(server, client, again["refresh_token"], resource=third),
    ):
        assert refused.json()["error"] == "invalid_target"
    whole = (await refresh(server, client, again["refresh_token"])).json()
    assert audience_of(whole) == [BARE, other], "a refused request uses up no refresh token"


async def test_a_client_from_before_its_resource_was_refused_is_disabled_like_any_other(
    server: Server,
) -> None:
    client = await server.client(scope="orders:read", resources=[BARE])

    async def age(tx: Transaction) -> None:
        await tx.run("UPDATE clients SET document = REPLACE(document, $1, $2)", BARE, "https:///orders")

    await server.runtime.database.write(age)
    known = await client_registry.find(server.runtime, client.client.client_id)
    assert known is not None
    given = client_metadata.to_input(known)
    for changed, disabled in ((given, None), (msgspec.structs.replace(given, name="x"), True)):
        with pytest.raises(OAuthError, match="absolute URI"):
            await client_registry.change(
                server.runtime,
                known.client_id,
                changed,
                expected_version=None,
                disabled=disabled,
                actor="test",
            )
    off = await client_registry.change(
        server.runtime, known.client_id, given, expected_version=None, disabled=True, actor="test"
    )
    assert off.disabled_at is not None


@pytest.mark.parametrize(("length", "remembered"), [(20, True), (500, False)])
async def test_resources_with_names_of_any_length_are_agreed_to(
    server: Server, length: int, remembered: bool
) -> None:
    """PostgreSQL keeps what a consent is for in an index, whose entries have 2.7 kB at most: what is longer is asked for every time."""
    names = [f"https://{n}.example/{secrets.token_hex(length // 2)}" for n in range(10)]
    client = await register(server, resources=names)
    asked = [*request(client).items(), *(("resource", name) for name in names)]
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await server.http.get("/authorize", params=httpx.QueryParams(asked)))
    page = await server.http.get(back.headers["location"])
    code = answer_of(await decide(server, page))["code"]
    tokens = (await redeem(server, client, code)).json()
    assert audience_of(tokens) == names
    again = await server.http.get("/authorize", params=httpx.QueryParams(asked))
    assert (again.status_code == 303 and "code=" in again.headers["location"]) is remembered
    if not remembered:
        assert answer_of(await decide(server, again))["code"]


@pytest.mark.parametrize(
    ("kind", "length", "issued"), [("jwt", 20, True), ("jwt", 500, False), ("opaque", 500, True)]
)
async def test_no_token_is_issued_that_is_too_long_to_be_presented(
    server: Server, kind: TokenFormat, length: int, issued: bool
) -> None:
    """Many resources, details or groups make a JWT of more than 16 kB, which neither introspection nor a guard reads any more."""
    names = [f"https://{n}.example/{secrets.token_hex(length // 2)}" for n in range(30)]
    client = await server.client(resources=names, access_token_format=kind)
    form = {"grant_type": "client_credentials", "resource": names}
    answer = await server.http.post("/token", data=form, headers={"authorization": basic(client)})
    if not issued:
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert "ask for less" in answer.json()["error_description"]
        return
    seen = await server.post("/introspect", client, token=answer.json()["access_token"])
    assert seen.json()["active"] is True
