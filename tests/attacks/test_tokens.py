"""Tokens under attack: what they say, how long they live, and what is left of them when somebody looks."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from tests.attacks.issued import bearer, server, tokens_of
from tests.fixtures.code_flow import obtain_code, redeem, register
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic, open_server
from tests.flows.conftest import Stored, stored

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import people
from watchword.flows.users.people import Changes
from watchword.jose import jwk, jws, jwt
from watchword.jose.jwk import b64encode
from watchword.oauth.errors import OAuthError
from watchword.settings import SettingsError
from watchword.settings.options import ScopeText
from watchword.store import profile_changes

__all__ = ["server"]


__all__ = ["stored"]


async def introspect(server: Server, client: Registered, token: str) -> dict[str, Any]:
    """Ask what a token is."""
    answer: dict[str, Any] = (await server.post("/introspect", client, token=token)).json()
    return answer


# Introspection


async def test_in_05_a_token_is_asked_about_in_the_body_alone(server: Server) -> None:
    client = await server.client(scope="orders:read introspect")
    token = (await server.grant(client)).json()["access_token"]
    headers = {"authorization": basic(client)}
    honest = await server.http.post("/introspect", data={"token": token}, headers=headers)
    assert honest.json()["active"] is True
    assert honest.headers["cache-control"] == "no-store"
    by_get = await server.http.get("/introspect", params={"token": token}, headers=headers)
    assert (by_get.status_code, by_get.headers["allow"]) == (405, "OPTIONS, POST")
    in_address = await server.http.post(f"/introspect?token={token}", data={"x": "y"}, headers=headers)
    missing = await server.http.post("/introspect", data={"token_type_hint": "access_token"}, headers=headers)
    for answer in (in_address, missing):
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
        assert answer.headers["cache-control"] == "no-store"


async def test_tk_11_an_answer_is_remembered_for_the_very_token_and_not_beyond_its_end(
    server: Server,
) -> None:
    client = await server.client(access_token_format="opaque", scope="orders:read introspect")
    first, second = [(await server.grant(client)).json()["access_token"] for _ in range(2)]
    for _ in range(3):
        assert (await introspect(server, client, first))["active"]
    for near in (first[:-1], first + "x", first[:20], first.swapcase(), first.replace("wwo_", "wwa_")):
        assert await introspect(server, client, near) == {"active": False}
    other = await server.client(name="other", scope="introspect", resources=["https://other.example.com"])
    assert await introspect(server, other, first) == {"active": False}, "who asks is a part of the question"
    assert (await introspect(server, client, first))["active"]
    await server.post("/revoke", client, token=first)
    assert await introspect(server, client, first) == {"active": False}
    assert (await introspect(server, client, second))["active"]
    server.clock.advance(601)
    assert await introspect(server, client, second) == {"active": False}


# Access tokens


async def test_id_03_an_access_token_says_what_it_is_and_no_other_passes_for_it(server: Server) -> None:
    client = await register(server, scope="openid orders:read introspect")
    given = await tokens_of(server, client, scope="openid orders:read")
    token = given["access_token"]
    header = jws.peek(token)
    assert header.typ == "at+jwt"
    claims = jwt.decode(
        token,
        await server.runtime.keyring.verification_keys(),
        algorithms=("ES256",),
        typ="at+jwt",
        now=int(server.clock()),
    )
    assert {
        "iss",
        "exp",
        "aud",
        "sub",
        "client_id",
        "iat",
        "jti",
        "scope",
        "auth_time",
        "acr",
    } <= claims.keys()
    assert client.client.client_id not in (claims["aud"], *claims["aud"])
    assert (await introspect(server, client, token))["active"]
    head, body, signature = token.split(".")
    other = jwk.generate("ES256", kid=header.kid)
    wider = json.dumps(claims | {"scope": "openid orders:read watchword:admin"}).encode()
    altered = [
        *(
            f"{b64encode(json.dumps({'alg': alg, 'typ': 'at+jwt'}).encode())}.{body}."
            for alg in ("none", "None", "")
        ),
        f"{head}.{b64encode(wider)}.{signature}",
        jws.sign(other, {"typ": "at+jwt"}, wider),
        f"{head}.{body}.{signature[:-2]}AA",
        f"{b64encode(json.dumps({'alg': 'ES256', 'kid': header.kid, 'typ': 'JWT'}).encode())}.{body}.{signature}",
        given["id_token"],
    ]
    for wrong in altered:
        assert await introspect(server, client, wrong) == {"active": False}
        assert (await server.http.get("/userinfo", headers=bearer(wrong))).status_code == 401


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_id_03_no_resource_is_a_client_itself(server: Server, token_format: str) -> None:
    given: dict[str, Any] = {"name": "orders", "scope": "a", "resources": ["urn:orders"]}
    wanted = ClientInput(**given, access_token_format=token_format)
    honest = await client_registry.register(server.runtime, wanted, actor="test")
    same = await client_registry.register(server.runtime, wanted, actor="test", client_id="urn:orders")
    assert (await server.grant(honest)).status_code == 200
    pair = (quote_plus(same.client.client_id), same.client_secret or "")
    refused = await server.http.post("/token", data={"grant_type": "client_credentials"}, auth=pair)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target"), "RFC 9068 §4"


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_tk_01_a_token_ends_with_its_second(server: Server, token_format: str) -> None:
    client = await register(server, access_token_format=token_format)
    given = await tokens_of(server, client)
    token, life = given["access_token"], given["expires_in"]
    server.clock.advance(life - 1)
    assert (await server.http.get("/userinfo", headers=bearer(token))).status_code == 200
    server.clock.advance(1)
    late = await server.http.get("/userinfo", headers=bearer(token))
    assert late.status_code == 401
    server.clock.advance(-60)
    assert (await server.http.get("/userinfo", headers=bearer(token))).status_code == 200
    server.clock.advance(120)
    assert (await server.http.get("/userinfo", headers=bearer(token))).status_code == 401


async def test_tk_01_a_token_of_the_future_is_not_accepted(server: Server) -> None:
    client = await server.client(scope="orders:read introspect")
    token = (await server.grant(client)).json()["access_token"]
    claims = jwt.read_claims(jwk.b64decode(token.split(".")[1]))
    key = await server.runtime.keyring.signing_key("ES256")
    for changes, active in (
        ({}, True),
        ({"nbf": claims["iat"] + 1}, False),
        ({"iat": claims["iat"] + 60}, True),
        ({"iat": claims["iat"] + 61}, False),
    ):
        made = jwt.encode(key, claims | changes | {"jti": f"j{changes}"}, "at+jwt")
        assert (await introspect(server, client, made))["active"] is active, changes


async def test_tk_10_who_reads_the_database_finds_no_credential(server: Server, stored: Stored) -> None:
    client = await register(server, access_token_format="opaque", scope="openid orders:read offline_access")
    code = (await obtain_code(server, client, scope="openid orders:read offline_access"))["code"]
    given = (await redeem(server, client, code)).json()
    fresh = await server.post(
        "/token", client, grant_type="refresh_token", refresh_token=given["refresh_token"]
    )
    pushed = await server.post("/par", client, response_type="code", redirect_uri=client.client.redirect_uris[0],
                               code_challenge="A" * 43, code_challenge_method="S256")  # fmt: skip
    api_token = (await server.token()).secret
    secrets = {
        "code": code,
        "access token": given["access_token"],
        "refresh token": given["refresh_token"],
        "its successor": fresh.json()["refresh_token"],
        "client secret": client.client_secret or "",
        "pushed request": pushed.json()["request_uri"].rpartition(":")[2],
        "API token": api_token,
        "pairwise key": server.runtime.keyring.secret("pairwise subjects").hex(),
    }
    kept = stored()
    assert client.client.client_id.encode() in kept
    for what, secret in secrets.items():
        assert secret
        assert secret.encode() not in kept, what
        assert secret[4:34].encode() not in kept, what
    assert server.runtime.keyring.secret("dpop nonces") not in kept


# Names that belong to the protocols


async def test_ad_06_no_attribute_or_scope_speaks_for_the_protocol(server: Server, tmp_path: Path) -> None:
    given = await tokens_of(server)
    admin = bearer((await server.token(scope="watchword:admin")).secret)
    person = await people.find(server.runtime, "ada")
    where, honest = f"/api/v1/users/{person.id}", {"attributes": {"department": "R&D"}}
    assert (await server.http.patch(where, json=honest, headers=admin)).status_code == 200
    for name in PROTOCOLS:
        refused = await server.http.patch(where, json={"attributes": {name: "admin"}}, headers=admin)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), name
        assert refused.json()["field"] == "attributes"
        with pytest.raises(SettingsError, match="belongs to the protocol"):
            async with open_server(tmp_path / name, scopes={"staff": ScopeText(claims=(name,))}):
                pass
    info = (await server.http.get("/userinfo", headers=bearer(given["access_token"]))).json()
    assert info == {"sub": person.id}


PROTOCOLS = ("iss", "aud", "sub", "exp", "scope", "roles", "cnf", "client_id", "email", "is_admin", "amr")


async def test_ad_06_an_attribute_from_before_does_not_speak_either(server: Server) -> None:
    client = await register(server, scope="openid profile email orders:read")
    given = await tokens_of(server, client, scope="openid profile email")
    person = await people.find(server.runtime, "ada")
    old = {
        "sub": "admin",
        "email": "root@example.com",
        "email_verified": True,
        "name": "Root",
        "roles": ["a"],
    }
    await server.runtime.database.write(
        profile_changes.update_profile,
        person.id,
        display_name=None,
        attributes=old,
        is_admin=False,
        actor="test",
        now=server.runtime.now(),
    )
    info = (await server.http.get("/userinfo", headers=bearer(given["access_token"]))).json()
    assert (info["sub"], info["name"]) == (person.id, "ada")
    assert info.get("email") != "root@example.com"
    assert info.get("email_verified") is not True
    assert "roles" not in info
    with pytest.raises(OAuthError):
        await people.change(server.runtime, person, Changes(attributes={"sub": "x"}), actor="test")


# Moments


async def test_ck_03_the_year_2038_and_beyond(server: Server) -> None:
    client = await server.client(scope="orders:read introspect", access_token_format="opaque")
    jwt_client = await server.client(name="jwt", scope="orders:read introspect")
    for moment in (2**31 - 300, 2**31 + 5, 2**32 + 5):
        server.clock.advance(moment - int(server.clock()))
        for one in (client, jwt_client):
            token = (await server.grant(one)).json()["access_token"]
            about = await introspect(server, one, token)
            assert about["active"], moment
            assert about["exp"] == about["iat"] + 600
            await server.post("/revoke", one, token=token)
            assert await introspect(server, one, token) == {"active": False}


@in_turn(
    ("exp", "status"),
    [(None, 200), (60.5, 200), (2**31, 401), (2**53, 401), (2**63, 401), (-1, 401), (1e300, 401)],
    ids=["a minute", "a fraction", "2^31", "2^53", "2^63", "negative", "1e300"],
)
async def test_ck_03_absurd_moments_in_assertions_are_refused(server: Server, exp: Any, status: int) -> None:
    key = jwk.generate("ES256")
    client = await server.client(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwk.public_document(key)]}
    )
    now = int(server.clock())
    moment = now + (exp or 60) if exp in (None, 60.5) else exp
    claims = {"iss": client.client.client_id, "sub": client.client.client_id, "aud": server.settings.issuer}
    made = jwt.encode(key, claims | {"iat": now, "exp": moment, "jti": "j"})
    form = {"grant_type": "client_credentials", "client_assertion": made}
    form["client_assertion_type"] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    answer: httpx.Response = await server.http.post("/token", data=form)
    assert answer.status_code == status, answer.text


# Keys of the server's own


async def test_kr_04_another_master_key_is_refused_at_the_start_and_never_while_serving(
    server: Server, tmp_path: Path
) -> None:
    given = await tokens_of(server)
    foreign = tmp_path / "foreign"
    foreign.write_text("ab" * 32)
    foreign.chmod(0o600)
    with pytest.raises(SettingsError, match="does not belong to this database"):
        async with open_server(tmp_path, database=server.settings.database, key_file=str(foreign)):
            pass
    page = await server.http.get("/account")
    assert page.status_code == 200, "a cookie is random and looked up: there is no key of cookies to rotate"
    cookies = {
        name: value[:-1] + ("x" if value[-1] != "x" else "y") for name, value in server.http.cookies.items()
    }
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=server.app), base_url=server.settings.issuer, cookies=cookies
    ) as stranger:
        for path in ("/account", "/sign-in", "/authorize/resume?interaction=x", "/step-up?return=x.y"):
            assert (await stranger.get(path)).status_code < 500
        forged = await stranger.post(
            "/sign-in", data={"csrf": "0" * 64, "identifier": "ada", "password": "x"}
        )
        assert 400 <= forged.status_code < 500
    assert (await server.http.get("/userinfo", headers=bearer(given["access_token"]))).status_code == 200
