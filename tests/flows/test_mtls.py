"""RFC 8705 over real TLS and behind a proxy: who a certificate proves to be, and what a token that is bound to it is worth."""

import asyncio
import base64
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from tests.fixtures.certificates import LOCALHOST, Pair, make, trusting
from tests.fixtures.code_flow import REDIRECT, VERIFIER, obtain_code, register
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Process, Server, open_server, serve

from watchword.flows.clients import client_certificates, client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered
from watchword.flows.databases import start
from watchword.flows.runtime import Runtime
from watchword.jose import jwk
from watchword.oauth.clients import Origin
from watchword.settings import Settings

NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("client.example"),
    x509.UniformResourceIdentifier("spiffe://acme/client"),
    x509.RFC822Name("client@acme.example"),
    LOCALHOST[1],
)
SUBJECTS = [
    ["subject_dn", "CN=client"],
    ["san_dns", "client.example"],
    ["san_uri", "spiffe://acme/client"],
    ["san_email", "client@acme.example"],
    ["san_ip", "127.0.0.1"],
]


@dataclass(slots=True)
class Secured:
    """A server that asks for certificates, with the authority that issued its own and those of its clients."""

    process: Process
    authority: Pair
    client: Pair
    folder: Path

    def get(self, path: str, shows: Pair | None = None, **headers: str) -> httpx.Response:
        """Ask for something, showing a certificate."""
        context = trusting(self.authority, shows)
        return httpx.get(self.process.issuer + path, headers=headers, verify=context)

    def post(self, path: str, shows: Pair | None = None, **form: str) -> httpx.Response:
        """Send a form, showing a certificate."""
        return httpx.post(self.process.issuer + path, data=form, verify=trusting(self.authority, shows))

    def register(self, origin: Origin = "registered", **given: Any) -> Registered:
        """Register a client while the server runs."""

        async def work(runtime: Runtime) -> Registered:
            wanted = ClientInput(**{"name": "a client", "scope": "orders:read introspect"} | given)
            return await client_registry.register(runtime, wanted, actor="test", origin=origin)

        return asyncio.run(self._with_runtime(work))

    async def _with_runtime(self, work: Callable[[Runtime], Awaitable[Registered]]) -> Registered:
        settings = Settings(
            database=str(self.folder / "watchword.db"), issuer=self.process.issuer, tls_cert="x", tls_key="x"
        )
        runtime = await start.open_runtime(settings)
        try:
            return await work(runtime)
        finally:
            await start.close_runtime(runtime)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """`watchword serve` with TLS that asks for certificates."""
    folder = tmp_path_factory.mktemp("mtls")
    authority = make(folder, "authority", is_authority=True)
    own = make(folder, "localhost", issuer=authority, names=LOCALHOST)
    anchors = folder / "anchors.pem"
    anchors.write_text(authority.pem)
    options = ["--tls-cert", str(own.path), "--tls-key", str(own.path), "--tls-client-ca", str(anchors)]
    context = trusting(authority)
    with serve(folder, *options, "--tls-client-self-signed", tls=context) as process:
        client = make(folder, "client", issuer=authority, names=NAMES)
        yield Secured(process, authority, client, folder)


def grant(secured: Secured, registered: Registered, shows: Pair | None, **form: str) -> httpx.Response:
    """Ask for a token of the client's own."""
    wanted = {"grant_type": "client_credentials", "client_id": registered.client.client_id} | form
    return secured.post("/token", shows, **wanted)


def with_certificate(pair: Pair) -> dict[str, Any]:
    """Return a set of keys with a certificate as a client registers it (RFC 8705 §2.2.2)."""
    document = jwk.public_document(jwk.parse_set({"keys": [public_jwk(pair)]})[0])
    return {"keys": [document | {"x5c": [base64.b64encode(pair.der).decode()]}]}


def public_jwk(pair: Pair) -> dict[str, str]:
    """Return a certificate's key as a JWK."""
    numbers = pair.key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": jwk.b64encode(numbers.x.to_bytes(32, "big")),
        "y": jwk.b64encode(numbers.y.to_bytes(32, "big")),
    }


def test_metadata_says_what_the_server_takes(secured: Secured) -> None:
    metadata = secured.get("/.well-known/oauth-authorization-server").json()
    methods = metadata["token_endpoint_auth_methods_supported"]
    assert {"tls_client_auth", "self_signed_tls_client_auth"} <= set(methods)
    assert metadata["tls_client_certificate_bound_access_tokens"] is True


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject[0])
def test_mt_01_a_certificate_of_the_authority_proves_its_subject_and_nothing_else_does(
    secured: Secured, subject: list[str]
) -> None:
    registered = secured.register(
        token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject=subject
    )
    assert grant(secured, registered, secured.client).status_code == 200
    other = make(secured.folder, "other", issuer=secured.authority, names=(x509.DNSName("other.example"),))
    for shows in (None, other):
        refused = grant(secured, registered, shows)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_mt_01_an_expired_certificate_and_one_of_a_strange_authority_do_not_get_through_the_handshake(
    secured: Secured,
) -> None:
    registered = secured.register(
        token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject=SUBJECTS[0]
    )
    assert grant(secured, registered, secured.client).status_code == 200
    stranger = make(secured.folder, "authority", is_authority=True)
    for shows in (
        make(secured.folder, "client", issuer=secured.authority, names=NAMES, days=0),
        make(secured.folder, "client", issuer=stranger, names=NAMES),
        make(secured.folder, "client", names=NAMES),
    ):
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            grant(secured, registered, shows)


def until_accepted(ask: Callable[[], httpx.Response], patience: float = 10.0) -> httpx.Response:
    """Ask until the handshake accepts what was registered a moment ago."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return ask()
        except (httpx.HTTPError, ssl.SSLError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_mt_02_a_self_signed_certificate_proves_the_client_that_registered_it(secured: Secured) -> None:
    mine, others = make(secured.folder, "mine"), make(secured.folder, "others")
    method = {"token_endpoint_auth_method": "self_signed_tls_client_auth"}
    registered = secured.register(**method, jwks=with_certificate(mine))
    another = secured.register(**method, jwks=with_certificate(others))
    assert until_accepted(lambda: grant(secured, registered, mine)).status_code == 200
    assert until_accepted(lambda: grant(secured, another, others)).status_code == 200
    for shows in (others, secured.client, None):
        refused = grant(secured, registered, shows)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_a_registered_certificate_does_not_become_an_authority(secured: Secured) -> None:
    honest = secured.register(
        token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject=SUBJECTS[0]
    )
    assert grant(secured, honest, secured.client).status_code == 200
    forger = make(secured.folder, "forger", is_authority=True)
    registered = secured.register(
        token_endpoint_auth_method="self_signed_tls_client_auth", jwks=with_certificate(forger)
    )
    assert until_accepted(lambda: grant(secured, registered, forger)).status_code == 200
    forged = make(secured.folder, "client", issuer=forger, names=NAMES)
    refused = grant(secured, honest, forged)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    look_alike = make(secured.folder, "client", names=NAMES)
    secured.register(
        token_endpoint_auth_method="self_signed_tls_client_auth", jwks=with_certificate(look_alike)
    )
    refused = until_accepted(lambda: grant(secured, honest, look_alike))
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


def test_mt_03_a_bound_token_is_worth_nothing_without_its_certificate(secured: Secured) -> None:
    registered = secured.register(
        token_endpoint_auth_method="tls_client_auth",
        tls_client_auth_subject=SUBJECTS[0],
        tls_client_certificate_bound_access_tokens=True,
        scope="watchword:tokens:read introspect",
    )
    token = grant(secured, registered, secured.client).json()["access_token"]
    thumbprint = jwk.certificate_thumbprint(secured.client.der)
    assert jwt_claims(token)["cnf"] == {"x5t#S256": thumbprint}
    asked = secured.post("/introspect", secured.client, token=token, client_id=registered.client.client_id)
    assert asked.json()["cnf"] == {"x5t#S256": thumbprint}
    authorization = f"Bearer {token}"
    honest = secured.get("/api/v1/tokens", secured.client, authorization=authorization)
    assert honest.status_code == 200, honest.text
    other = make(secured.folder, "client", issuer=secured.authority, names=NAMES)
    for shows in (None, other):
        refused = secured.get("/api/v1/tokens", shows, authorization=authorization)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
    # RFC 9449 §7.1: with the scheme DPoP there is a proof, and the token is bound to its key
    posing = secured.get("/api/v1/tokens", secured.client, authorization=f"DPoP {token}")
    assert (posing.status_code, posing.json()["error"]) == (401, "invalid_token")


def jwt_claims(token: str) -> dict[str, Any]:
    """Return a JWT's claims without checking it."""
    claims: dict[str, Any] = json.loads(jwk.b64decode(token.split(".")[1]))
    return claims


@pytest_asyncio.fixture
async def behind(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The real application behind a proxy that ends TLS and passes certificates on."""
    options: dict[str, Any] = {
        "database": store.address,
        "key_file": str(tmp_path / "key"),
        "trusted_proxies": ("127.0.0.1",),
        "client_certificate_header": "X-SSL-Client-Cert",
        "client_certificate_verified_header": "X-SSL-Client-Verify",
        "mtls_address": "https://mtls.example.com",
    }
    async with open_server(tmp_path, **options) as opened:
        yield opened


async def ask(server: Server, registered: Registered, headers: list[tuple[str, str]]) -> httpx.Response:
    """Ask for a token with the headers that a proxy wrote."""
    form = {"grant_type": "client_credentials", "client_id": registered.client.client_id}
    return await server.http.post("/token", data=form, headers=headers)


def passed_on(pair: Pair, verified: str = "SUCCESS") -> list[tuple[str, str]]:
    """Return the headers of a proxy such as nginx."""
    return [("x-ssl-client-cert", quote(pair.pem)), ("x-ssl-client-verify", verified)]


async def of_authority(server: Server) -> Registered:
    """Register a client that a trusted authority vouches for."""
    return await server.client(
        token_endpoint_auth_method="tls_client_auth", tls_client_auth_subject=SUBJECTS[0]
    )


async def test_a_trusted_proxy_passes_a_certificate_on(behind: Server, tmp_path: Path) -> None:
    metadata = (await behind.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["mtls_endpoint_aliases"]["token_endpoint"] == "https://mtls.example.com/token"
    pair, registered = make(tmp_path, "client"), await of_authority(behind)
    encodings = [
        quote(pair.pem),
        ":" + base64.b64encode(pair.der).decode() + ":",
        base64.b64encode(pair.der).decode(),
    ]
    for value in encodings:
        headers = [("x-ssl-client-cert", value), ("x-ssl-client-verify", "SUCCESS")]
        assert (await ask(behind, registered, headers)).status_code == 200


async def test_mt_01_a_certificate_that_the_proxy_did_not_verify_proves_no_subject(
    behind: Server, tmp_path: Path
) -> None:
    pair, registered = make(tmp_path, "client"), await of_authority(behind)
    assert (await ask(behind, registered, passed_on(pair))).status_code == 200
    expired = make(tmp_path, "client", days=0)
    for headers in (
        passed_on(pair, "FAILED:self-signed certificate"),
        passed_on(pair)[:1],
        passed_on(make(tmp_path, "other")),
        passed_on(expired),
        [],
    ):
        refused = await ask(behind, registered, headers)
        assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_mt_02_a_self_signed_certificate_needs_no_authority_behind_a_proxy(
    behind: Server, tmp_path: Path
) -> None:
    pair = make(tmp_path, "mine")
    registered = await behind.client(
        token_endpoint_auth_method="self_signed_tls_client_auth", jwks={"keys": [public_jwk(pair)]}
    )
    assert (await ask(behind, registered, passed_on(pair, "FAILED:18"))).status_code == 200
    assert (await ask(behind, registered, passed_on(make(tmp_path, "other")))).status_code == 401


async def test_mt_04_a_header_counts_only_from_the_trusted_proxy(
    store: Store, behind: Server, tmp_path: Path
) -> None:
    pair, registered = make(tmp_path, "client"), await of_authority(behind)
    assert (await ask(behind, registered, passed_on(pair))).status_code == 200
    stranger = httpx.ASGITransport(app=behind.app, client=("192.0.2.7", 50_000))
    async with httpx.AsyncClient(transport=stranger, base_url=behind.settings.issuer) as http:
        form = {"grant_type": "client_credentials", "client_id": registered.client.client_id}
        for headers in (passed_on(pair), [*passed_on(pair), ("x-forwarded-for", "127.0.0.1")]):
            refused = await http.post("/token", data=form, headers=headers)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")


async def test_mt_06_headers_that_were_smuggled_past_the_proxy_are_refused(
    behind: Server, tmp_path: Path
) -> None:
    pair, registered = make(tmp_path, "client"), await of_authority(behind)
    assert (await ask(behind, registered, passed_on(pair))).status_code == 200
    for headers in (
        [*passed_on(pair), passed_on(pair)[0]],
        [*passed_on(pair), ("x-ssl-client-verify", "SUCCESS")],
        [("x-ssl-client-cert", "not a certificate"), ("x-ssl-client-verify", "SUCCESS")],
        [("x-ssl-client-cert", "%ff%00"), ("x-ssl-client-verify", "SUCCESS")],
        [("x-ssl-client-cert", "A" * 100_000), ("x-ssl-client-verify", "SUCCESS")],
        [("x-ssl-client-cert", ":" * 1000), ("x-ssl-client-verify", "SUCCESS")],
    ):
        refused = await ask(behind, registered, headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    for headers in (
        [("x_ssl_client_cert", quote(pair.pem)), ("x_ssl_client_verify", "SUCCESS")],
        [("client-cert", quote(pair.pem)), ("x-ssl-client-verify", "SUCCESS")],
    ):
        assert (await ask(behind, registered, headers)).status_code == 401


async def test_mt_05_a_public_client_refreshes_only_with_its_certificate(
    behind: Server, tmp_path: Path
) -> None:
    mine, other = make(tmp_path, "mine"), make(tmp_path, "other")
    registered = await register(
        behind, token_endpoint_auth_method="none", tls_client_certificate_bound_access_tokens=True
    )
    client_id = registered.client.client_id
    form = {"grant_type": "authorization_code", "code_verifier": VERIFIER, "redirect_uri": REDIRECT}
    form |= {"client_id": client_id, "code": (await obtain_code(behind, registered))["code"]}
    bare = await behind.http.post("/token", data=form)
    assert (bare.status_code, bare.json()["error"]) == (400, "invalid_request")
    tokens = (await behind.http.post("/token", data=form, headers=passed_on(mine))).json()
    assert jwt_claims(tokens["access_token"])["cnf"] == {"x5t#S256": jwk.certificate_thumbprint(mine.der)}
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client_id}
    for headers in (passed_on(other), []):
        refused = await behind.http.post("/token", data=again, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await behind.http.post("/token", data=again, headers=passed_on(mine))).status_code == 200
    info = {"authorization": f"Bearer {tokens['access_token']}"}
    assert (await behind.http.get("/userinfo", headers=[*info.items(), *passed_on(mine)])).status_code == 200
    assert (await behind.http.get("/userinfo", headers=[*info.items(), *passed_on(other)])).status_code == 401


async def test_without_certificates_the_metadata_offers_no_method_that_needs_one(tmp_path: Path) -> None:
    async with open_server(tmp_path, mtls_address="https://mtls.example.com") as plain:
        metadata = (await plain.http.get("/.well-known/openid-configuration")).json()
    assert not [name for name in metadata["token_endpoint_auth_methods_supported"] if "tls" in name]
    assert metadata["tls_client_certificate_bound_access_tokens"] is False
    assert "mtls_endpoint_aliases" not in metadata


async def test_a_registered_certificate_is_looked_at_once(tmp_path: Path) -> None:
    """Whoever registers many makes no node verify all of them whenever anything changes."""
    async with open_server(tmp_path, tls_client_self_signed=True) as server:
        trusted: list[bytes] = []
        server.runtime.trust_certificate = trusted.append
        made = []
        for name in ("one", "another"):
            made.append(make(tmp_path, name))
            given = ClientInput(
                name=name,
                scope="orders:read",
                token_endpoint_auth_method="self_signed_tls_client_auth",
                jwks=with_certificate(made[-1]),
            )
            await client_registry.register(server.runtime, given, actor="test", origin="dynamic")
            await client_certificates.trust_registered(server.runtime)
        assert trusted == [one.der for one in made]
