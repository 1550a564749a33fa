"""RFC 8693: a token for a narrower one; what an exchange gives, and that it gives nothing more."""

import os
from typing import Any

import httpx
import msgspec
import pytest
from tests.fixtures.code_flow import obtain_code, redeem, refresh
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic, refusal
from tests.fixtures.trusted_issuers import look
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows import minting
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.minting import AccessGrant
from watchword.flows.users import account_changes, accounts
from watchword.jose import jwk, jwt
from watchword.oauth import exchange
from watchword.oauth.clients import ExchangeRules
from watchword.oauth.errors import OAuthError
from watchword.store import api_tokens
from watchword.store.database import Transaction

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
API, DOWN = "https://api.example", "https://down.example"
FORMATS = pytest.mark.parametrize("token_format", ["jwt", "opaque"])


async def service(server: Server, **given: Any) -> Registered:
    """Register an API that calls another API on behalf of its callers."""
    wanted: dict[str, Any] = {
        "name": "orders API",
        "grant_types": ["client_credentials", "token_exchange"],
        "scope": "orders:read orders:write act",
        "resources": [DOWN],
        "token_exchange": {"serves": [API], "audiences": [DOWN], "impersonate": True},
    }
    given = wanted | given
    if isinstance(given.get("token_exchange"), dict):
        given["token_exchange"] = msgspec.convert(given["token_exchange"], ExchangeRules)
    return await server.client(**given)


async def caller(server: Server, **given: Any) -> Registered:
    """Register a client that calls the API."""
    wanted: dict[str, Any] = {"resources": [API, DOWN], "scope": "orders:read orders:write orders:delete"}
    return await server.client(**wanted | given)


async def swap(server: Server, client: Registered, subject: str, **changes: str | None) -> httpx.Response:
    """Exchange a token; None removes a parameter."""
    form: dict[str, str | None] = {
        "grant_type": GRANT,
        "subject_token": subject,
        "subject_token_type": exchange.ACCESS_TOKEN,
    }
    return await server.post("/token", client, **{k: v for k, v in (form | changes).items() if v is not None})


async def own(server: Server, client: Registered, **form: str) -> str:
    """Return an access token that a client got for itself."""
    answer = await server.grant(client, **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


@FORMATS
async def test_an_api_gets_a_narrower_token_for_the_next_api(server: Server, token_format: str) -> None:
    asked, api = await caller(server), await service(server, access_token_format=token_format)
    sent = await own(server, asked, resource=API, scope="orders:read orders:write")
    answer = await swap(server, api, sent, audience=DOWN, scope="orders:read")
    document = answer.json()
    assert answer.status_code == 200, document
    assert document["issued_token_type"] == exchange.ACCESS_TOKEN
    assert (document["scope"], document["expires_in"], document["token_type"]) == (
        "orders:read",
        300,
        "Bearer",
    )
    assert "refresh_token" not in document
    claims = await look(server, api, document["access_token"])
    assert (claims["sub"], claims["aud"]) == (asked.client.client_id, DOWN)
    assert claims["client_id"] == api.client.client_id
    assert "act" not in claims
    assert "parents" not in claims


async def test_with_an_actor_token_the_new_token_says_who_acts(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    sent = await own(server, asked, resource=API)
    actor = await own(server, api, scope="act")
    delegated = {"actor_token": actor, "actor_token_type": exchange.ACCESS_TOKEN, "audience": DOWN}
    first = (await swap(server, api, sent, **delegated)).json()["access_token"]
    claims = await look(server, api, first)
    assert (claims["sub"], claims["act"]) == (asked.client.client_id, {"sub": api.client.client_id})
    next_api = await service(server, token_exchange={"serves": [DOWN], "audiences": [API]})
    its = {"actor_token": await own(server, next_api), "actor_token_type": exchange.ACCESS_TOKEN}
    second = (await swap(server, next_api, first, **its)).json()["access_token"]
    claims = await look(server, next_api, second)
    assert claims["act"] == {"sub": next_api.client.client_id, "act": {"sub": api.client.client_id}}


async def test_a_person_stays_the_subject_and_how_they_signed_in_is_kept(server: Server) -> None:
    spa = await server.client(
        redirect_uris=["https://app.example.com/cb"],
        grant_types=["authorization_code", "refresh_token"],
        scope="openid orders:read",
        resources=[API],
    )
    api = await service(server)
    code = (await obtain_code(server, spa))["code"]
    bought = (await redeem(server, spa, code)).json()
    mine = await look(server, spa, bought["access_token"])
    narrow = (await swap(server, api, bought["access_token"], audience=DOWN)).json()
    claims = await look(server, api, narrow["access_token"])
    assert (claims["sub"], claims["auth_time"], claims["amr"]) == (mine["sub"], mine["auth_time"], ["pwd"])
    assert claims["scope"] == "orders:read"
    await redeem(server, spa, code)
    assert await look(server, api, narrow["access_token"]) == {"active": False}, "the grant has ended"
    assert refusal(await refresh(server, spa, bought["refresh_token"])) == (400, "invalid_grant")


async def test_an_api_token_becomes_a_short_lived_token(server: Server) -> None:
    client = await server.client(grant_types=["token_exchange"], token_endpoint_auth_method="none")
    issued = await server.token("orders:read orders:write", owner="reports")
    identity = {"client_id": client.client.client_id}
    form = identity | {"grant_type": GRANT, "subject_token": issued.secret}
    form |= {"subject_token_type": exchange.ACCESS_TOKEN, "scope": "orders:read"}
    document = (await server.http.post("/token", data=form)).json()
    headers = {"authorization": f"Bearer {document['access_token']}"}
    asked = {"token": document["access_token"]}
    claims = (await server.http.post("/introspect", data=asked, headers=headers)).json()
    assert (claims["sub"], claims["scope"]) == ("application:reports", "orders:read")
    assert claims["exp"] - claims["iat"] == 300
    await server.runtime.database.write(
        api_tokens.revoke_token, issued.token.id, reason="test", actor="test", now=int(server.clock())
    )
    after = await server.http.post("/introspect", data=asked, headers=headers)
    assert after.json() == {"active": False}, "its parent was revoked"


@pytest.mark.parametrize(
    "limit",
    [{"addresses": ["127.0.0.0/8"]}, {"path": "/orders"}, {"rate_limit": 5}, {"quota": 5}],
    ids=["addresses", "path", "rate", "quota"],
)
async def test_a_limited_api_token_is_not_exchanged_for_one_without_the_limit(
    server: Server, limit: dict[str, Any]
) -> None:
    client = await server.client(grant_types=["token_exchange"])
    plain, limited = await server.token(), await server.token(**limit)
    assert (await swap(server, client, plain.secret)).status_code == 200
    assert refusal(await swap(server, client, limited.secret)) == (400, "invalid_request")


@FORMATS
async def test_tk_13_a_dead_subject_token_buys_nothing_and_its_children_die_with_it(
    server: Server, token_format: str
) -> None:
    asked = await caller(server, access_token_format=token_format)
    api = await service(server)
    sent = await own(server, asked, resource=API)
    child = (await swap(server, api, sent, audience=DOWN)).json()["access_token"]
    assert (await look(server, api, child))["active"] is True
    assert (await server.post("/revoke", asked, token=sent)).status_code == 200
    assert await look(server, api, child) == {"active": False}
    assert refusal(await swap(server, api, sent, audience=DOWN)) == (400, "invalid_request")
    server.clock.advance(1)
    late = await own(server, asked, resource=API)
    server.clock.advance(600)
    assert refusal(await swap(server, api, late, audience=DOWN)) == (400, "invalid_request"), "expired"


async def test_the_new_token_does_not_outlive_the_old_one(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    sent = await own(server, asked, resource=API)
    server.clock.advance(590)
    assert (await swap(server, api, sent, audience=DOWN)).json()["expires_in"] == 10


async def test_ad_07_a_disabled_caller_takes_its_exchanged_tokens_along(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    child = (await swap(server, api, await own(server, asked, resource=API), audience=DOWN)).json()
    assert (await look(server, api, child["access_token"]))["active"] is True
    await switch(server, asked, disabled=True)
    assert await look(server, api, child["access_token"]) == {"active": False}


async def switch(server: Server, client: Registered, *, disabled: bool) -> None:
    """Disable a client, which ends everything that it was issued, or enable it again."""
    await client_registry.change(
        server.runtime,
        client.client.client_id,
        client_metadata.to_input(client.client),
        expected_version=None,
        disabled=disabled,
        actor="test",
    )


REFUSED: list[tuple[dict[str, str | None], str]] = [
    ({"subject_token": "garbage"}, "invalid_request"),
    ({"subject_token": None}, "invalid_request"),
    ({"subject_token": "eyJhbGciOiJub25lIn0.e30."}, "invalid_request"),
    ({"subject_token_type": None}, "invalid_request"),
    ({"subject_token_type": exchange.ID_TOKEN}, "invalid_request"),
    ({"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
    ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
    ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
    ({"requested_token_type": exchange.ID_TOKEN}, "invalid_request"),
    ({"scope": "orders:delete"}, "invalid_scope"),
    ({"scope": "act"}, "invalid_scope"),
    ({"scope": "x" * 5000}, "invalid_scope"),
    ({"audience": "https://elsewhere.example"}, "invalid_target"),
    ({"audience": DOWN + "/"}, "invalid_target"),
    ({"audience": None, "resource": API}, "invalid_target"),
    ({"actor_token_type": exchange.ACCESS_TOKEN}, "invalid_request"),
    ({"actor_token": "garbage"}, "invalid_request"),
    ({"actor_token": "garbage", "actor_token_type": exchange.ACCESS_TOKEN}, "invalid_request"),
]


@in_turn("number", range(len(REFUSED)))
async def test_mc_03_an_exchange_is_refused(server: Server, number: int) -> None:
    changes, error = REFUSED[number]
    asked, api = await caller(server), await service(server)
    sent = await own(server, asked, resource=API, scope="orders:read orders:write")
    form = {"audience": DOWN, "subject_token": sent}
    assert (await swap(server, api, sent, audience=DOWN)).status_code == 200
    answer = await swap(server, api, sent, **form | changes)
    assert refusal(answer) == (400, error)


async def test_mc_03_without_the_grant_nothing_is_exchanged(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    sent = await own(server, asked, resource=API)
    assert (await swap(server, api, sent, audience=DOWN)).status_code == 200
    assert refusal(await swap(server, asked, sent)) == (400, "unauthorized_client")


async def test_without_rules_a_client_only_narrows_what_is_its_own(server: Server) -> None:
    plain = await caller(server, grant_types=["client_credentials", "token_exchange"])
    asked = await caller(server)
    mine, others = await own(server, plain, resource=API), await own(server, asked, resource=API)
    narrowed = (await swap(server, plain, mine, scope="orders:read")).json()
    claims = await look(server, plain, narrowed["access_token"])
    assert (claims["scope"], claims["aud"]) == ("orders:read", API)
    assert refusal(await swap(server, plain, mine, audience=DOWN)) == (400, "invalid_target")
    assert refusal(await swap(server, plain, others)) == (400, "invalid_request")
    acting = {"actor_token": mine, "actor_token_type": exchange.ACCESS_TOKEN}
    assert refusal(await swap(server, plain, others, **acting)) == (400, "invalid_request")


async def test_an_api_exchanges_only_tokens_that_were_sent_to_it(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    assert (await swap(server, api, await own(server, asked, resource=API))).status_code == 200
    found = await own(server, asked, resource=DOWN)
    assert refusal(await swap(server, api, found)) == (400, "invalid_request")


async def test_without_the_rule_nobody_is_impersonated(server: Server) -> None:
    rules = {"serves": [API], "audiences": [DOWN]}
    asked, api = await caller(server), await service(server, token_exchange=rules)
    sent = await own(server, asked, resource=API)
    acting = {"actor_token": await own(server, api), "actor_token_type": exchange.ACCESS_TOKEN}
    assert (await swap(server, api, sent, **acting)).status_code == 200
    assert refusal(await swap(server, api, sent)) == (400, "invalid_request")
    another = await own(server, await caller(server), resource=API)
    owned = (await server.token(resource=API)).secret
    for subject, actor in ((sent, sent), (sent, another), (owned, owned)):
        lying = {"actor_token": actor, "actor_token_type": exchange.ACCESS_TOKEN}
        assert refusal(await swap(server, api, subject, **lying)) == (400, "invalid_request"), (
            "it acts itself"
        )


async def test_tk_13_may_act_names_who_may_act(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    acting = {"actor_token": await own(server, api), "actor_token_type": exchange.ACCESS_TOKEN}

    async def naming(actor: str) -> str:
        grant = AccessGrant(
            client=asked.client,
            subject=asked.client.client_id,
            scope=("orders:read",),
            audience=(API,),
            lifetime=600,
            claims={"may_act": {"sub": actor}},
        )
        return (await minting.issue(server.runtime, grant)).token

    assert (await swap(server, api, await naming(api.client.client_id), **acting)).status_code == 200
    assert refusal(await swap(server, api, await naming("somebody"), **acting)) == (400, "invalid_request")


async def test_tk_14_a_token_cannot_be_exchanged_for_ever(server: Server) -> None:
    client = await caller(server, grant_types=["client_credentials", "token_exchange"])
    token, statuses = await own(server, client, resource=API), []
    for _ in range(10):
        answer = await swap(server, client, token)
        statuses.append(answer.status_code)
        token = answer.json().get("access_token", token)
    assert statuses == [200] * 7 + [400] * 3


async def test_a_bound_token_cannot_be_stripped_of_its_key(server: Server) -> None:
    client = await caller(server, grant_types=["client_credentials", "token_exchange"])
    key, other = jwk.generate("ES256"), jwk.generate("ES256")

    async def send(proof_key: jwk.Key | None, **form: str) -> httpx.Response:
        claims = {"jti": os.urandom(8).hex(), "htm": "POST", "htu": server.settings.issuer + "/token"}
        headers = {"authorization": basic(client)}
        if proof_key is not None:
            claims |= {"iat": int(server.clock())}
            headers["dpop"] = jwt.encode_with_key(proof_key, claims, "dpop+jwt")
        return await server.http.post("/token", data=form, headers=headers)

    bound = (await send(key, grant_type="client_credentials", resource=API)).json()["access_token"]
    form = {"grant_type": GRANT, "subject_token": bound, "subject_token_type": exchange.ACCESS_TOKEN}
    assert (await send(key, **form)).json()["token_type"] == "DPoP"
    assert refusal(await send(None, **form)) == (400, "invalid_request")
    assert refusal(await send(other, **form)) == (400, "invalid_request")


async def test_a_jwt_can_be_asked_for(server: Server) -> None:
    asked, api = await caller(server), await service(server, access_token_format="opaque")
    sent = await own(server, asked, resource=API)
    document = (await swap(server, api, sent, requested_token_type=exchange.JWT)).json()
    assert document["issued_token_type"] == exchange.JWT
    assert document["access_token"].count(".") == 2
    opaque = (await swap(server, api, sent)).json()["access_token"]
    of_wrong_type = await swap(server, api, opaque, subject_token_type=exchange.JWT)
    assert refusal(of_wrong_type) == (400, "invalid_request")


@pytest.mark.parametrize(
    "given",
    [
        {"token_endpoint_auth_method": "none", "grant_types": ["token_exchange"]},
        {"grant_types": ["client_credentials"]},
        {"token_exchange": {"serves": ["no address"]}},
        {"token_exchange": {"serves": [API] * 51}},
    ],
    ids=["a public client", "without the grant", "no resource", "too many"],
)
async def test_rules_of_exchange_are_refused(server: Server, given: dict[str, Any]) -> None:
    await service(server)
    with pytest.raises(OAuthError, match=r"invalid_client_metadata|invalid_target"):
        await service(server, **given)


async def test_an_exchange_is_in_the_audit_trail(server: Server) -> None:
    asked, api = await caller(server), await service(server)
    await swap(server, api, await own(server, asked, resource=API))

    async def read(tx: Transaction) -> Any:
        return await tx.all("SELECT actor, target, data FROM events WHERE name = 'access_token.exchanged'")

    (event,) = await server.runtime.database.read(read)
    assert (event["actor"], event["target"]) == (api.client.client_id, asked.client.client_id)
    assert DOWN in event["data"]


async def test_a_person_whose_account_ended_ends_exchanged_tokens(server: Server) -> None:
    client = await server.client(grant_types=["token_exchange"])
    user = await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    issued = await server.token(owner="ada")
    child = (await swap(server, client, issued.secret)).json()["access_token"]
    assert (await look(server, client, child))["sub"] == user.id

    async def disable(tx: Transaction) -> None:
        await tx.run("UPDATE users SET disabled_at = 1")

    await server.runtime.database.write(disable)
    assert await look(server, client, child) == {"active": False}


async def test_a_person_whose_account_is_there_again_at_once_gets_exchanged_tokens_that_are_good(
    server: Server,
) -> None:
    client = await server.client(grant_types=["token_exchange"])
    user = await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    before = (await swap(server, client, (await server.token(owner="ada")).secret)).json()["access_token"]
    for disabled in (True, False):
        await account_changes.set_disabled(server.runtime, user, disabled, actor="test")
    after = (await swap(server, client, (await server.token(owner="ada")).secret)).json()["access_token"]
    assert (await look(server, client, after))["sub"] == user.id
    server.clock.advance(10)
    assert (await look(server, client, after))["sub"] == user.id
    assert await look(server, client, before) == {"active": False}
