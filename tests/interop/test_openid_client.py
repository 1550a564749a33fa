"""npm openid-client 6 against the server: what its users do, each answer checked by the library itself."""

from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import Installation
from tests.interop.node_program import NodeProgram

from watchword.jose import jwk

# Whichever comes first installs what it needs.
pytestmark = [pytest.mark.node, pytest.mark.timeout(400)]

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
PUBLIC = {"token_endpoint_auth_method": "none"}


@pytest.fixture
def openid_client(node_software: Path, installation: Installation) -> NodeProgram:
    """The program that uses the library."""
    return NodeProgram(node_software, "openid_client.mjs", installation)


def known(client: dict[str, Any]) -> dict[str, Any]:
    """Return what the program is told of a client."""
    return {"id": client["client_id"], "secret": client.get("client_secret")}


def test_it_walks_the_code_flow_and_everything_after_it(
    openid_client: NodeProgram, installation: Installation
) -> None:
    found = openid_client.run("code_flow", **known(installation.web_application()))
    assert {"sub", "nonce", "auth_time", "acr", "amr", "at_hash", "sid"} <= found["claims"].keys()
    assert found["person"]["email"] == "ada@example.com"
    assert found["person"]["email_verified"] is True
    assert found["rotated"]
    assert found["same"]
    assert found["active"]["active"] is True
    assert found["active"]["sub"] == found["claims"]["sub"]
    assert found["after"] == {"active": False}
    assert found["dead"] == "invalid_grant"


def test_it_pushes_its_request_and_binds_tokens_to_its_key(
    openid_client: NodeProgram, installation: Installation
) -> None:
    client = installation.web_application(
        scope="openid profile offline_access",
        require_pushed_authorization_requests=True,
        dpop_bound_access_tokens=True,
        **PUBLIC,
    )
    found = openid_client.run("pushed_and_bound", **known(client))
    # The library writes token types in lower case.
    assert found == {"type": "dpop", "person": True, "fresh": "dpop", "stolen": "invalid_grant"}


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_it_authenticates_by_its_own_key(
    openid_client: NodeProgram, installation: Installation, algorithm: str
) -> None:
    key = jwk.generate(algorithm)
    public = {**jwk.public_document(key), "kid": "k"}
    client = installation.web_application(
        token_endpoint_auth_method="private_key_jwt", jwks={"keys": [public]}
    )
    private = {**jwk.private_document(key), "kid": "k", "alg": algorithm}
    found = openid_client.run("private_key", **known(client), key=private)
    assert found["type"] == "bearer"


def test_it_signs_its_requests(openid_client: NodeProgram, installation: Installation) -> None:
    key = jwk.generate("ES256")
    client = installation.web_application(
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [{**jwk.public_document(key), "kid": "k"}]},
        require_signed_request_object=True,
    )
    private = {**jwk.private_document(key), "kid": "k", "alg": "ES256"}
    found = openid_client.run("signed_request", **known(client), key=private)
    assert found == {"signed": "bearer", "pushed": "bearer"}


def test_it_gets_tokens_of_its_own(openid_client: NodeProgram, installation: Installation) -> None:
    client = installation.client(
        scope="orders:read orders:write", token_endpoint_auth_method="client_secret_post"
    )
    found = openid_client.run("client_credentials", **known(client))
    assert found == {"type": "bearer", "scope": "orders:read", "wrong": "invalid_scope"}


def test_it_signs_in_a_person_by_another_device(
    openid_client: NodeProgram, installation: Installation
) -> None:
    client = installation.client(
        grant_types=[DEVICE, "refresh_token"], scope="openid offline_access", **PUBLIC
    )
    found = openid_client.run("device", **known(client))
    assert found["type"] == "bearer"
    assert found["refresh"]


def test_it_registers_itself(openid_client: NodeProgram) -> None:
    found = openid_client.run("registration")
    assert found["metadata"]["token_endpoint_auth_method"] == "client_secret_post"
    assert found["metadata"]["client_name"] == "Newcomer"


def test_it_signs_the_person_out(openid_client: NodeProgram, installation: Installation) -> None:
    bye = "https://rp.example.com/bye"
    client = installation.web_application(post_logout_redirect_uris=[bye])
    found = openid_client.run("logout", **known(client), bye=bye)
    assert found == {"back": f"{bye}?state=s-42", "silent": "login_required"}


def test_it_hears_that_the_person_denied(node_software: Path, installation: Installation) -> None:
    denying = NodeProgram(node_software, "openid_client.mjs", installation, decision="deny")
    found = denying.run("denied", **known(installation.web_application()))
    assert found == {"error": "access_denied"}
