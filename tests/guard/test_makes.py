"""Access tokens as servers of other makes issue them, under the `Trusted` that the guide names for each; their ID tokens are refused."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.fixtures.other_issuer import OtherIssuer, ask, refusal

from watchword.guard import Guard, Policy, Refused, Trusted
from watchword.guard.presented import Presented
from watchword.jose import jwk, jws

API = "https://api.example.com"
PROJECT = "282034125891239938"
APPLICATION = "3f0a4b52-6a2e-4a09-8a52-9f3c4c1a2b7d"
READ = Policy(scopes=("orders:read",))
KEY = jwk.generate("RS256", "first")


@dataclass(frozen=True, slots=True)
class Make:
    """A make: the path of its issuer, the API's name there, and the claims of an access token and of an ID token."""

    path: str
    audience: str
    access: dict[str, Any]
    identity: dict[str, Any]
    types: tuple[str, ...] = ("JWT",)
    header: dict[str, str] = field(default_factory=lambda: {"typ": "JWT"})


MAKES = {
    "Keycloak": Make(
        "/realms/staff",
        "orders",
        {"aud": ["orders", "account"], "azp": "app", "typ": "Bearer", "scope": "profile orders:read"},
        {"aud": "app", "azp": "app", "typ": "ID", "at_hash": "x"},
    ),
    "Auth0": Make(
        "/",
        API,
        {"aud": [API, "https://tenant.auth0.example/userinfo"], "azp": "app", "scope": "openid orders:read"},
        {"aud": "app", "nonce": "n"},
        types=("JWT", "at+jwt"),
    ),
    "Okta": Make(
        "/oauth2/default",
        "api://default",
        {"aud": "api://default", "cid": "app", "uid": "00u", "ver": 1, "scp": ["openid", "orders:read"]},
        {"aud": "app", "ver": 1, "at_hash": "x"},
        header={},
    ),
    "Entra ID": Make(
        "/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
        APPLICATION,
        {"aud": APPLICATION, "azp": "app", "azpacr": "1", "scp": "orders:read", "tid": "t", "ver": "2.0"},
        {"aud": "app", "tid": "t", "ver": "2.0"},
    ),
    "Entra ID 1.0": Make(
        "/9188040d-6c67-4c5b-b112-36a304b66dad/",
        "api://orders",
        {"aud": "api://orders", "appid": "app", "appidacr": "1", "scp": "orders:read", "ver": "1.0"},
        {"aud": "app", "ver": "1.0"},
    ),
    "Cognito": Make(
        "/eu-central-1_abc",
        API,
        {"aud": API, "client_id": "app", "token_use": "access", "scope": "openid orders:read"},
        {"aud": "app", "token_use": "id", "at_hash": "x"},
        header={},
    ),
    "Zitadel": Make(
        "",
        PROJECT,
        {"aud": [PROJECT, "app"], "client_id": "app", "scope": "orders:read"},
        {"aud": ["app"], "azp": "app", "at_hash": "x"},
    ),
    "Ory Hydra": Make(
        "/",
        API,
        {"aud": [API], "client_id": "app", "scp": ["orders:read"], "ext": {}},
        {"aud": ["app"], "rat": 1, "at_hash": "x"},
    ),
}


@pytest.fixture
def issuer() -> Iterator[OtherIssuer]:
    """A server whose key names no algorithm, as many do."""
    with OtherIssuer() as other:
        public = {name: value for name, value in jwk.public_document(KEY).items() if name != "alg"}
        other.documents["/keys"] = {"keys": [{**public, "use": "sig", "x5c": ["MII"]}]}
        yield other


def guard_of(issuer: OtherIssuer, make: Make) -> Guard:
    """Return a guard that trusts a server of a make, as the guide says."""
    name = issuer.issuer + make.path
    document = {"issuer": name, "jwks_uri": f"{issuer.issuer}/keys"}
    issuer.documents[f"{make.path.rstrip('/')}/.well-known/openid-configuration"] = document
    return Guard(Trusted(issuer=name, audience=make.audience, types=make.types), audience=API)


def signed(issuer: OtherIssuer, make: Make, claims: dict[str, Any]) -> str:
    """Return a JWT of a make."""
    now = int(time.time())
    whole = {
        "iss": issuer.issuer + make.path,
        "sub": "ada",
        "iat": now,
        "exp": now + 300,
        "jti": "1",
        **claims,
    }
    return jws.sign(KEY, make.header, json.dumps(whole).encode())


@pytest.mark.parametrize("name", MAKES)
async def test_an_access_token_is_accepted_and_an_id_token_is_not(issuer: OtherIssuer, name: str) -> None:
    make = MAKES[name]
    guard = guard_of(issuer, make)
    shown = Presented(authorization=(f"Bearer {signed(issuer, make, make.access)}",))
    caller = await guard.authenticate(shown, READ)
    assert (caller.subject, caller.has("orders:read")) == ("ada", True)
    assert caller.client_id == "app" or "app" in (caller.claims.get("cid"), caller.claims.get("appid"))
    assert await refusal(guard, signed(issuer, make, make.identity)) == 401
    if "Entra" not in name:  # see below
        for_api = make.identity | {"aud": make.access["aud"]}
        assert await refusal(guard, signed(issuer, make, for_api)) == 401, (
            "not even one for a client of its name"
        )
    assert await refusal(guard, signed(issuer, make, make.access | {"aud": "https://other.example"})) == 401
    await guard.close()


async def test_an_id_token_of_entra_id_for_the_api_itself_has_no_scope(issuer: OtherIssuer) -> None:
    """Its access tokens name the API by an identifier that is a client's too, and nothing else tells the two apart."""
    make = MAKES["Entra ID"]
    guard = guard_of(issuer, make)
    shown = Presented(authorization=(f"Bearer {signed(issuer, make, make.identity | {'aud': APPLICATION})}",))
    with pytest.raises(Refused) as refused:
        await guard.authenticate(shown, READ)
    assert refused.value.status == 403
    await guard.close()


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"client_id": "app", "token_use": "access"}, id="Cognito without a resource"),
        pytest.param({"aud": API, "azp": "app", "at_hash": "x"}, id="Dex"),
    ],
)
async def test_a_token_that_does_not_say_that_it_is_for_the_api_is_refused(
    issuer: OtherIssuer, claims: dict[str, Any]
) -> None:
    make = MAKES["Cognito"]
    guard = guard_of(issuer, make)
    assert (await ask(guard, signed(issuer, make, make.access))).subject == "ada"
    assert await refusal(guard, signed(issuer, make, claims)) == 401
    await guard.close()


async def test_a_token_without_a_type_is_none_of_an_issuer_that_names_its_access_tokens(
    issuer: OtherIssuer,
) -> None:
    make = MAKES["Okta"]
    lenient = guard_of(issuer, make)
    strict = Guard(Trusted(issuer=lenient.issuer, audience=make.audience), audience=API)
    token = signed(issuer, make, make.access | {"client_id": "app"})
    assert (await ask(lenient, token)).subject == "ada"
    assert await refusal(strict, token) == 401
    for guard in (lenient, strict):
        await guard.close()
