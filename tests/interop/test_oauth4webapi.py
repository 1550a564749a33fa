"""npm oauth4webapi 3 against the server, with everything that the library can check switched on."""

from pathlib import Path

import pytest
from tests.interop.conftest import Installation
from tests.interop.node_program import NodeProgram

from watchword.jose import jwk

# Whichever comes first installs what it needs.
pytestmark = [pytest.mark.node, pytest.mark.timeout(400)]

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
API = "https://api.example.com"


@pytest.fixture
def oauth4webapi(node_software: Path, installation: Installation) -> NodeProgram:
    """The program that uses the library."""
    return NodeProgram(node_software, "oauth4webapi.mjs", installation)


@pytest.mark.parametrize("profile", ["default", "fapi2"])
@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519"])
def test_pushed_bound_and_signed_all_the_way_to_the_api(
    oauth4webapi: NodeProgram, installation: Installation, algorithm: str, profile: str
) -> None:
    key = jwk.generate("ES256")
    client = installation.web_application(
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [{**jwk.public_document(key), "kid": "k"}]},
        dpop_bound_access_tokens=True,
        security_profile=profile,
        resources=[API],
    )
    private = {**jwk.private_document(key), "kid": "k"}
    found = oauth4webapi.run(
        "everything", id=client["client_id"], key=private, algorithm=algorithm, resource=API
    )
    assert found["type"] == "dpop", "the library writes token types in lower case"
    assert found["person"] == {
        "sub": found["claims"]["sub"],
        "email": "ada@example.com",
        "email_verified": True,
    }
    assert found["access"]["aud"] == API
    assert found["access"]["cnf"] == found["active"]["cnf"]
    assert found["active"]["active"] is True


def test_a_client_gets_tokens_of_its_own(oauth4webapi: NodeProgram, installation: Installation) -> None:
    client = installation.client(scope="orders:read")
    found = oauth4webapi.run("client_credentials", id=client["client_id"], secret=client["client_secret"])
    assert (found["token_type"], found["scope"]) == ("bearer", "orders:read")


def test_a_device_signs_a_person_in(oauth4webapi: NodeProgram, installation: Installation) -> None:
    client = installation.client(
        grant_types=[DEVICE, "refresh_token"], scope="openid", token_endpoint_auth_method="none"
    )
    assert "id_token" in oauth4webapi.run("device", id=client["client_id"])


def test_a_client_registers_itself_with_metadata_that_the_server_does_not_use(
    oauth4webapi: NodeProgram,
) -> None:
    found = oauth4webapi.run("registration")
    assert found["client"]["token_endpoint_auth_method"] == "client_secret_basic"
    assert found["type"] == "bearer"
