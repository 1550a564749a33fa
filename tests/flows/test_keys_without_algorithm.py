"""RFC 7517 §4.4: an RSA key need not say which algorithm it is for; then it is for what its client signs with."""

from collections.abc import Iterable
from typing import Any

import pytest
from tests.fixtures.code_flow import obtain_code, register
from tests.fixtures.servers import Server
from tests.flows.test_client_credentials import assertion
from tests.flows.test_signed_requests import signed

from watchword.jose import jwk
from watchword.jose.jwk import RSA_ALGORITHMS, Key

RSA = jwk.generate("RS256")


def signing_by(algorithm: str) -> Key:
    """Return the key as it signs by another algorithm."""
    return Key(RSA.kid, algorithm, "RSA", RSA.public, RSA.private, RSA.thumbprint)


def published(without: Iterable[str] = ("alg",)) -> dict[str, Any]:
    """Return the set that holds the key, by default without its algorithm."""
    members = jwk.public_document(RSA).items()
    return {"keys": [{name: value for name, value in members if name not in without}]}


@pytest.mark.parametrize("algorithm", RSA_ALGORITHMS)
async def test_a_client_authenticates_by_whichever_algorithm_of_rsa(server: Server, algorithm: str) -> None:
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    assert algorithm in metadata["token_endpoint_auth_signing_alg_values_supported"]
    free = await server.client(token_endpoint_auth_method="private_key_jwt", jwks=published())
    form = assertion(server, signing_by(algorithm), free.client.client_id)
    assert (await server.http.post("/token", data=form)).status_code == 200
    bound = await server.client(token_endpoint_auth_method="private_key_jwt", jwks=published(without=()))
    stated = assertion(server, signing_by(algorithm), bound.client.client_id)
    expected = 200 if algorithm == "RS256" else 401
    assert (await server.http.post("/token", data=stated)).status_code == expected, (
        "a key that says is held to it"
    )


async def test_a_request_is_signed_by_the_algorithm_that_was_registered(server: Server) -> None:
    client = await register(server, jwks=published(), request_object_signing_alg="PS256")
    await obtain_code(server, client)
    pushed = await server.post("/par", client, request=signed(server, client, signing_by("PS256")))
    assert pushed.status_code == 201
    other = await server.post("/par", client, request=signed(server, client, signing_by("PS384")))
    assert (other.status_code, other.json()["error"]) == (400, "invalid_request_object")


async def test_a_client_of_fapi_signs_by_ps256_and_not_by_rs256(server: Server) -> None:
    bank = await register(
        server, token_endpoint_auth_method="private_key_jwt", jwks=published(), security_profile="fapi2"
    )
    form = {"token": "x"}
    good = assertion(server, signing_by("PS256"), bank.client.client_id) | form
    assert (await server.http.post("/revoke", data=good)).status_code == 200
    bad = assertion(server, signing_by("RS256"), bank.client.client_id, jti="other") | form
    assert (await server.http.post("/revoke", data=bad)).status_code == 401
