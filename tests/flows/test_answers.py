"""What is made for one client alone: names of people that nobody else can join, and what answers say."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.accounts import make
from tests.fixtures.answers import account, claims_of, server, userinfo
from tests.fixtures.code_flow import answer_of, decide, obtain_code, redeem, refresh, register, request
from tests.fixtures.documents import Documents
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.flows import minting, subjects
from watchword.flows.clients.client_registry import Registered
from watchword.flows.minting import AccessGrant
from watchword.flows.users import account_changes, people
from watchword.flows.users.people import Changes
from watchword.oauth import exchange
from watchword.oauth.clients import Client, ExchangeRules
from watchword.oauth.errors import OAuthError

__all__ = ["server"]


EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


async def again(server: Server, client: Registered, **changes: str) -> dict[str, Any]:
    """Get tokens for the person who is signed in already."""
    begun = await server.http.get("/authorize", params=request(client, **changes))
    if begun.status_code == 200:
        begun = await decide(server, begun)
    tokens: dict[str, Any] = (await redeem(server, client, answer_of(begun)["code"])).json()
    return tokens


async def test_a_pairwise_client_knows_a_person_by_one_name_that_nobody_else_can_join(server: Server) -> None:
    pairwise = await register(server, subject_type="pairwise")
    tokens = (await redeem(server, pairwise, (await obtain_code(server, pairwise))["code"])).json()
    person = await account(server)
    said = await claims_of(server, tokens["id_token"])
    access = await claims_of(server, tokens["access_token"], "at+jwt")
    info = (await userinfo(server, tokens["access_token"])).json()
    about = (await server.post("/introspect", pairwise, token=tokens["access_token"])).json()
    later = (await refresh(server, pairwise, tokens["refresh_token"])).json()
    names = {
        said["sub"],
        access["sub"],
        info["sub"],
        about["sub"],
        (await claims_of(server, later["id_token"]))["sub"],
    }
    assert len(names) == 1
    assert person not in json.dumps([said, access, info, about])
    assert subjects.person_of(server.runtime, said["sub"]) == person

    public = await register(server, name="public")
    openly = await claims_of(server, (await again(server, public))["id_token"])
    assert openly["sub"] == person
    same_sector = await register(server, name="same", subject_type="pairwise")
    assert (await claims_of(server, (await again(server, same_sector))["id_token"]))["sub"] in names
    other = await claims_of(server, (await again(server, same_sector))["id_token"])
    assert len({said["sid"], openly["sid"], other["sid"]}) == 3, "sessions cannot be joined either"


async def test_opaque_tokens_of_a_pairwise_client_name_nobody_either(server: Server) -> None:
    client = await register(server, subject_type="pairwise", access_token_format="opaque")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    person = await account(server)
    about = await server.post("/introspect", client, token=tokens["access_token"])
    info = await userinfo(server, tokens["access_token"])
    assert about.json()["sub"] == info.json()["sub"] == (await claims_of(server, tokens["id_token"]))["sub"]
    assert person not in about.text + info.text


async def test_a_pairwise_hint_means_the_person_of_the_session(server: Server) -> None:
    client = await register(server, subject_type="pairwise")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    hinted = request(client, prompt="none", id_token_hint=tokens["id_token"])
    assert "code" in answer_of(await server.http.get("/authorize", params=hinted))


async def test_the_end_of_an_account_ends_the_tokens_that_do_not_name_it(server: Server) -> None:
    client = await register(server, subject_type="pairwise")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"]
    user = await people.find(server.runtime, await account(server))
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert not (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"]


async def test_a_sector_is_what_its_document_says(server: Server, documents: Documents) -> None:
    uris = ["https://a.example.com/cb", "https://b.example.com/cb"]
    given: dict[str, Any] = {"subject_type": "pairwise", "redirect_uris": uris}
    sector = documents.publish("/sector", uris)
    made = await register(server, sector_identifier_uri=sector, **given)
    assert made.client.sector_identifier_uri == sector
    documents.publish("/partly", uris[:1])
    documents.publish("/object", {"uris": uris})
    for wrong in (documents.base + "/partly", documents.base + "/object", documents.base + "/missing"):
        with pytest.raises(OAuthError) as refused:
            await register(server, sector_identifier_uri=wrong, **given)
        assert (refused.value.code, refused.value.field) == (
            "invalid_client_metadata",
            "sector_identifier_uri",
        )


async def test_attributes_are_told_by_the_scope_that_the_operator_gave_them(server: Server) -> None:
    client = await register(server, scope="openid profile staff")
    code = await obtain_code(server, client, scope="openid profile staff")
    person = await people.find(server.runtime, "ada")
    told = {"department": "R&D", "given_name": "Ada", "secret_level": 3}
    await people.change(server.runtime, person, Changes(attributes=told), actor="test")
    tokens = (await redeem(server, client, code["code"])).json()
    info = (await userinfo(server, tokens["access_token"])).json()
    assert (info["department"], info["given_name"], info["preferred_username"]) == ("R&D", "Ada", "ada")
    assert "secret_level" not in info, "what no scope tells stays here"
    assert "department" not in await claims_of(server, tokens["id_token"]), "OpenID Connect Core §5.4"


async def test_claims_asked_for_by_name_come_within_what_was_agreed_to(server: Server) -> None:
    client = await register(server, scope="openid profile email")
    wishes = json.dumps(
        {"id_token": {"name": None, "email": {"essential": True}}, "userinfo": {"email": None, "roles": None}}
    )
    code = (await obtain_code(server, client, scope="openid profile", claims=wishes))["code"]
    person = await people.find(server.runtime, "ada")
    await people.change(server.runtime, person, Changes(email="ada@example.com"), actor="test")
    tokens = (await redeem(server, client, code)).json()
    said = await claims_of(server, tokens["id_token"])
    assert said["name"] == "ada"
    assert "email" not in said, "the person did not agree to that"
    info = (await userinfo(server, tokens["access_token"])).json()
    assert set(info) == {"sub", "name", "preferred_username"}


async def test_the_format_of_a_token_follows_the_api_that_it_is_for(store: Store, tmp_path: Path) -> None:
    apis = {"https://bank.example.com": "opaque", "https://wiki.example.com": "jwt"}
    async with open_server(tmp_path, on=store.address, token_formats=apis) as server:
        resources = [*apis, "https://other.example.com"]
        for default in ("jwt", "opaque"):
            client = await server.client(access_token_format=default, resources=resources)
            found = {}
            for resource in resources:
                token = (await server.grant(client, resource=resource)).json()["access_token"]
                found[resource] = "jwt" if token.count(".") == 2 else "opaque"
                about = await server.post("/introspect", client, token=token)
                assert about.json()["aud"] == resource
            assert found == {**apis, "https://other.example.com": default}


@pytest.mark.parametrize("wanted", [exchange.ACCESS_TOKEN, exchange.JWT])
async def test_nobody_finds_out_by_an_exchange_who_is_behind_a_pairwise_name(
    server: Server, wanted: str
) -> None:
    """OpenID Connect Core §8.1: not reversible by anybody but the provider, and not to be joined with another client's."""
    api, down = "https://api.example", "https://down.example"
    shop = await register(server, subject_type="pairwise", resources=[api])
    openly = await register(server, name="public", resources=[api])
    sent = (await redeem(server, shop, (await obtain_code(server, shop))["code"])).json()
    known_to_shop = (await claims_of(server, sent["id_token"]))["sub"]
    person = await account(server)
    rules = ExchangeRules(serves=(api, down), audiences=(down, server.settings.resource), impersonate=True)
    given: dict[str, Any] = {
        "grant_types": ["client_credentials", "token_exchange"],
        "scope": "openid orders:read",
    }
    form = {
        "grant_type": EXCHANGE,
        "subject_token_type": exchange.ACCESS_TOKEN,
        "requested_token_type": wanted,
    }

    async def exchanged(service: Registered, token: str, **more: str) -> tuple[str, dict[str, Any]]:
        answer = await server.post("/token", service, **form | {"audience": down} | more, subject_token=token)
        assert answer.status_code == 200, answer.text
        made: str = answer.json()["access_token"]
        return made, (await server.post("/introspect", service, token=made)).json()

    public = (await again(server, openly))["access_token"]
    for subject_type in ("public", "pairwise"):
        service = await server.client(
            name=subject_type, subject_type=subject_type, token_exchange=rules, resources=[down], **given
        )
        made, about = await exchanged(service, sent["access_token"])
        assert about["sub"] == known_to_shop
        assert person not in json.dumps(about)
        assert (await exchanged(service, made))[1]["sub"] == known_to_shop, "nor by one after the other"
        here, about = await exchanged(service, sent["access_token"], audience=server.settings.resource)
        assert (await userinfo(server, here)).json()["sub"] == about["sub"] == known_to_shop
        own = (await server.grant(service, scope="orders:read")).json()["access_token"]
        acting = {"actor_token": sent["access_token"], "actor_token_type": exchange.ACCESS_TOKEN}
        _, about = await exchanged(service, own, **acting)
        assert about["act"]["sub"] == known_to_shop
        _, about = await exchanged(service, public)
        assert subjects.person_of(server.runtime, about["sub"]) == person
        assert (about["sub"] == person) is (subject_type == "public"), "what was known is called as ever"


async def test_no_token_of_a_pairwise_client_carries_a_mark_that_joins_people(server: Server) -> None:
    person = (await make(server)).id

    def grant(client: Client, **more: Any) -> AccessGrant:
        return AccessGrant(client, person, ("a",), ("https://api.example",), 60, **more)

    public = (await register(server)).client
    pairwise = [(await register(server, name=str(n), subject_type="pairwise")).client for n in range(2)]
    now = server.runtime.now()
    openly = (await minting.mint(server.runtime, grant(public), now)).token
    assert (await claims_of(server, openly, "at+jwt"))["parents"], (
        "how the end of the account is noticed offline"
    )
    for client in pairwise:
        opaque = (await minting.mint(server.runtime, grant(client), now)).token
        assert opaque.count(".") == 0, "asked about instead"
        with pytest.raises(OAuthError, match="requested_token_type"):
            await minting.mint(server.runtime, grant(client, format="jwt"), now)
        in_a_grant = (
            await minting.mint(server.runtime, grant(client, format="jwt", grant_id="g"), now)
        ).token
        assert "parents" not in await claims_of(server, in_a_grant, "at+jwt"), "it ends with its grant"
