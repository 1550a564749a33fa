"""What is made for one client alone: names of people that nobody else can join, and answers signed and encrypted as it registered."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from joserfc import jwe as library
from joserfc.jwk import ECKey, OKPKey, RSAKey
from tests.fixtures.documents import Documents
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, basic, open_server
from tests.flows.test_authorization_code import (
    answer_of,
    decide,
    obtain_code,
    redeem,
    refresh,
    register,
    request,
)

from watchword.flows import account_changes, client_keys, minting, people, subjects
from watchword.flows.client_registry import Registered
from watchword.flows.minting import AccessGrant
from watchword.flows.people import Changes
from watchword.jose import jwk, jwt
from watchword.oauth.clients import Client, ExchangeRules
from watchword.oauth.errors import OAuthError
from watchword.settings.options import ScopeText
from watchword.store import users

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SIGNED = "application/token-introspection+jwt"


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The real application, which tells departments to whom may know `staff`."""
    options: dict[str, Any] = {"database": store.address, "key_file": str(tmp_path / "key")}
    options |= {"signing_algorithms": ("ES256", "EdDSA", "RS256"), "fetch_allow_loopback": True}
    options |= {"scopes": {"staff": ScopeText(sentence="See your department", claims=("department",))}}
    async with open_server(tmp_path, **options) as opened:
        yield opened


def claims_of(server: Server, token: str, typ: str = "JWT") -> dict[str, Any]:
    """Return the claims of a token of the server's, verified by its published keys."""
    return jwt.decode(
        token,
        server.runtime.keyring.verification_keys(),
        algorithms=server.settings.signing_algorithms,
        typ=typ,
        issuer=server.settings.issuer,
        now=int(server.clock()),
    )


async def userinfo(server: Server, token: str) -> httpx.Response:
    """Ask who a token is about."""
    return await server.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})


async def account(server: Server) -> str:
    """Return the identifier of the only person."""
    found = await server.runtime.database.read(users.list_users, after="", limit=10)
    return found[0].id


async def again(server: Server, client: Registered, **changes: str) -> dict[str, Any]:
    """Get tokens for the person who is signed in already."""
    begun = await server.http.get("/authorize", params=request(client, **changes))
    if begun.status_code == 200:
        begun = await decide(server, begun)
    tokens: dict[str, Any] = (await redeem(server, client, answer_of(begun)["code"])).json()
    return tokens


async def test_a_pairwise_client_knows_a_person_by_one_name_that_nobody_else_can_join(server: Server) -> None:
    pairwise = await register(server, subject_type="pairwise")
    tokens = (await redeem(server, pairwise, (await obtain_code(server, pairwise))["code"])).json()
    person = await account(server)
    said = claims_of(server, tokens["id_token"])
    access = claims_of(server, tokens["access_token"], "at+jwt")
    info = (await userinfo(server, tokens["access_token"])).json()
    about = (await server.post("/introspect", pairwise, token=tokens["access_token"])).json()
    later = (await refresh(server, pairwise, tokens["refresh_token"])).json()
    names = {
        said["sub"],
        access["sub"],
        info["sub"],
        about["sub"],
        claims_of(server, later["id_token"])["sub"],
    }
    assert len(names) == 1
    assert person not in json.dumps([said, access, info, about])
    assert subjects.person_of(server.runtime, said["sub"]) == person

    public = await register(server, name="public")
    openly = claims_of(server, (await again(server, public))["id_token"])
    assert openly["sub"] == person
    same_sector = await register(server, name="same", subject_type="pairwise")
    assert claims_of(server, (await again(server, same_sector))["id_token"])["sub"] in names
    other = claims_of(server, (await again(server, same_sector))["id_token"])
    assert len({said["sid"], openly["sid"], other["sid"]}) == 3, "sessions cannot be joined either"


async def test_opaque_tokens_of_a_pairwise_client_name_nobody_either(server: Server) -> None:
    client = await register(server, subject_type="pairwise", access_token_format="opaque")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    person = await account(server)
    about = await server.post("/introspect", client, token=tokens["access_token"])
    info = await userinfo(server, tokens["access_token"])
    assert about.json()["sub"] == info.json()["sub"] == claims_of(server, tokens["id_token"])["sub"]
    assert person not in about.text + info.text


async def test_a_pairwise_hint_means_the_person_of_the_session(server: Server) -> None:
    client = await register(server, subject_type="pairwise")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    hinted = request(client, prompt="none", id_token_hint=tokens["id_token"])
    assert "code" in answer_of(await server.http.get("/authorize", params=hinted))


async def test_the_end_of_an_account_ends_the_tokens_that_do_not_name_it(server: Server) -> None:
    client = await register(server, subject_type="pairwise")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    assert (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"]
    user = await people.find(server.runtime, await account(server))
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert not (await server.post("/introspect", client, token=tokens["access_token"])).json()["active"]


async def test_a_sector_is_what_its_document_says(server: Server, documents: Documents) -> None:
    uris = ["https://a.example.com/cb", "https://b.example.com/cb"]
    given: dict[str, Any] = {"subject_type": "pairwise", "redirect_uris": uris}
    sector = documents.publish("/sector", uris)
    made = await register(server, sector_identifier_uri=sector, **given)
    assert made.client.sector_identifier_uri == sector
    documents.publish("/partly", uris[:1])
    documents.publish("/object", {"uris": uris})
    for wrong in (documents.base + "/partly", documents.base + "/object", documents.base + "/missing"):
        with pytest.raises(OAuthError) as refused:
            await register(server, sector_identifier_uri=wrong, **given)
        assert (refused.value.code, refused.value.field) == (
            "invalid_client_metadata",
            "sector_identifier_uri",
        )


KEYS: dict[str, Any] = {
    "RSA": RSAKey.generate_key(2048),
    "EC": ECKey.generate_key("P-256"),
    "OKP": OKPKey.generate_key("X25519"),
}
ENCRYPTIONS = [
    ("RSA", "RSA-OAEP-256", None, "A128CBC-HS256"),
    ("RSA", "RSA-OAEP-256", "A256GCM", "A256GCM"),
    ("EC", "ECDH-ES", "A128GCM", "A128GCM"),
    ("EC", "ECDH-ES+A128KW", "A256GCM", "A256GCM"),
    ("OKP", "ECDH-ES+A256KW", "A128CBC-HS256", "A128CBC-HS256"),
]


def opened(token: str, key: Any, alg: str, enc: str) -> tuple[dict[str, Any], bytes]:
    """Decrypt as a client would; return header and content."""
    found = library.decrypt_compact(token, key, algorithms=[alg, enc])
    return dict(found.protected), found.plaintext or b""


@pytest.mark.parametrize(
    ("kind", "alg", "enc", "effective"), ENCRYPTIONS, ids=[f"{one[1]} {one[3]}" for one in ENCRYPTIONS]
)
async def test_id_tokens_and_userinfo_are_encrypted_where_a_client_asks(
    server: Server, kind: str, alg: str, enc: str | None, effective: str
) -> None:
    key = KEYS[kind]
    public = {**key.as_dict(private=False), "use": "enc", "kid": "k"}
    asked: dict[str, Any] = {"jwks": {"keys": [public]}, "userinfo_signed_response_alg": "EdDSA"}
    for what in ("id_token", "userinfo"):
        asked |= {f"{what}_encrypted_response_alg": alg, f"{what}_encrypted_response_enc": enc}
    client = await register(server, **asked)
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    header, content = opened(tokens["id_token"], key, alg, effective)
    assert (header["cty"], header["kid"]) == ("JWT", "k"), "RFC 7519 §5.2: signed first, then encrypted"
    said = claims_of(server, content.decode())
    assert said["nonce"] == "n-1"
    answer = await userinfo(server, tokens["access_token"])
    assert answer.headers["content-type"] == "application/jwt"
    _, signed = opened(answer.text, key, alg, effective)
    told = claims_of(server, signed.decode())
    assert told["sub"] == said["sub"]
    assert told["aud"] == client.client.client_id
    assert jwt.jws.peek(signed.decode()).alg == "EdDSA"


async def test_userinfo_may_be_encrypted_without_a_signature(server: Server) -> None:
    key = KEYS["EC"]
    client = await register(
        server, jwks={"keys": [key.as_dict(private=False)]}, userinfo_encrypted_response_alg="ECDH-ES"
    )
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    _, content = opened(
        (await userinfo(server, tokens["access_token"])).text, key, "ECDH-ES", "A128CBC-HS256"
    )
    assert json.loads(content) == {"sub": await account(server)}


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
async def test_each_answer_is_signed_by_the_algorithm_that_its_client_registered(
    server: Server, alg: str
) -> None:
    wanted = {f"{kind}_signed_response_alg": alg for kind in ("id_token", "userinfo", "introspection")}
    client = await register(server, **wanted, scope="openid profile orders:read introspect")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    info = await userinfo(server, tokens["access_token"])
    headers = {"authorization": basic(client), "accept": SIGNED}
    about = await server.http.post("/introspect", data={"token": tokens["access_token"]}, headers=headers)
    assert about.headers["content-type"] == SIGNED
    found = {jwt.jws.peek(token).alg for token in (tokens["id_token"], info.text, about.text)}
    assert found == {alg}
    assert claims_of(server, info.text)["aud"] == client.client.client_id


async def test_a_key_that_cannot_be_had_costs_nobody_a_code(server: Server, documents: Documents) -> None:
    key = KEYS["EC"]
    uri = documents.publish("/keys", {"keys": []})
    client = await register(server, jwks_uri=uri, id_token_encrypted_response_alg="ECDH-ES")
    code = (await obtain_code(server, client))["code"]
    refused = await redeem(server, client, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    documents.publish("/keys", {"keys": [key.as_dict(private=False)]})
    server.clock.advance(40)
    client_keys._fetched.clear()
    tokens = await redeem(server, client, code)
    assert tokens.status_code == 200, "the code was not used up"
    assert opened(tokens.json()["id_token"], key, "ECDH-ES", "A128CBC-HS256")[1].count(b".") == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"id_token_signed_response_alg": "none"},
        {"id_token_signed_response_alg": "HS256"},
        {"userinfo_signed_response_alg": "PS256"},
        {"id_token_encrypted_response_alg": "RSA1_5"},
        {"id_token_encrypted_response_alg": "RSA-OAEP"},
        {"id_token_encrypted_response_alg": "dir"},
        {"id_token_encrypted_response_alg": "ECDH-ES", "id_token_encrypted_response_enc": "A192GCM"},
        {"id_token_encrypted_response_alg": "RSA-OAEP-256"},
        {"introspection_encrypted_response_enc": "A128GCM"},
        {
            "security_profile": "fapi2",
            "token_endpoint_auth_method": "private_key_jwt",
            "id_token_signed_response_alg": "RS256",
        },
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
async def test_what_the_server_does_not_do_is_not_registered(server: Server, changes: dict[str, Any]) -> None:
    keys = [KEYS["EC"].as_dict(private=False) | {"use": "enc"}, jwk.public_document(jwk.generate("ES256"))]
    honest: dict[str, Any] = {"jwks": {"keys": keys}, "id_token_encrypted_response_alg": "ECDH-ES"}
    assert (await register(server, **honest)).client.jwks is not None
    with pytest.raises(OAuthError) as refused:
        await register(server, **honest | changes)
    assert refused.value.code == "invalid_client_metadata"
    assert refused.value.field


async def test_a_client_whose_only_key_is_for_encryption_cannot_authenticate_by_key(server: Server) -> None:
    only = {"keys": [KEYS["RSA"].as_dict(private=False) | {"use": "enc"}]}
    assert await register(server, jwks=only, id_token_encrypted_response_alg="RSA-OAEP-256")
    with pytest.raises(OAuthError, match="verify a signature"):
        await register(server, jwks=only, token_endpoint_auth_method="private_key_jwt")


async def test_attributes_are_told_by_the_scope_that_the_operator_gave_them(server: Server) -> None:
    client = await register(server, scope="openid profile staff")
    code = await obtain_code(server, client, scope="openid profile staff")
    person = await people.find(server.runtime, "ada")
    told = {"department": "R&D", "given_name": "Ada", "secret_level": 3}
    await people.change(server.runtime, person, Changes(attributes=told), actor="test")
    tokens = (await redeem(server, client, code["code"])).json()
    info = (await userinfo(server, tokens["access_token"])).json()
    assert (info["department"], info["given_name"], info["preferred_username"]) == ("R&D", "Ada", "ada")
    assert "secret_level" not in info, "what no scope tells stays here"
    assert "department" not in claims_of(server, tokens["id_token"]), "OpenID Connect Core §5.4"


async def test_claims_asked_for_by_name_come_within_what_was_agreed_to(server: Server) -> None:
    client = await register(server, scope="openid profile email")
    wishes = json.dumps(
        {"id_token": {"name": None, "email": {"essential": True}}, "userinfo": {"email": None, "roles": None}}
    )
    code = (await obtain_code(server, client, scope="openid profile", claims=wishes))["code"]
    person = await people.find(server.runtime, "ada")
    await people.change(server.runtime, person, Changes(email="ada@example.com"), actor="test")
    tokens = (await redeem(server, client, code)).json()
    said = claims_of(server, tokens["id_token"])
    assert said["name"] == "ada"
    assert "email" not in said, "the person did not agree to that"
    info = (await userinfo(server, tokens["access_token"])).json()
    assert set(info) == {"sub", "name", "preferred_username"}


async def test_tk_12_a_signed_introspection_answer_tells_who_may_know(server: Server) -> None:
    key = KEYS["RSA"]
    issued_to = await server.client(name="holder", resources=["https://orders.example.com"])
    token = (await server.grant(issued_to)).json()["access_token"]
    resource = await server.client(
        name="orders", scope="introspect", resources=["https://orders.example.com"]
    )
    other = await server.client(name="other", scope="introspect", resources=["https://other.example.com"])
    sealed = await server.client(
        name="sealed",
        scope="introspect",
        resources=["https://orders.example.com"],
        jwks={"keys": [key.as_dict(private=False)]},
        introspection_encrypted_response_alg="RSA-OAEP-256",
    )

    async def ask(client: Registered, accept: str = SIGNED) -> httpx.Response:
        headers = {"authorization": basic(client), "accept": accept}
        return await server.http.post("/introspect", data={"token": token}, headers=headers)

    answer = await ask(resource)
    assert answer.headers["content-type"] == SIGNED
    assert answer.headers["cache-control"] == "no-store"
    said = claims_of(server, answer.text, "token-introspection+jwt")
    assert said["aud"] == resource.client.client_id
    assert said["token_introspection"]["client_id"] == issued_to.client.client_id
    assert not {"sub", "exp", "scope"} & said.keys(), "RFC 9701 §8.1: it is no token"
    outside = claims_of(server, (await ask(other)).text, "token-introspection+jwt")
    assert outside["token_introspection"] == {"active": False}, "TK-12"
    _, content = opened((await ask(sealed)).text, key, "RSA-OAEP-256", "A128CBC-HS256")
    inside = claims_of(server, content.decode(), "token-introspection+jwt")
    assert inside["token_introspection"]["active"] is True
    for accept in ("application/json", "*/*", "application/token-introspection", "text/plain"):
        assert (await ask(resource, accept)).headers["content-type"] == "application/json"
    listed = await ask(resource, f"application/json;q=0.5, {SIGNED.upper()};q=0.9")
    assert listed.headers["content-type"] == SIGNED
    replayed = {"authorization": f"Bearer {answer.text}"}
    assert (await server.http.get("/api/v1/clients", headers=replayed)).status_code == 401


async def test_the_format_of_a_token_follows_the_api_that_it_is_for(store: Store, tmp_path: Path) -> None:
    apis = {"https://bank.example.com": "opaque", "https://wiki.example.com": "jwt"}
    options: dict[str, Any] = {"database": store.address, "key_file": str(tmp_path / "key")}
    async with open_server(tmp_path, token_formats=apis, **options) as server:
        resources = [*apis, "https://other.example.com"]
        for default in ("jwt", "opaque"):
            client = await server.client(access_token_format=default, resources=resources)
            found = {}
            for resource in resources:
                token = (await server.grant(client, resource=resource)).json()["access_token"]
                found[resource] = "jwt" if token.count(".") == 2 else "opaque"
                about = await server.post("/introspect", client, token=token)
                assert about.json()["aud"] == resource
            assert found == {**apis, "https://other.example.com": default}


async def test_an_exchanged_token_names_a_person_as_its_own_client_knows_them(server: Server) -> None:
    api, down = "https://api.example", "https://down.example"
    shop = await register(server, subject_type="pairwise", resources=[api])
    tokens = (await redeem(server, shop, (await obtain_code(server, shop))["code"])).json()
    known_to_shop = claims_of(server, tokens["id_token"])["sub"]
    person = await account(server)
    rules = ExchangeRules(serves=(api,), audiences=(down,), impersonate=True)
    given: dict[str, Any] = {"grant_types": ["token_exchange"], "scope": "orders:read", "resources": [down]}
    named = {}
    for subject_type in ("public", "pairwise"):
        service = await server.client(
            name=subject_type, subject_type=subject_type, token_exchange=rules, **given
        )
        form = {"grant_type": EXCHANGE, "subject_token_type": "urn:ietf:params:oauth:token-type:access_token"}
        answer = await server.post("/token", service, **form, subject_token=tokens["access_token"])
        assert answer.status_code == 200, answer.text
        about = (await server.post("/introspect", service, token=answer.json()["access_token"])).json()
        named[subject_type] = about["sub"]
    assert named["public"] == person
    assert len({known_to_shop, *named.values()}) == 3
    assert subjects.person_of(server.runtime, named["pairwise"]) == person


async def test_no_token_of_a_pairwise_client_carries_a_mark_that_joins_people(server: Server) -> None:
    def grant(client: Client, **more: Any) -> AccessGrant:
        return AccessGrant(client, "user_1", ("a",), ("https://api.example",), 60, **more)

    public = (await register(server)).client
    pairwise = [(await register(server, name=str(n), subject_type="pairwise")).client for n in range(2)]
    now = server.runtime.now()
    openly = (await minting.mint(server.runtime, grant(public), now)).token
    assert claims_of(server, openly, "at+jwt")["parents"], "how the end of the account is noticed offline"
    for client in pairwise:
        opaque = (await minting.mint(server.runtime, grant(client), now)).token
        assert opaque.count(".") == 0, "asked about instead"
    demanded = [
        (await minting.mint(server.runtime, grant(client, format="jwt"), now)).token for client in pairwise
    ]
    said = [claims_of(server, token, "at+jwt") for token in demanded]
    said[1] |= {"client_id": said[0]["client_id"]}
    shared = {name for name in said[0] if said[0][name] == said[1].get(name)}
    assert shared <= {"iss", "aud", "exp", "iat", "client_id", "scope", "sub"}, "nothing else is the same"
