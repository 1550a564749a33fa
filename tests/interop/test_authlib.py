"""Authlib's clients against the server, over requests and over httpx, with tokens checked by joserfc."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from tests.interop.conftest import Installation

Make = Callable[..., Any]
CALLBACK = "https://rp.example.com/cb"


@pytest.fixture(params=["requests", "httpx"])
def client_of(
    request: pytest.FixtureRequest, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Make a client by the library that the case names."""
    opened: list[Any] = []

    def make(registered: dict[str, Any], **given: Any) -> Any:
        given = {
            "client_id": registered["client_id"],
            "client_secret": registered.get("client_secret"),
            "redirect_uri": CALLBACK,
        } | given
        if request.param == "httpx":
            session = OAuth2Client(verify=installation.tls, **given)
        else:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(installation.authority))
            session = OAuth2Session(**given)
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def metadata(installation: Installation) -> dict[str, Any]:
    """The server's metadata."""
    found: dict[str, Any] = installation.http.get("/.well-known/openid-configuration").json()
    return found


def test_a_person_signs_in_and_everything_after_it(
    client_of: Make, installation: Installation, metadata: dict[str, Any]
) -> None:
    registered = installation.web_application()
    session = client_of(
        registered,
        scope="openid profile email offline_access",
        code_challenge_method="S256",
        token_endpoint=metadata["token_endpoint"],
    )
    verifier, nonce = "v" * 48, os.urandom(8).hex()
    address, state = session.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce
    )
    back = installation.browser().visit(address)
    token = session.fetch_token(
        metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
    )
    keys = KeySet.import_key_set(installation.http.get(metadata["jwks_uri"]).json())
    claims = jwt.decode(token["id_token"], keys, algorithms=["ES256"]).claims
    assert (claims["iss"], claims["nonce"], claims["aud"]) == (
        installation.issuer, nonce, registered["client_id"],
    )  # fmt: skip
    person = session.get(metadata["userinfo_endpoint"]).json()
    assert (person["sub"], person["email"]) == (claims["sub"], "ada@example.com")

    fresh = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert fresh["refresh_token"] != token["refresh_token"]
    found = session.introspect_token(metadata["introspection_endpoint"], token=fresh["access_token"])
    assert found.json()["active"] is True
    revoked = session.revoke_token(metadata["revocation_endpoint"], token=fresh["refresh_token"])
    assert revoked.status_code == 200
    found = session.introspect_token(metadata["introspection_endpoint"], token=fresh["access_token"])
    assert found.json() == {"active": False}


def test_an_expired_token_is_renewed_by_the_library(
    client_of: Make, installation: Installation, metadata: dict[str, Any]
) -> None:
    registered = installation.client(scope="orders:read", token_endpoint_auth_method="client_secret_post")
    kept: list[dict[str, Any]] = []
    session = client_of(
        registered,
        token_endpoint=metadata["token_endpoint"],
        grant_type="client_credentials",
        token_endpoint_auth_method="client_secret_post",
        update_token=lambda token, **_: kept.append(token),
    )
    first = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    session.token = {**first, "expires_at": int(time.time()) - 1}
    session.get(f"{installation.issuer}/userinfo")
    assert [token["token_type"] for token in kept] == ["Bearer"]


def test_a_client_authenticates_by_its_key(
    client_of: Make, installation: Installation, metadata: dict[str, Any]
) -> None:
    key = ECKey.generate_key("P-256", {"kid": "k", "use": "sig", "alg": "ES256"})
    registered = installation.client(
        scope="orders:read",
        token_endpoint_auth_method="private_key_jwt",
        jwks={"keys": [key.as_dict(private=False)]},
    )
    session = client_of(
        registered,
        client_secret=key,
        token_endpoint_auth_method=PrivateKeyJWT(installation.issuer, alg="ES256", headers={"kid": "k"}),
    )
    token = session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert token["scope"] == "orders:read"
