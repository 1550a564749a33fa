"""ID-JAG: an enterprise's provider (one server) speaks to another (a second one) for a person at their own client."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from tests.fixtures.code_flow import REDIRECT, VERIFIER, obtain_code, redeem
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, refusal
from tests.fixtures.trusted_issuers import GRANT as JWT_BEARER
from tests.fixtures.trusted_issuers import MCP, ada, people
from tests.flows.test_fapi2 import Bank
from tests.flows.test_first_sign_in import csrf_of

from watchword.flows.clients.client_registry import Registered
from watchword.jose import jws, jwt
from watchword.jose.jwk import b64decode
from watchword.oauth import exchange, identity_assertion
from watchword.oauth.clients import AssertionTarget, ExchangeRules
from watchword.store.database import Transaction

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
OTHER = "http://localhost:9999"


async def own_client(server: Server, there: str = "there", **given: Any) -> Registered:
    """Register the person's client at the provider, with leave to ask for assertions."""
    target = AssertionTarget(
        issuer=OTHER, client_id=there, scope=("read", "write"), resources=(MCP,), tell_email=True
    )
    wanted: dict[str, Any] = {
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "token_exchange"],
        "scope": "openid orders:read",
        "token_exchange": ExchangeRules(assertions=(target,)),
    }
    return await server.client(**wanted | given)


async def id_token_of(server: Server, client: Registered) -> str:
    """Sign a new person in and return their ID token."""
    bought = await redeem(server, client, (await obtain_code(server, client))["code"])
    return str(bought.json()["id_token"])


def wish(id_token: str) -> dict[str, str]:
    """Return the form that asks for an identity assertion."""
    return {
        "grant_type": EXCHANGE,
        "requested_token_type": identity_assertion.TOKEN_TYPE,
        "subject_token": id_token,
        "subject_token_type": exchange.ID_TOKEN,
        "audience": OTHER,
    }


async def ask(server: Server, client: Registered, id_token: str, **changes: str | None) -> httpx.Response:
    """Ask for an identity assertion; None leaves a parameter out."""
    form = wish(id_token) | changes
    return await server.post("/token", client, **{k: v for k, v in form.items() if v is not None})


@contextlib.asynccontextmanager
async def other_server(folder: Path) -> AsyncIterator[Server]:
    """The server of the application that the person is to use."""
    folder.mkdir()
    async with open_server(folder, issuer=OTHER, key_file=str(folder / "key")) as opened:
        yield opened


async def test_from_the_providers_sign_in_to_a_token_at_the_other_server(
    server: Server, tmp_path: Path
) -> None:
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    name = "identity_chaining_requested_token_types_supported"
    assert metadata[name] == [identity_assertion.TOKEN_TYPE]
    jwks = (await server.http.get("/.well-known/jwks.json")).json()
    async with other_server(tmp_path / "other") as other:
        other.clock.now = server.clock.now
        there = await other.client(
            grant_types=["jwt_bearer"], scope="read write", resources=[MCP], name="agent"
        )
        client = await own_client(server, there.client.client_id)
        id_token = await id_token_of(server, client)

        async def verify(tx: Transaction) -> None:
            await tx.run(
                "UPDATE users SET email = 'ada@acme.example', canonical_email = 'ada@acme.example', email_verified_at = 1"
            )

        await server.runtime.database.write(verify)
        document = (await ask(server, client, id_token, scope="read")).json()
        assert document["issued_token_type"] == identity_assertion.TOKEN_TYPE
        assert (document["token_type"], document["scope"]) == ("N_A", "read")
        user_id = await ada(other)
        await people(other, issuer=server.settings.issuer, jwks=jwks)
        form = {"grant_type": JWT_BEARER, "assertion": document["access_token"]}
        token = (await other.post("/token", there, **form)).json()
        claims = (await other.post("/introspect", there, token=token["access_token"])).json()
        assert (claims["sub"], claims["aud"], claims["scope"]) == (user_id, MCP, "read")
        assert claims["auth_time"]


async def test_it_says_no_more_than_it_must(server: Server) -> None:
    client = await own_client(server)
    id_token = await id_token_of(server, client)
    answer = await ask(server, client, id_token)
    claims = jwt.read_claims(b64decode(answer.json()["access_token"].split(".")[1]))
    assert set(claims) == {
        *("iss", "sub", "aud", "client_id", "jti", "iat", "exp", "scope", "resource"),
        *("auth_time", "acr", "amr"),
    }, "no address, for it is not verified"
    assert (claims["client_id"], claims["exp"] - claims["iat"]) == ("there", 300)
    slash = await ask(server, client, id_token, resource=f"{MCP}/")
    of_slash = jwt.read_claims(b64decode(slash.json()["access_token"].split(".")[1]))
    assert of_slash["resource"] == claims["resource"], "the name that was registered"


REFUSED: list[tuple[dict[str, str | None], str]] = [
    ({"audience": "https://elsewhere.example"}, "invalid_target"),
    ({"audience": OTHER + "/"}, "invalid_target"),
    ({"audience": None}, "invalid_target"),
    ({"scope": "admin"}, "invalid_scope"),
    ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ({"subject_token": "garbage"}, "invalid_request"),
    ({"subject_token": None}, "invalid_request"),
    ({"subject_token_type": exchange.ACCESS_TOKEN}, "invalid_request"),
    ({"subject_token_type": None}, "invalid_request"),
    ({"actor_token": "x"}, "invalid_request"),
]


async def test_an_assertion_is_refused(server: Server) -> None:
    client = await own_client(server)
    id_token = await id_token_of(server, client)
    for changes, error in REFUSED:
        assert (await ask(server, client, id_token)).status_code == 200
        assert refusal(await ask(server, client, id_token, **changes)) == (400, error), changes


async def test_an_access_token_is_no_id_token(server: Server) -> None:
    client = await own_client(server)
    bought = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    assert (await ask(server, client, bought["id_token"])).status_code == 200
    assert refusal(await ask(server, client, bought["access_token"])) == (400, "invalid_request")


async def test_another_clients_id_token_is_refused(server: Server) -> None:
    client, thief = await own_client(server), await own_client(server)
    id_token = await id_token_of(server, client)
    assert (await ask(server, client, id_token)).status_code == 200
    assert refusal(await ask(server, thief, id_token)) == (400, "invalid_request")


async def test_without_a_rule_there_are_none(server: Server) -> None:
    client, plain = await own_client(server), await own_client(server, token_exchange=None)
    id_token = await id_token_of(server, client)
    assert (await ask(server, client, id_token)).status_code == 200
    assert refusal(await ask(server, plain, id_token)) == (400, "unauthorized_client")


async def test_signing_out_or_time_ends_it(server: Server) -> None:
    client = await own_client(server)
    id_token = await id_token_of(server, client)
    assert (await ask(server, client, id_token)).status_code == 200
    page = await server.http.get("/sign-out")
    await server.http.post("/sign-out", data={"csrf": csrf_of(page.text), "decision": "sign_out"})
    assert refusal(await ask(server, client, id_token)) == (400, "invalid_request")
    server.clock.advance(600)
    assert refusal(await ask(server, client, id_token)) == (400, "invalid_request")


async def test_a_disabled_account_ends_it_whatever_became_of_its_session(server: Server) -> None:
    client = await own_client(server)
    id_token = await id_token_of(server, client)
    assert (await ask(server, client, id_token)).status_code == 200

    async def disable(tx: Transaction) -> None:
        await tx.run("UPDATE users SET disabled_at = 1")

    await server.runtime.database.write(disable)
    assert refusal(await ask(server, client, id_token)) == (400, "invalid_request")


async def test_it_is_signed_by_an_algorithm_of_its_clients_profile(tmp_path: Path) -> None:
    async with open_server(tmp_path, signing_algorithms=("RS256", "ES256")) as server:
        grants = ["authorization_code", "token_exchange"]
        rules = ExchangeRules(assertions=(AssertionTarget(issuer=OTHER, client_id="there"),))
        bank = await Bank(server).register(grant_types=grants, token_exchange=rules)
        bought = {"code": (await bank.code())["code"], "code_verifier": VERIFIER, "redirect_uri": REDIRECT}
        tokens = (await bank.token(grant_type="authorization_code", **bought)).json()
        said = await bank.token(**wish(tokens["id_token"]))
        for token in (tokens["access_token"], tokens["id_token"], said.json()["access_token"]):
            assert jws.peek(token).alg == "ES256"


async def test_each_is_in_the_audit_trail(server: Server, store: Store) -> None:
    client = await own_client(server)
    await ask(server, client, await id_token_of(server, client))

    async def read(tx: Transaction) -> Any:
        return await tx.all("SELECT actor, data FROM events WHERE name = 'identity_assertion.issued'")

    (event,) = await server.runtime.database.read(read)
    assert event["actor"] == client.client.client_id
    assert OTHER in event["data"]
