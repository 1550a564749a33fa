"""LGX-1, AP-08, TK-10: canaries through every endpoint and command; then nothing of them in logs, errors, audit or database."""

import base64
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, free_port, serve

PASSWORD = "canary correct horse battery"


def secret_part(credential: str) -> str:
    """Return the part of a credential that must stay secret."""
    return credential.partition("_")[2][:30] or credential


def everything_written(process: Process) -> bytes:
    """Return every byte that the server left in its folder, but for the master key."""
    files = [path for path in process.folder.iterdir() if path.is_file() and not path.name.endswith(".key")]
    return b"\n".join(path.read_bytes() for path in files)


def test_canaries_are_nowhere_to_be_found(tmp_path: Path) -> None:
    import json

    made = json.loads(
        run_cli(
            tmp_path, "token", "create", "t", "--owner", "o", "--scope", "watchword:admin", "--json"
        ).stdout
    )
    client = json.loads(
        run_cli(
            tmp_path, "client", "create", "c", "--token-format", "opaque", "--scope", "introspect", "--json"
        ).stdout
    )
    run_cli(tmp_path, "user", "create", "ada", "--password-stdin", stdin=PASSWORD + "\n")
    token, secret = made["token"], client["client_secret"]
    canaries = [token, secret, PASSWORD]
    bodies = []
    with serve(tmp_path, "--workers", "1") as process:
        issuer = process.issuer
        auth = (client["client_id"], secret)
        granted = httpx.post(f"{issuer}/token", data={"grant_type": "client_credentials"}, auth=auth)
        assert granted.status_code == 200
        access_token = granted.json()["access_token"]
        canaries.append(access_token)
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{issuer}/api/v1/tokens/self", headers=headers).status_code == 200
        for path in (
            "/token",
            "/introspect",
            "/revoke",
            "/par",
            "/userinfo",
            "/api/v1/tokens",
            "/sign-in",
            "/setup",
        ):
            for form in (
                {"token": token, "client_secret": secret, "password": PASSWORD, "code": access_token},
                {},
            ):
                bodies.append(httpx.post(f"{issuer}{path}", data=form, headers=headers).text)
                bodies.append(
                    httpx.post(f"{issuer}{path}?token={token}", data=form, auth=(token, secret)).text
                )
        bodies.append(httpx.get(f"{issuer}/{token}").text)
        bodies.append(httpx.get(f"{issuer}/authorize?client_id={token}&state={secret}").text)
        basic = base64.b64encode(f"{token}:{secret}".encode()).decode()
        bodies.append(httpx.get(f"{issuer}/api/v1/tokens", headers={"authorization": f"Basic {basic}"}).text)
        bodies.append(run_cli(tmp_path, "audit", "--limit", "1000").stdout)
        bodies.append(run_cli(tmp_path, "token", "list", "--json").stdout)
        bodies.append(run_cli(tmp_path, "client", "list", "--json").stdout)
        written = everything_written(process)
        log = process.log.read_text()
    assert made["id"].encode() in written, "what was written is what was looked at"
    assert "request.refused" in log or log
    for canary in canaries:
        assert secret_part(canary).encode() not in written
        assert not [body for body in bodies if secret_part(canary) in body]


def test_lgx_2_a_hostile_name_is_one_line_in_the_log(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        hostile = 'a\r\n{"level": "forged"}\x1b[31m' + "x" * 5_000
        answer = httpx.post(
            f"{process.issuer}/token", data={"grant_type": "client_credentials", "client_id": hostile}
        )
        assert answer.status_code == 401
        log = process.log.read_text()
    assert "\x1b" not in log
    assert all(
        "forged" not in line or (line.startswith("{") and '"event"' in line) for line in log.splitlines()
    )
    assert max(len(line) for line in log.splitlines()) < 3_000


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of our own for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert_file, key_file


def test_ht_02_the_server_speaks_tls_itself(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    import contextlib
    import subprocess
    import sys
    import time

    from tests.fixtures.servers import environment

    cert, key = certificate
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "watchword",
        "serve",
        "--port",
        str(port),
        "--tls-cert",
        str(cert),
        "--tls-key",
        str(key),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    context = ssl.create_default_context(cafile=str(cert))
    try:
        deadline = time.monotonic() + 60
        answer = None
        while answer is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(
                    f"https://localhost:{port}/.well-known/oauth-authorization-server", verify=context
                )
        assert answer is not None
        assert answer.json()["issuer"] == f"https://localhost:{port}"
        assert "max-age=63072000" in answer.headers["strict-transport-security"]
        old = ssl.create_default_context(cafile=str(cert))
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"https://localhost:{port}/healthz", verify=old)
    finally:
        process.terminate()
        process.wait(30)
