"""Apache with mod_auth_openidc as a process of its own: people's applications by OpenID Connect, APIs by introspection and by JWTs."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from tests.fixtures import certificates
from tests.fixtures.certificates import Pair
from tests.fixtures.servers import free_port
from tests.fixtures.system import absent
from tests.interop.conftest import Installation

MODULES = Path("/usr/lib/apache2/modules")
LOADED = (
    "mpm_event",
    "authn_core",
    "authz_core",
    "authz_user",
    "headers",
    "socache_shmcb",
    "ssl",
    "auth_openidc",
)
COMMON = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
ErrorLog {folder}/error.log
LogLevel info
DocumentRoot {folder}/pages
{user}
SSLRandomSeed startup builtin
SSLRandomSeed connect builtin
"""
HOST = """
Listen 127.0.0.1:{port}
<VirtualHost 127.0.0.1:{port}>
  ServerName localhost:{port}
  SSLEngine on
  SSLCertificateFile {folder}/apache.pem
  OIDCCABundlePath {folder}/authority.pem
  OIDCCryptoPassphrase "for this test alone"
  OIDCCacheEncrypt On
  {lines}
</VirtualHost>
"""
# What the guide to mod_auth_openidc says an application needs
APPLICATION = """
  OIDCProviderMetadataURL {issuer}/.well-known/openid-configuration
  OIDCClientID {id}
  OIDCClientSecret {secret}
  OIDCRedirectURI https://localhost:{port}/app/callback
  OIDCScope "openid email"
  OIDCPKCEMethod S256
  OIDCResponseMode {response_mode}
  OIDCRemoteUserClaim email
  <Location /app>
    AuthType openid-connect
    Require valid-user
    Header always set X-User "expr=%{{REMOTE_USER}}"
  </Location>
"""
API = """
  {how}
  OIDCOAuthRemoteUserClaim sub
  <Location />
    AuthType oauth20
    Require claim "scope~(^|.* )orders:read( .*|$)"
    Header always set X-User "expr=%{{REMOTE_USER}}"
  </Location>
"""
BY_INTROSPECTION = """OIDCOAuthIntrospectionEndpoint {issuer}/introspect
  OIDCOAuthIntrospectionEndpointAuth client_secret_basic
  OIDCOAuthClientID {id}
  OIDCOAuthClientSecret {secret}"""
BY_JWT = "OIDCOAuthVerifyJwksUri {issuer}/.well-known/jwks.json"


@dataclass(frozen=True, slots=True)
class Apache:
    """Where it listens: the application, the same with answers by form, the API by introspection, and the one by JWTs."""

    folder: Path
    application: str
    by_form: str
    introspecting: str
    verifying: str
    http: httpx.Client

    def log(self) -> str:
        """Return what it complained of."""
        return (self.folder / "error.log").read_text("utf-8")


def find() -> str:
    """Return the program, or skip."""
    program = shutil.which("apache2", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or not (MODULES / "mod_auth_openidc.so").exists():
        absent("apache")
    return str(program)


@contextmanager
def running(installation: Installation, authority: Pair) -> Iterator[Apache]:
    """Run it against an installation until the block ends."""
    program = find()
    with tempfile.TemporaryDirectory() as name:
        folder, ports = Path(name), [free_port() for _ in range(4)]
        prepare(folder, authority, installation, ports)
        process = subprocess.Popen([program, "-f", str(folder / "apache.conf"), "-DFOREGROUND"])
        addresses = [f"https://localhost:{port}" for port in ports]
        with httpx.Client(verify=installation.tls) as http:
            try:
                wait(process, folder, http, addresses[0])
                yield Apache(folder, *addresses, http)
            finally:
                process.terminate()
                process.wait(timeout=30)


def prepare(folder: Path, authority: Pair, installation: Installation, ports: list[int]) -> None:
    """Write its configuration, certificate and page where its own user may read them."""
    folder.chmod(0o755)
    own = certificates.make(folder, "apache", issuer=authority, names=certificates.LOCALHOST)
    own.path.rename(folder / "apache.pem")
    (folder / "authority.pem").write_text(authority.pem)
    (folder / "pages" / "app").mkdir(parents=True)
    for page in ("app/page.txt", "orders.txt"):
        (folder / "pages" / page).write_text("behind the guard")
    user = "User www-data\nGroup www-data" if os.getuid() == 0 else ""
    lines = [f"LoadModule {module}_module {MODULES}/mod_{module}.so" for module in LOADED]
    lines.append(COMMON.format(folder=folder, user=user))
    lines += [HOST.format(folder=folder, port=port, lines=text) for port, text in hosts(installation, ports)]
    (folder / "apache.conf").write_text("\n".join(lines))


def hosts(installation: Installation, ports: list[int]) -> Iterator[tuple[int, str]]:
    """Register what it needs at the server; return what its four hosts are configured to do."""
    for port, mode in zip(ports[:2], ("query", "form_post"), strict=True):
        client = installation.client(
            name="Apache",
            redirect_uris=[f"https://localhost:{port}/app/callback"],
            grant_types=["authorization_code"],
            scope="openid email",
            post_logout_redirect_uris=[f"https://localhost:{port}/orders.txt"],
            backchannel_logout_uri=f"https://localhost:{port}/app/callback?logout=backchannel",
        )
        credentials = {"id": client["client_id"], "secret": client["client_secret"]}
        yield (
            port,
            APPLICATION.format(issuer=installation.issuer, port=port, response_mode=mode, **credentials),
        )
    client = installation.client(name="Apache's API", scope="introspect")
    credentials = {"id": client["client_id"], "secret": client["client_secret"]}
    for port, how in zip(ports[2:], (BY_INTROSPECTION, BY_JWT), strict=True):
        yield port, API.format(how=how.format(issuer=installation.issuer, **credentials))


def wait(process: subprocess.Popen[bytes], folder: Path, http: httpx.Client, address: str) -> None:
    """Wait until it answers; fail with what it says."""
    for _ in range(400):
        if process.poll() is not None:
            log = folder / "error.log"
            pytest.fail(f"Apache ended: {log.read_text() if log.exists() else 'no log'}")
        try:
            http.get(address)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("Apache did not answer in time")
