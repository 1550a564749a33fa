"""The guard, the client, `watchword login`, the doctor and the sign-in with other providers, with an authorization server that nobody
here wrote: npm `oidc-provider`."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.accounts import another
from tests.fixtures.commands import run_cli
from tests.fixtures.lying_provider import trusting
from tests.fixtures.people import Person
from tests.fixtures.servers import free_port

from watchword.client import ClientCredentials, ClientSecret, HttpxAuth, PrivateKey, TokenSource
from watchword.guard import Guard, Policy, Principal, Trusted
from watchword.guard.asgi import GuardMiddleware, Receive, Scope, Send
from watchword.guard.policy import OPEN
from watchword.jose import jwk
from watchword.settings import Upstream
from watchword.testing.clock import Clock

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a secret of thirty-two characters"
JWT, OPAQUE = "https://jwt.example", "https://opaque.example"
CALLBACK = "http://localhost/upstream/hub/callback"
KEY = jwk.generate("ES256", "machine")
FORMATS = pytest.mark.parametrize("resource", [JWT, OPAQUE], ids=["JWT", "opaque"])
CLIENTS: list[dict[str, Any]] = [
    {"client_id": "machine", "client_secret": SECRET, "grant_types": ["client_credentials"]},
    {
        "client_id": "keyed",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": {"keys": [{**jwk.public_document(KEY), "alg": "ES256", "use": "sig"}]},
    },
    {"client_id": "api", "client_secret": SECRET, "grant_types": []},
    {
        "client_id": "command",
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
    },
    {"client_id": "us", "client_secret": SECRET, "redirect_uris": [CALLBACK], "grant_types": ["authorization_code"]},
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The other authorization server."""

    issuer: str

    def source(self, resource: str = JWT, *, dpop: bool = False) -> TokenSource:
        """Return our client, which gets tokens there."""
        wanted = ClientCredentials("orders:read", resource)
        return TokenSource(self.issuer, ClientSecret("machine", SECRET), wanted, api=resource, dpop=dpop)

    @property
    def described(self) -> Trusted:
        """Return what a guard has to know of it, where it is to take opaque tokens too."""
        return Trusted(issuer=self.issuer, client_id="api", client_secret=SECRET)


@pytest.fixture(scope="module")
def elsewhere(node_software: Path) -> Iterator[Elsewhere]:
    """The server, with a client for each part of ours."""
    port = free_port()
    absent: dict[str, Any] = {"redirect_uris": [], "response_types": []}
    clients = [one if "redirect_uris" in one else one | absent for one in CLIENTS]
    program = subprocess.Popen(
        [
            node_software / "node_modules" / ".bin" / "node",
            "provider.mjs",
            json.dumps({"port": port, "clients": clients}),
        ],
        cwd=node_software,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "listening\n"
        yield Elsewhere(f"http://127.0.0.1:{port}")
    finally:
        program.kill()
        program.communicate(timeout=60)


@asynccontextmanager
async def calling(
    source: TokenSource | None,
    trusted: Trusted | str,
    resource: str,
    policy: Policy = OPEN,
    **options: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """Call an API behind the guard with our client; its answer is what the guard knows of the caller."""

    async def api(scope: Scope, receive: Receive, send: Send) -> None:
        who: Principal = scope["principal"]
        told = {"sub": who.subject, "client": who.client_id, "scopes": sorted(who.scopes), "iss": who.issuer}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(told).encode()})

    guard = Guard(trusted, audience=resource, **options)
    transport = httpx.ASGITransport(GuardMiddleware(api, guard, policy))
    auth = HttpxAuth(source) if source is not None else None
    async with httpx.AsyncClient(transport=transport, base_url=resource, auth=auth) as http:
        yield http
    await guard.close()


@FORMATS
@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "DPoP"])
async def test_our_client_gets_a_token_there_and_our_guard_takes_it(
    elsewhere: Elsewhere, resource: str, dpop: bool
) -> None:
    reading = Policy(scopes=("orders:read",), bound=dpop)
    async with calling(elsewhere.source(resource, dpop=dpop), elsewhere.described, resource, reading) as http:
        answer = await http.get("/orders")
    assert answer.status_code == 200, answer.headers
    told = answer.json()
    assert (told["client"], told["scopes"], told["iss"]) == ("machine", ["orders:read"], elsewhere.issuer)


@FORMATS
async def test_what_is_not_for_this_api_or_not_enough_is_refused(elsewhere: Elsewhere, resource: str) -> None:
    other = OPAQUE if resource == JWT else JWT
    strange = {"authorization": f"Bearer {elsewhere.source(other).token()}"}
    stolen = {"authorization": f"Bearer {elsewhere.source(resource, dpop=True).token()}"}
    writing = Policy(scopes=("orders:write",))
    async with calling(elsewhere.source(resource), elsewhere.described, resource, writing) as http:
        answer = await http.get("/orders")
        assert (answer.status_code, "insufficient_scope" in answer.headers["www-authenticate"]) == (403, True)
    async with calling(None, elsewhere.described, resource) as http:
        assert (await http.get("/orders", headers=strange)).status_code == 401, "for another API"
        assert (await http.get("/orders", headers=stolen)).status_code == 401, (
            "without the key that it is bound to"
        )


async def test_an_opaque_token_that_was_revoked_there_is_refused_here(elsewhere: Elsewhere) -> None:
    token, clock = elsewhere.source(OPAQUE).token(), Clock()
    bearer = {"authorization": f"Bearer {token}"}
    async with calling(None, elsewhere.described, OPAQUE, clock=clock) as http:
        assert (await http.get("/orders", headers=bearer)).status_code == 200
        revoked = httpx.post(
            f"{elsewhere.issuer}/token/revocation", auth=("machine", SECRET), data={"token": token}
        )
        assert revoked.status_code == 200, revoked.text
        clock.advance(1)
        assert (await http.get("/orders", headers=bearer)).status_code == 401


async def test_our_client_proves_itself_there_by_its_key(elsewhere: Elsewhere) -> None:
    source = TokenSource(
        elsewhere.issuer, PrivateKey("keyed", KEY), ClientCredentials("orders:read", JWT), api=JWT
    )
    async with calling(source, elsewhere.issuer, JWT) as http:
        assert (await http.get("/orders")).json()["client"] == "keyed"


async def test_somebody_signs_in_there_on_the_command_line(elsewhere: Elsewhere, tmp_path: Path) -> None:
    variables = {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "BROWSER": f"{sys.executable} -m tests.fixtures.browser %s",
        "PYTHONPATH": str(ROOT),
    }
    done = run_cli(
        tmp_path, "login", elsewhere.issuer, "--client-id", "command", "--scope", "orders:read openid", "--resource",
        JWT, "--redirect-uri", "http://127.0.0.1/callback", "--file-store", "--json", variables=variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    printed = run_cli(tmp_path, "token", "print", variables=variables)
    bearer = {"authorization": f"Bearer {printed.stdout.strip()}"}
    async with calling(None, elsewhere.issuer, JWT) as http:
        answer = await http.get("/orders", headers=bearer)
    assert (answer.json()["sub"], answer.json()["client"]) == ("ada", "command")
    left = run_cli(tmp_path, "logout", "--json", variables=variables)
    assert left.returncode == 0, left.stdout + left.stderr


async def test_people_sign_in_here_with_their_account_there(elsewhere: Elsewhere, tmp_path: Path) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", client_secret=SECRET, issuer=elsewhere.issuer)
    async with trusting(tmp_path, hub) as server:
        person = Person(server, another(server))
        begun = await person.http.get("/upstream/hub")
        with httpx.Client() as browser:
            answer = browser.get(begun.headers["location"])
            while not answer.headers["location"].startswith(CALLBACK):
                answer = browser.get(httpx.URL(elsewhere.issuer).join(answer.headers["location"]))
        await person.open(answer.headers["location"])
        assert person.path == "/account", person.text
        assert "ada@example.org" in person.text


def test_the_doctor_finds_its_way_there(elsewhere: Elsewhere, tmp_path: Path) -> None:
    done = run_cli(tmp_path, "doctor", elsewhere.issuer, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["kind"], found["broken"]) == ("authorization server", False)
    warned = [one["code"] for one in found["findings"] if one["level"] != "ok"]
    assert warned == ["unknown-clients"], "it takes no client that nobody registered"
