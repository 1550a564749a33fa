"""RFC 9101 over the wire: what a client signed counts and nothing else; message signing for clients of FAPI 2.0."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.code_flow import REDIRECT, answer_of, obtain_code, redeem, register, request
from tests.fixtures.documents import Documents
from tests.fixtures.rows import in_turn
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server
from tests.flows.test_fapi2 import Bank

from watchword.flows.clients import client_keys
from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk, jwt
from watchword.jose.strict_json import encode
from watchword.oauth.errors import OAuthError

KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")

fetching = server_with(fetch_allow_loopback=True)


async def signing(server: Server, **given: Any) -> Registered:
    """Register a client that has keys."""
    return await register(server, **{"jwks": {"keys": [jwk.public_document(KEY)]}} | given)


def signed(server: Server, client: Registered, key: jwk.Key = KEY, **changes: Any) -> str:
    """Return the good request as a signed object, some claims changed or, when None, left out."""
    now = int(server.clock())
    claims: dict[str, Any] = {"iss": client.client.client_id, "aud": server.settings.issuer}
    claims |= {"iat": now, "nbf": now, "exp": now + 300} | request(client) | changes
    kept = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(key, kept, typ="oauth-authz-req+jwt")


async def test_every_algorithm_that_the_metadata_names_can_be_registered(server: Server) -> None:
    metadata = (await server.http.get("/.well-known/openid-configuration")).json()
    for algorithm in metadata["request_object_signing_alg_values_supported"]:
        key = jwk.generate("EdDSA" if algorithm == "Ed25519" else algorithm)
        given = {"request_object_signing_alg": algorithm, "require_signed_request_object": True}
        client = await signing(server, jwks={"keys": [jwk.public_document(key)]}, **given)
        request_uri = await server.post("/par", client, request=signed(server, client, key))
        assert request_uri.status_code == 201, algorithm
        wrong = await server.post("/par", client, request=signed(server, client, OTHER))
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_request_object"), algorithm


async def bring(server: Server, client: Registered, token: str, **beside: str) -> httpx.Response:
    """Send the browser with a request object."""
    parameters = {"client_id": client.client.client_id, "request": token} | beside
    return await server.http.get("/authorize", params=parameters)


async def test_a_signed_request_gets_a_code_for_what_was_signed(server: Server) -> None:
    client = await signing(server)
    await obtain_code(server, client)
    beside = {"state": "evil", "redirect_uri": "https://evil.example", "scope": "openid profile"}
    answer = answer_of(await bring(server, client, signed(server, client, state="inner"), **beside))
    assert (answer["state"], answer["iss"]) == ("inner", server.settings.issuer)
    tokens = (await redeem(server, client, answer["code"])).json()
    assert tokens["scope"] == "openid orders:read"


async def test_a_signed_request_may_be_pushed(server: Server) -> None:
    client = await signing(server, require_signed_request_object=True)
    pushed = await server.post("/par", client, request=signed(server, client))
    assert pushed.status_code == 201
    parameters = {"client_id": client.client.client_id, "request_uri": pushed.json()["request_uri"]}
    begun = await server.http.get("/authorize", params=parameters)
    assert begun.status_code == 303
    assert "/sign-in?return=" in begun.headers["location"]


async def test_keys_are_fetched_from_where_the_client_registered_them(
    fetching: Server, documents: Documents, tmp_path: Path
) -> None:
    address = documents.publish("/jwks", {"keys": [jwk.public_document(KEY)]})
    client = await register(fetching, jwks_uri=address)
    begun = await bring(fetching, client, signed(fetching, client))
    assert "/sign-in?return=" in begun.headers["location"]
    (tmp_path / "stricter").mkdir()
    async with open_server(tmp_path / "stricter") as stricter:
        with pytest.raises(OAuthError):  # though another one in this process has the keys already
            await client_keys.documents_of(stricter.runtime, client.client)
    documents.published.clear()
    other = await register(fetching, jwks_uri=documents.base + "/gone")
    refused = await bring(fetching, other, signed(fetching, other))
    assert answer_of(refused)["error"] == "invalid_request_object"


async def test_keys_that_were_fetched_take_only_so_much_memory_and_those_in_use_stay(
    fetching: Server, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = {"keys": [jwk.public_document(KEY) | {"n": [[]] * 500}]}
    monkeypatch.setattr(client_keys, "MAX_KEPT_BYTES", 6900)  # three times what is published
    clients = [
        await register(fetching, jwks_uri=documents.publish(f"/jwks/{number}", published))
        for number in range(5)
    ]
    for client in clients[:3]:
        assert await client_keys.documents_of(fetching.runtime, client.client)
    fetching.clock.advance(client_keys.MAX_AGE)
    for client in (clients[0], *clients[3:]):
        assert await client_keys.documents_of(fetching.runtime, client.client)
    kept = [client.client.jwks_uri for client in (clients[0], *clients[3:])]
    assert list(fetching.runtime.client_keys) == kept, "the others were fetched before"


async def test_a_client_that_signs_with_a_new_key_need_not_wait(
    fetching: Server, documents: Documents
) -> None:
    address = documents.publish("/jwks", {"keys": [jwk.public_document(KEY)]})
    client = await register(fetching, jwks_uri=address)
    assert "/sign-in" in (await bring(fetching, client, signed(fetching, client))).headers["location"]
    fetching.clock.advance(60)
    documents.publish("/jwks", {"keys": [jwk.public_document(OTHER)]}, status=500)
    beside = {"redirect_uri": REDIRECT, "state": "s"}
    later = answer_of(await bring(fetching, client, signed(fetching, client, OTHER), **beside))
    assert (later["error"], later["state"]) == ("temporarily_unavailable", "s"), "its signature may be good"
    pushed = await fetching.post("/par", client, request=signed(fetching, client, OTHER))
    assert (pushed.status_code, pushed.headers["retry-after"]) == (503, "30")
    fetching.clock.advance(60)
    documents.publish("/jwks", {"keys": [jwk.public_document(OTHER)]})
    begun = await bring(fetching, client, signed(fetching, client, OTHER))
    assert "/sign-in?return=" in begun.headers["location"]


@in_turn(
    "changes",
    [
        pytest.param({"client_id": "other"}, id="for another client"),
        pytest.param({"iss": "other"}, id="of another issuer"),
        pytest.param({"aud": "https://other.example"}, id="for another server"),
        pytest.param({"aud": None}, id="for no server"),
        pytest.param({"exp": 1}, id="that has expired"),
        pytest.param({"request_uri": "https://evil.example"}, id="that holds a reference"),
        pytest.param({"key": OTHER}, id="signed by another key"),
    ],
)
async def test_a_request_object_is_refused(server: Server, changes: dict[str, Any]) -> None:
    client = await signing(server)
    assert "/sign-in" in (await bring(server, client, signed(server, client))).headers["location"]
    shown = await bring(server, client, signed(server, client, **changes), state="s", redirect_uri=REDIRECT)
    answer = answer_of(shown)
    assert (answer["error"], answer["state"]) == ("invalid_request_object", "s")
    pushed = await server.post("/par", client, request=signed(server, client, **changes))
    assert (pushed.status_code, pushed.json()["error"]) == (400, "invalid_request_object")


async def test_a_refusal_goes_to_no_address_that_was_not_verified(server: Server) -> None:
    client = await signing(server)
    shown = await bring(server, client, "x", redirect_uri="https://evil.example")
    assert (shown.status_code, "location" in shown.headers) == (400, False)
    inside = signed(server, client, redirect_uri="https://evil.example")
    shown = await bring(server, client, inside, redirect_uri=REDIRECT)
    assert (shown.status_code, "location" in shown.headers) == (400, False)


async def test_pa_50_an_encrypted_object_is_refused_before_anything_is_fetched_or_computed(
    fetching: Server, documents: Documents
) -> None:
    address = documents.publish("/jwks", {"keys": [jwk.public_document(KEY)]})
    client = await register(fetching, jwks_uri=address)
    for header in (
        {"alg": "RSA1_5", "enc": "A128CBC-HS256"},
        {"alg": "dir", "enc": "A256GCM", "zip": "DEF"},
        {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 10**8, "p2s": "AAAA"},
    ):
        encrypted = ".".join([jwk.b64encode(encode(header)), "AA", "AA", "AA" * 2000, "AA"])
        assert answer_of(await bring(fetching, client, encrypted))["error"] == "invalid_request_object"
    assert not documents.asked
    assert "/sign-in" in (await bring(fetching, client, signed(fetching, client))).headers["location"]
    assert documents.asked["/jwks"] == 1


@in_turn(
    "request_uri",
    [
        "{base}/object",
        "http://127.1:{port}/object",
        "http://2130706433:{port}/object",
        "http://[::ffff:127.0.0.1]:{port}/object",
        "http://localhost:{port}/object",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ],
)
async def test_pa_04_an_object_behind_an_address_is_never_fetched(
    fetching: Server, documents: Documents, request_uri: str
) -> None:
    client = await signing(fetching)
    pushed = (await fetching.post("/par", client, request=signed(fetching, client))).json()
    documents.publish("/object", signed(fetching, client).encode())
    port = documents.base.rpartition(":")[2]
    for address in (pushed["request_uri"], request_uri.format(base=documents.base, port=port)):
        parameters = {"client_id": client.client.client_id, "request_uri": address}
        shown = await fetching.http.get("/authorize", params=parameters)
        is_ours = address == pushed["request_uri"]
        assert (shown.status_code, "location" in shown.headers) == ((303, True) if is_ours else (400, False))
    assert not documents.asked


async def test_a_reference_and_an_object_at_once_are_refused(server: Server) -> None:
    client = await signing(server)
    pushed = (await server.post("/par", client, **request(client))).json()
    shown = await bring(server, client, signed(server, client), request_uri=pushed["request_uri"])
    assert shown.status_code == 400


async def test_a_client_that_must_sign_is_held_to_it(server: Server) -> None:
    client = await signing(server, require_signed_request_object=True, request_object_signing_alg="ES256")
    assert "/sign-in" in (await bring(server, client, signed(server, client))).headers["location"]
    plain = await server.http.get("/authorize", params=request(client))
    assert answer_of(plain)["error"] == "invalid_request"
    pushed = await server.post("/par", client, **request(client))
    assert (pushed.status_code, pushed.json()["error"]) == (400, "invalid_request")


async def test_an_algorithm_that_is_not_registered_is_refused(server: Server) -> None:
    keys = [jwk.public_document(KEY), jwk.public_document(jwk.generate("ES384"))]
    client = await signing(server, request_object_signing_alg="ES384", jwks={"keys": keys})
    refused = await bring(server, client, signed(server, client))
    assert answer_of(refused)["error"] == "invalid_request_object"


async def test_fapi_message_signing_comes_with_a_registered_algorithm(server: Server) -> None:
    bank = await Bank(server).register(request_object_signing_alg="ES256")
    assert bank.registered.client.require_signed_request_object
    form = {"client_id": bank.client_id} | bank.assertion()
    unsigned = await bank.push()
    assert (unsigned.status_code, unsigned.json()["error"]) == (400, "invalid_request")
    lasting = signed(server, bank.registered, bank.key, exp=int(server.clock()) + 7200)
    for token, status in ((signed(server, bank.registered, bank.key), 201), (lasting, 400)):
        pushed = await server.http.post("/par", data=form | bank.assertion() | {"request": token})
        assert pushed.status_code == status
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        await Bank(server).register(request_object_signing_alg="RS256")


async def test_discovery_says_what_is_accepted(server: Server) -> None:
    told = (await server.http.get("/.well-known/openid-configuration")).json()
    assert told["request_parameter_supported"] is True
    assert "ES256" in told["request_object_signing_alg_values_supported"]
    assert "none" not in told["request_object_signing_alg_values_supported"]
    assert told["request_uri_parameter_supported"] is False


async def test_a_signed_request_with_more_than_is_known_here_is_understood(server: Server) -> None:
    client = await signing(server)
    await obtain_code(server, client)
    extended = signed(server, client, vendor={"a": [1]}, vendor_flag=True, state="inner")
    assert answer_of(await bring(server, client, extended))["state"] == "inner"
    registering = signed(server, client, registration={"client_name": "A"})
    assert answer_of(await bring(server, client, registering))["error"] == "registration_not_supported"
