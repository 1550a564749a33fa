"""FAPI 2.0: what the profile `fapi2` demands of a client, each demand first met and then not."""

import asyncio
import json
import os
from typing import Any

import httpx
import msgspec
import pytest
from tests.fixtures.certificates import make
from tests.fixtures.code_flow import REDIRECT, VERIFIER, answer_of, decide, sign_in
from tests.fixtures.commands import run_cli
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import accounts
from watchword.jose import jwk, jwt
from watchword.oauth import pkce
from watchword.oauth.clients import SecurityProfile
from watchword.oauth.errors import OAuthError
from watchword.store.database import Transaction

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Bank:
    """A client of the profile with its keys: one that authenticates it, one that its tokens are bound to."""

    def __init__(self, server: Server, algorithm: str = "ES256") -> None:
        self.server = server
        self.key = jwk.generate(algorithm)
        self.bound = jwk.generate("ES256")
        self.registered: Registered

    async def register(self, **changes: Any) -> "Bank":
        """Register the client, some metadata changed."""
        given: dict[str, Any] = {
            "security_profile": "fapi2",
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [jwk.public_document(self.key)]},
            "redirect_uris": [REDIRECT],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "scope": "openid orders:read",
        }
        self.registered = await self.server.client(**given | changes)
        return self

    @property
    def client_id(self) -> str:
        """Return the identifier."""
        return self.registered.client.client_id

    def assertion(self, key: jwk.Key | None = None, **changes: Any) -> dict[str, str]:
        """Return what authenticates the client."""
        now = int(self.server.clock())
        claims = {"iss": self.client_id, "sub": self.client_id, "aud": self.server.settings.issuer}
        claims |= {"iat": now, "exp": now + 60, "jti": os.urandom(8).hex()} | changes
        return {
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": jwt.encode(key or self.key, claims, typ="JWT"),
        }

    def proof(self, path: str, key: jwk.Key | None = None) -> dict[str, str]:
        """Return the header that proves possession of the bound key."""
        claims = {
            "jti": os.urandom(8).hex(),
            "htm": "POST",
            "htu": self.server.settings.issuer + path,
            "iat": int(self.server.clock()),
        }
        return {"dpop": jwt.encode_with_key(key or self.bound, claims, "dpop+jwt")}

    async def push(self, **changes: str | None) -> httpx.Response:
        """Push an authorization request, some parameters changed or, when None, removed."""
        form: dict[str, str | None] = {
            "response_type": "code",
            "redirect_uri": REDIRECT,
            "scope": "openid",
            "code_challenge": pkce.challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        sent = {name: value for name, value in (form | changes).items() if value is not None}
        return await self.server.http.post("/par", data=sent | self.assertion())

    async def begin(self, request_uri: str) -> httpx.Response:
        """Send the browser with a pushed request."""
        return await self.server.http.get(
            "/authorize", params={"client_id": self.client_id, "request_uri": request_uri}
        )

    async def code(self) -> dict[str, str]:
        """Walk the flow as a new person; return the answer."""
        await accounts.create(self.server.runtime, username="ada", password=PASSWORD, actor="test")
        begun = await self.begin((await self.push()).json()["request_uri"])
        back = await sign_in(self.server, begun)
        return answer_of(await decide(self.server, await self.server.http.get(back.headers["location"])))

    async def granted(self) -> str:
        """Redeem a code of a new person; return the refresh token."""
        code = (await self.code())["code"]
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
        return str((await self.token(**form, redirect_uri=REDIRECT)).json()["refresh_token"])

    async def introspect(self, token: str) -> dict[str, Any]:
        """Ask what a token says."""
        answer = await self.server.http.post("/introspect", data={"token": token} | self.assertion())
        found: dict[str, Any] = answer.json()
        return found

    async def token(self, headers: dict[str, str] | None = None, **form: str) -> httpx.Response:
        """Ask for a token, by default for the client's own and with a proof."""
        wanted = {"grant_type": "client_credentials"} | self.assertion() | form
        proof = self.proof("/token") if headers is None else headers
        return await self.server.http.post("/token", data=wanted, headers=proof)


async def test_the_whole_flow_by_the_profile(server: Server) -> None:
    bank = await Bank(server).register()
    pushed = await bank.push()
    assert pushed.status_code == 201
    assert pushed.json()["expires_in"] <= 600
    answer = await bank.code()
    assert answer["iss"] == server.settings.issuer
    form = {"grant_type": "authorization_code", "code": answer["code"], "code_verifier": VERIFIER}
    tokens = (await bank.token(**form, redirect_uri=REDIRECT)).json()
    assert tokens["token_type"] == "DPoP"
    again = await bank.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert again.json()["token_type"] == "DPoP"


async def test_a_refresh_token_stays_and_works_with_the_clients_proof_alone(server: Server) -> None:
    bank = await Bank(server).register()
    kept = await bank.granted()
    refresh = {"grant_type": "refresh_token", "refresh_token": kept}
    for _ in range(3):
        server.clock.advance(3600)
        answer = (await bank.token(**refresh)).json()
        assert answer["refresh_token"] == kept
        seen = await bank.introspect(answer["access_token"])
        assert seen["active"] is True
    at_once = await asyncio.gather(*(bank.token(**refresh) for _ in range(8)))
    assert {one.json()["refresh_token"] for one in at_once} == {kept}
    thief = await Bank(server).register()
    assert (await thief.token(**refresh)).json()["error"] == "invalid_grant"
    assert (await bank.token(headers={}, **refresh)).json()["error"] == "invalid_dpop_proof"
    assert (await bank.token(**refresh)).status_code == 200, "nobody else's attempt ends it"
    server.clock.advance(server.settings.refresh_token_idle)
    assert (await bank.token(**refresh)).json()["error"] == "invalid_grant"


async def test_a_refresh_token_that_stays_ends_with_its_grant(server: Server) -> None:
    bank = await Bank(server).register()
    kept = await bank.granted()
    refresh = {"grant_type": "refresh_token", "refresh_token": kept}
    access = (await bank.token(**refresh)).json()["access_token"]
    revoked = await server.http.post("/revoke", data={"token": kept} | bank.assertion())
    assert revoked.status_code == 200
    assert (await bank.token(**refresh)).json()["error"] == "invalid_grant"
    assert await bank.introspect(access) == {"active": False}


async def test_a_family_goes_on_by_the_profile_that_its_client_has_now(server: Server) -> None:
    bank = await Bank(server).register()
    kept = await bank.granted()

    async def hold_to(profile: SecurityProfile) -> None:
        given = msgspec.structs.replace(
            client_metadata.to_input(bank.registered.client), security_profile=profile
        )
        await client_registry.change(
            server.runtime, bank.client_id, given, expected_version=None, actor="test"
        )

    async def next_of(token: str) -> str:
        return str(
            (await bank.token(grant_type="refresh_token", refresh_token=token)).json().get("refresh_token")
        )

    assert await next_of(kept) == kept
    await hold_to("default")
    rotated = await next_of(kept)
    assert rotated != kept
    await hold_to("fapi2")
    assert await next_of(kept) == rotated, "who lost the answer gets its successor, within the grace"
    assert await next_of(rotated) == rotated
    server.clock.advance(server.settings.refresh_token_grace)
    assert await next_of(kept) == "None", "what was given up before is reused"
    assert await next_of(rotated) == "None", "and has ended the family"


async def test_a_request_that_was_not_pushed_is_refused(server: Server) -> None:
    bank = await Bank(server).register()
    request_uri = (await bank.push()).json()["request_uri"]
    assert (await bank.begin(request_uri)).status_code == 303
    parameters = {
        "client_id": bank.client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": "openid",
        "code_challenge": pkce.challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    refused = answer_of(await server.http.get("/authorize", params=parameters))
    assert (refused["error"], refused["iss"]) == ("invalid_request", server.settings.issuer)
    again = await bank.begin(request_uri)
    assert (again.status_code, "location" in again.headers) == (400, False), "PA-02: it works once"


async def test_pa_51_a_pushed_request_ends_with_its_time(server: Server) -> None:
    bank = await Bank(server).register()
    pushed = (await bank.push()).json()
    assert (await bank.begin((await bank.push()).json()["request_uri"])).status_code == 303
    server.clock.advance(pushed["expires_in"])
    assert (await bank.begin(pushed["request_uri"])).status_code == 400


async def test_pa_51_of_a_pushed_request_no_more_is_kept_than_it_says(server: Server) -> None:
    bank = await Bank(server).register()
    padding = {f"padding{number}": "x" * 20_000 for number in range(10)}
    pushed = await bank.push(**padding)
    assert pushed.status_code == 201

    async def kept(tx: Transaction) -> list[str]:
        return [row["request"] for row in await tx.all("SELECT request FROM pushed_requests")]

    (request,) = await server.runtime.database.read(kept)
    assert "padding" not in request
    assert "client_assertion" not in request
    assert (await bank.begin(pushed.json()["request_uri"])).status_code == 303


@in_turn(
    "changes",
    [
        {"redirect_uri": None, "scope": "orders:read"},
        {"redirect_uri": "https://other.example/cb"},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"response_type": "code id_token"},
        {"request_uri": "urn:ietf:params:oauth:request_uri:x"},
    ],
    ids=str,
)
async def test_a_pushed_request_that_lacks_what_the_profile_asks_for_is_refused(
    server: Server, changes: dict[str, Any]
) -> None:
    bank = await Bank(server).register()
    assert (await bank.push()).status_code == 201
    refused = await bank.push(**changes)
    assert refused.status_code == 400
    assert refused.json()["error"] in ("invalid_request", "unsupported_response_type")


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "EdDSA"])
async def test_an_assertion_is_signed_by_an_algorithm_of_the_profile(server: Server, algorithm: str) -> None:
    bank = await Bank(server, algorithm).register()
    assert (await bank.token()).status_code == 200


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS512"])
async def test_other_algorithms_are_refused(server: Server, algorithm: str) -> None:
    other = await Bank(server, algorithm).register(security_profile="default")
    assert (await other.token()).status_code == 200, "which the default profile takes"
    bank = await Bank(server, algorithm).register()
    refused = await bank.token()
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


@in_turn(
    "audience",
    [
        "{issuer}/token",
        "{issuer}/par",
        "{issuer}/",
        "https://other.example",
        ["{issuer}"],
        ["{issuer}", "{issuer}/token"],
        None,
    ],
    ids=str,
)
async def test_cl_06_an_assertion_is_for_the_issuer_as_a_string(server: Server, audience: Any) -> None:
    bank = await Bank(server).register()
    assert (await bank.token()).status_code == 200
    issuer = server.settings.issuer
    meant = (
        [one.format(issuer=issuer) for one in audience]
        if isinstance(audience, list)
        else audience and audience.format(issuer=issuer)
    )
    refused = await bank.token(**bank.assertion(aud=meant))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_an_assertion_is_issued_a_minute_ahead_at_most(server: Server) -> None:
    bank, now = await Bank(server).register(), int(server.clock())
    assert (await bank.token(**bank.assertion(iat=now + 60))).status_code == 200
    refused = await bank.token(**bank.assertion(iat=now + 61))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_no_token_without_a_proof_by_an_algorithm_of_the_profile(server: Server) -> None:
    bank = await Bank(server).register()
    assert (await bank.token()).status_code == 200
    bare = await bank.token(headers={})
    assert (bare.status_code, bare.json()["error"]) == (400, "invalid_dpop_proof")
    weak = await bank.token(headers=bank.proof("/token", jwk.generate("RS256")))
    assert (weak.status_code, weak.json()["error"]) == (400, "invalid_dpop_proof")


async def test_az_50_a_code_lives_a_minute_at_most(server: Server) -> None:
    bank = await Bank(server).register()
    code = (await bank.code())["code"]
    server.clock.advance(60)
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    refused = await bank.token(**form, redirect_uri=REDIRECT)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


@in_turn(
    "changes",
    [
        {"token_endpoint_auth_method": "client_secret_basic", "jwks": None},
        {"token_endpoint_auth_method": "client_secret_post", "jwks": None},
        {"token_endpoint_auth_method": "none", "jwks": None, "grant_types": ["authorization_code"]},
        {"token_endpoint_auth_method": "zero_proof", "jwks": None},
        {"jwks": None},
        {"redirect_uris": ["http://127.0.0.1/cb"]},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
async def test_a_client_that_cannot_keep_to_the_profile_is_not_registered(
    server: Server, changes: dict[str, Any]
) -> None:
    await Bank(server).register()
    with pytest.raises(OAuthError) as refused:
        await Bank(server).register(**changes)
    assert refused.value.code in ("invalid_client_metadata", "invalid_redirect_uri")


async def test_what_the_profile_sets_cannot_be_switched_off(server: Server) -> None:
    bank = await Bank(server).register(
        require_pkce=False, require_pushed_authorization_requests=False, dpop_bound_access_tokens=False
    )
    client = bank.registered.client
    assert client.require_pkce
    assert client.require_pushed_authorization_requests
    assert client.dpop_bound_access_tokens


async def test_a_client_with_a_certificate_has_its_tokens_bound_to_it(tmp_path: Any) -> None:
    options: dict[str, Any] = {
        "trusted_proxies": ("127.0.0.1",),
        "client_certificate_header": "Client-Cert",
        "client_certificate_verified_header": "X-Verified",
    }
    async with open_server(tmp_path, **options) as behind:
        client = await behind.client(
            security_profile="fapi2",
            token_endpoint_auth_method="tls_client_auth",
            tls_client_auth_subject=["subject_dn", "CN=bank"],
        )
        headers = {"client-cert": jwk.b64encode(b""), "x-verified": "SUCCESS"}
        headers["client-cert"] = make(tmp_path, "bank").pem.replace("\n", "")
        form = {"grant_type": "client_credentials", "client_id": client.client.client_id}
        tokens = (await behind.http.post("/token", data=form, headers=headers)).json()
        headers |= {"authorization": f"Bearer {tokens['access_token']}"}
        asked = await behind.http.post("/introspect", data={"token": tokens["access_token"]}, headers=headers)
        assert "x5t#S256" in asked.json()["cnf"]


async def test_a_server_that_signs_with_rs256_alone_has_no_such_clients(tmp_path: Any) -> None:
    async with open_server(tmp_path, signing_algorithms=("RS256", "ES256")) as both:
        bank = await Bank(both).register()
        token = (await bank.token()).json()["access_token"]
        assert jwk.b64decode(token.split(".")[0]).startswith(b'{"alg":"ES256"')
    (tmp_path / "alone").mkdir()
    async with open_server(tmp_path / "alone", signing_algorithms=("RS256",)) as alone:
        with pytest.raises(OAuthError, match="invalid_client_metadata"):
            await Bank(alone).register()


def test_the_command_line_makes_such_a_client(tmp_path: Any) -> None:
    keys = tmp_path / "keys.json"
    keys.write_bytes(jwt_set(jwk.generate("ES256")))
    options = ["--redirect-uri", REDIRECT, "--auth", "private_key_jwt", "--jwks", str(keys)]
    made = run_cli(tmp_path, "client", "create", "bank", *options, "--profile", "fapi2", "--json")
    assert made.returncode == 0, made.stderr
    refused = run_cli(tmp_path, "client", "create", "bank", "--profile", "fapi2", "--json")
    assert refused.returncode == 1


def jwt_set(key: jwk.Key) -> bytes:
    """Return a set with one public key as a file holds it."""
    return json.dumps({"keys": [jwk.public_document(key)]}).encode()
