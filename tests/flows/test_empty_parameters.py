"""RFC 6749 §3.2: a parameter without a value counts as one that was not sent."""

import pytest
from tests.fixtures.code_flow import REDIRECT, VERIFIER, obtain_code, register, request
from tests.fixtures.servers import Server, basic

FORM = {"grant_type": "client_credentials"}
EMPTY = {"client_secret": "", "client_assertion": "", "client_assertion_type": ""}


async def test_an_empty_secret_beside_a_header_is_no_second_way_to_authenticate(server: Server) -> None:
    client = await server.client()
    headers = {"authorization": basic(client)}
    assert (await server.http.post("/token", data=FORM | EMPTY, headers=headers)).status_code == 200
    two = await server.http.post("/token", data=FORM | {"client_secret": "x"}, headers=headers)
    assert (two.status_code, two.json()["error"]) == (400, "invalid_request")


async def test_a_public_client_that_sends_an_empty_secret_sends_none(server: Server) -> None:
    client = await register(server, token_endpoint_auth_method="none")
    code = (await obtain_code(server, client))["code"]
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
    form |= {"code_verifier": VERIFIER, "client_id": client.client.client_id}
    refused = await server.http.post("/token", data=form | {"client_secret": "x"})
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert (await server.http.post("/token", data=form | EMPTY)).status_code == 200


@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
async def test_an_empty_secret_proves_nothing(server: Server, method: str) -> None:
    client = await server.client(token_endpoint_auth_method=method)
    named = FORM | {"client_id": client.client.client_id}
    answer = await server.http.post("/token", data=named | EMPTY)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_pushed_request_with_an_empty_reference_refers_to_nothing(server: Server) -> None:
    client = await register(server)
    pushed = await server.post("/par", client, **request(client, request_uri=""))
    assert pushed.status_code == 201
    other = await server.post("/par", client, **request(client, request_uri=pushed.json()["request_uri"]))
    assert (other.status_code, other.json()["error"]) == (400, "invalid_request")


async def test_a_post_without_a_body_states_no_parameters(server: Server) -> None:
    client = await server.client(grant_types=["device_code"], scope="orders:read")
    headers = {"authorization": basic(client)}
    assert (await server.http.post("/device_authorization", headers=headers)).status_code == 200
    missing = await server.http.post("/token", headers=headers)
    assert (missing.status_code, missing.json()["field"]) == (400, "grant_type")
    typed = await server.http.post("/token", headers=headers | {"content-type": "application/json"})
    assert (typed.status_code, typed.json()["field"]) == (400, "content-type")
