"""One real server over TLS for all of these tests, and the software that talks to it."""

import fcntl
import hashlib
import json
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures import certificates
from tests.fixtures.authorities import BEFORE
from tests.fixtures.browser import PASSWORD, Browser
from tests.fixtures.certificates import Pair
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, free_port, serve
from tests.fixtures.system import absent

NODE = Path(__file__).parent / "node"
ADMIN = "watchword:admin watchword:clients:write watchword:clients:read watchword:users:write watchword:tokens:write"
PERSON = {"username": "ada", "email": "ada@example.com", "email_verified": True, "password": PASSWORD}
SETTINGS = """
issuer = "{issuer}"
port = {port}
tls_cert = "{certificate}"
tls_key = "{certificate}"
signing_algorithms = ["ES256", "EdDSA", "RS256"]
registration = "open"
registrations_per_hour = 100000
self_registered_scopes = ["openid", "profile", "email", "address", "phone", "offline_access", "weather:read"]
self_registered_resources = ["{issuer}", "{resource}"]
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """A server as its operator installed it: where it is, who vouches for its certificate, and the operator's way in."""

    process: Process
    authority: Path
    tls: ssl.SSLContext
    http: httpx.Client
    admin: httpx.Client
    resource: str

    @property
    def issuer(self) -> str:
        """Return the issuer identifier."""
        return self.process.issuer

    def client(self, **metadata: Any) -> dict[str, Any]:
        """Register a client as the operator would; return it with its secret."""
        metadata.setdefault("name", "a client")
        answer = self.admin.post("/clients", json=metadata)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def web_application(self, **metadata: Any) -> dict[str, Any]:
        """Register a confidential client that signs people in and may introspect."""
        return self.client(**{
            "redirect_uris": ["https://rp.example.com/cb"],
            "grant_types": ["authorization_code", "refresh_token"],
            "scope": "openid profile email offline_access introspect orders:read",
        } | metadata)  # fmt: skip

    def person(self, **given: Any) -> str:
        """Make another account with PASSWORD; return its user name."""
        name = f"p{uuid.uuid4().hex[:12]}"
        answer = self.admin.post("/users", json={"username": name, "password": PASSWORD} | given)
        assert answer.status_code == 201, answer.text
        return name

    def browser(self, username: str = "ada", decision: str = "approve") -> Browser:
        """Return a browser of its own that trusts the server's authority."""
        return Browser(self.issuer, username, decision, self.tls)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Path]:
    """A throw-away certificate authority, and the file with its certificate alone."""
    folder = tmp_path_factory.mktemp("authority")
    made = certificates.make(folder, "authority", is_authority=True)
    alone = folder / "authority.pem"
    alone.write_text(made.pem)
    return made, alone


@pytest.fixture(scope="session")
def installation(
    tmp_path_factory: pytest.TempPathFactory, authority: tuple[Pair, Path]
) -> Iterator[Installation]:
    """`watchword serve` over TLS with one person in it."""
    folder = tmp_path_factory.mktemp("installation")
    own = certificates.make(folder, "server", issuer=authority[0], names=certificates.LOCALHOST)
    trusts, port = certificates.trusting(authority[0]), free_port()
    issuer, resource = f"https://localhost:{port}", f"http://localhost:{free_port()}/mcp"
    settings = SETTINGS.format(issuer=issuer, port=port, certificate=own.path, resource=resource)
    (folder / "watchword.toml").write_text(settings)
    made = run_cli(folder, "token", "create", "operator", "--owner", "operator", "--scope", ADMIN, "--json")
    assert made.returncode == 0, made.stdout + made.stderr
    variables = {"WATCHWORD_FETCH_ALLOW_LOOPBACK": "1", "SSL_CERT_FILE": str(authority[1])}
    with serve(folder, port=port, tls=trusts, variables=variables) as process:
        bearer = {"authorization": f"Bearer {json.loads(made.stdout)['token']}"}
        with (
            httpx.Client(base_url=process.issuer, verify=trusts) as http,
            httpx.Client(base_url=f"{process.issuer}/api/v1", verify=trusts, headers=bearer) as admin,
        ):
            installed = Installation(process, authority[1], trusts, http, admin, resource)
            assert admin.post("/users", json=PERSON).status_code == 201
            yield installed


@pytest.fixture(scope="session")
def node_software(node: str) -> Path:
    """The Node.js programs of `tests/interop/node` with what their lock file pins; installed when that has changed."""
    stamp = NODE / "node_modules" / ".installed"
    with (NODE / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several processes that test, one installs
        digest = hashlib.sha256(lock.read()).hexdigest()
        if not stamp.exists() or stamp.read_text() != digest:
            command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(
                command, cwd=NODE, env=BEFORE, capture_output=True, text=True, check=False, timeout=300
            )
            if done.returncode != 0:
                absent("node", f"could not install tests/interop/node ({done.stderr[-300:].strip()})")
            stamp.write_text(digest)
    return NODE
