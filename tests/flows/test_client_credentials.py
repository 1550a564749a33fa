"""The token endpoint with client credentials: registered methods, honest tokens, plain refusals."""

import json
import time
from typing import Any

import pytest
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic

from watchword.flows.clients import client_metadata, client_registry
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.store.database import Transaction

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


async def published(server: Server) -> list[Key]:
    """Return the keys that the server publishes."""
    return jwk.parse_set((await server.http.get("/.well-known/jwks.json")).json())


async def test_a_jwt_says_what_rfc_9068_demands(server: Server) -> None:
    client = await server.client(scope="orders:read orders:write")
    answer = await server.grant(client, scope="orders:read")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document["token_type"] == "Bearer"
    assert "refresh_token" not in document
    now = int(server.clock())
    claims = jwt.decode(
        document["access_token"],
        await published(server),
        algorithms=("ES256",),
        typ="at+jwt",
        issuer=server.settings.issuer,
        audience=server.settings.issuer,
        now=now,
        required=("jti", "iat", "exp", "client_id"),
    )
    assert claims["sub"] == claims["client_id"] == client.client.client_id
    assert claims["scope"] == document["scope"] == "orders:read"
    assert claims["exp"] - claims["iat"] == document["expires_in"] == 600
    assert "authorization_details" not in claims.keys() | document.keys()


async def test_an_opaque_token_is_introspected_alike(server: Server) -> None:
    client = await server.client(access_token_format="opaque")
    token = (await server.grant(client)).json()["access_token"]
    assert token.startswith("wwo_")
    said = (await server.post("/introspect", client, token=token)).json()
    assert said["active"] is True
    assert said["client_id"] == said["sub"] == client.client.client_id


@in_turn(
    ("form", "status", "code"),
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "password", "username": "a", "password": "b"}, 400, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "scope": "admin"}, 400, "invalid_scope"),
        ({"grant_type": "client_credentials", "scope": 'a"b'}, 400, "invalid_scope"),
        ({"grant_type": "client_credentials", "resource": "https://evil.example"}, 400, "invalid_target"),
    ],
    ids=[
        "grant_type missing",
        "TE-07 password",
        "scope not registered",
        "scope malformed",
        "unknown resource",
    ],
)
async def test_a_refusal_uses_the_protocols_code(
    server: Server, form: dict[str, str], status: int, code: str
) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    refused = await server.post("/token", client, **form)
    assert (refused.status_code, refused.json()["error"]) == (status, code)


async def test_parameters_sent_twice_are_refused(server: Server) -> None:
    client = await server.client()
    headers = {"authorization": basic(client), "content-type": "application/x-www-form-urlencoded"}
    body = "grant_type=client_credentials&scope=orders:read"
    assert (await server.http.post("/token", content=body, headers=headers)).status_code == 200
    for doubled in ("&grant_type=client_credentials", "&scope=orders:write"):
        refused = await server.http.post("/token", content=body + doubled, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), "TE-06"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_secret_works_only_by_the_registered_method(server: Server, method: str) -> None:
    client = await server.client(token_endpoint_auth_method=method)
    form = {"grant_type": "client_credentials"}
    in_body = form | {"client_id": client.client.client_id, "client_secret": client.client_secret or ""}
    by_header = await server.post("/token", client, **form)
    by_body = await server.http.post("/token", data=in_body)
    statuses = {"client_secret_basic": by_header.status_code, "client_secret_post": by_body.status_code}
    assert statuses.pop(method) == 200
    assert set(statuses.values()) == {401}


@in_turn("change", ["", "x", "short", "case"], ids=["empty", "extended", "truncated", "case-flipped"])
async def test_te_01_a_wrong_secret_is_401_with_a_challenge(server: Server, change: str) -> None:
    client = await server.client()
    secret = client.client_secret or ""
    wrong = {"": "", "x": secret + "x", "short": secret[:-1], "case": secret.swapcase()}[change]
    assert (await server.grant(client)).status_code == 200
    answer = await server.http.post(
        "/token", data={"grant_type": "client_credentials"}, auth=(client.client.client_id, wrong)
    )
    assert answer.status_code == 401
    assert answer.json()["error"] == "invalid_client"
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_te_01_the_log_says_whose_credentials_are_guessed_and_from_where(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    assert "client.refused" not in capsys.readouterr().err
    for client_id in (client.client.client_id, "nobody", client.client_secret or ""):
        answer = await server.http.post(
            "/token", data={"grant_type": "client_credentials"}, auth=(client_id, "guessed")
        )
        assert answer.status_code == 401
    written = capsys.readouterr().err
    assert (client.client_secret or "") not in written
    events = [json.loads(line) for line in written.splitlines() if "client.refused" in line]
    assert [event["client"] for event in events][:2] == [client.client.client_id, "nobody"]
    assert {event["address"] for event in events} == {"127.0.0.1"}
    assert len(events) == 3


async def test_two_secrets_live_through_a_rotation(server: Server) -> None:
    client = await server.client()
    secret, _ = await client_registry.add_secret(
        server.runtime, client.client.client_id, overlap=3600, actor="test"
    )
    form = {"grant_type": "client_credentials"}
    old = (client.client.client_id, client.client_secret or "")
    new = (client.client.client_id, secret)
    assert [(await server.http.post("/token", data=form, auth=pair)).status_code for pair in (old, new)] == [
        200,
        200,
    ]
    server.clock.advance(3600)
    statuses = [(await server.http.post("/token", data=form, auth=pair)).status_code for pair in (old, new)]
    assert statuses == [401, 200], "CL-02"


def assertion(server: Server, key: Key, client_id: str, **changes: Any) -> dict[str, str]:
    """Return the form of a client assertion with some claims changed; None removes one."""
    now = int(server.clock())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": server.settings.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": f"jti-{time.perf_counter_ns()}",
    } | changes
    token = jwt.encode(key, {name: value for name, value in claims.items() if value is not None})
    return {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": token}


@in_turn(
    "changes",
    [
        {"aud": "https://other.example"},
        {"aud": None},
        {"aud": ["http://localhost"]},
        {"aud": "http://localhost/"},
        {"aud": "http://localhost/token"},
        {"exp": 1},
        {"exp": None},
        {"exp": 4_000_000_000},
        {"nbf": 4_000_000_000},
        {"iss": "someone"},
        {"sub": "someone"},
        {"jti": None},
        {"jti": ""},
    ],
    ids=lambda changes: "CA-02 " + ", ".join(f"{name}={value}" for name, value in changes.items()),
)
async def test_private_key_jwt_is_checked_to_the_letter(server: Server, changes: dict[str, Any]) -> None:
    key = jwk.generate("ES256")
    client = await server.client(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwk.public_document(key)]}
    )
    client_id = client.client.client_id
    assert (await server.http.post("/token", data=assertion(server, key, client_id))).status_code == 200
    refused = await server.http.post("/token", data=assertion(server, key, client_id, **changes))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_a_client_signs_with_the_algorithm_that_it_registered(server: Server) -> None:
    mine, other = jwk.generate("ES256"), jwk.generate("EdDSA")
    client = await server.client(
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_signing_alg="ES256",
        jwks={"keys": [jwk.public_document(key) for key in (mine, other)]},
    )
    for key, status in ((mine, 200), (other, 401)):
        form = assertion(server, key, client.client.client_id)
        assert (await server.http.post("/token", data=form)).status_code == status


async def test_an_assertion_works_once(server: Server) -> None:
    key = jwk.generate("EdDSA")
    client = await server.client(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [jwk.public_document(key)]}
    )
    form = assertion(server, key, client.client.client_id)
    statuses = [(await server.http.post("/token", data=form)).status_code for _ in range(3)]
    assert statuses == [200, 401, 401], "RC-02"


async def test_a_public_client_gets_no_client_credentials(server: Server) -> None:
    with pytest.raises(Exception, match="client_credentials"):
        await server.client(token_endpoint_auth_method="none")


async def test_a_client_with_a_place_for_codes_gets_them_unless_it_names_other_grants(server: Server) -> None:
    place: dict[str, Any] = {"redirect_uris": ["https://a.example/cb"]}
    for given, grants in (
        ({}, ("client_credentials",)),
        (place, ("authorization_code", "refresh_token")),
        (place | {"grant_types": ["client_credentials"]}, ("client_credentials",)),
        ({"grant_types": []}, ()),
    ):
        assert (await server.client(**given)).client.grant_types == grants, given


async def test_a_client_is_there_with_its_secret_or_not_at_all(server: Server) -> None:
    async def rename(tx: Transaction, name: str, to: str) -> None:
        await tx.run(f"ALTER TABLE {name} RENAME TO {to}")

    given = client_metadata.ClientInput(name="Billing", scope="orders:read")
    await server.runtime.database.write(rename, "client_secrets", "elsewhere")
    with pytest.raises(Exception, match="client_secrets"):  # what the database says, each in its words
        await client_registry.register(server.runtime, given, actor="test", client_id="billing")
    await server.runtime.database.write(rename, "elsewhere", "client_secrets")
    made = await client_registry.register(server.runtime, given, actor="test", client_id="billing")
    assert (await server.grant(made)).status_code == 200
