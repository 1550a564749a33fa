"""The MCP conformance suite's tests of authorization servers, run by its own program as its manual says."""

import json
import re
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

import pytest
from tests.fixtures.servers import free_port
from tests.interop.conftest import Installation

# Whichever comes first installs what it needs.
pytestmark = [pytest.mark.node, pytest.mark.timeout(400)]


def suite(
    node_software: Path, installation: Installation, folder: Path, *options: str
) -> list[dict[str, Any]]:
    """Run the suite against the server, the person at the browser included; return every check that it made."""
    binaries = node_software / "node_modules" / ".bin"
    program = subprocess.Popen(
        [binaries / "node", binaries / "conformance", "authorization", "--url", installation.issuer,
         "--output-dir", folder, *options],
        env={"PATH": "/usr/bin:/bin", "NODE_EXTRA_CA_CERTS": str(installation.authority)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    patience = threading.Timer(120, program.kill)
    patience.start()
    try:
        assert program.stdout is not None
        said = be_the_person(program.stdout, installation)
        assert program.wait() == 0, said
    finally:
        patience.cancel()
        program.kill()
        program.wait()
    results = sorted(folder.rglob("checks.json"))
    return [check for result in results for check in json.loads(result.read_text("utf-8"))]


def be_the_person(output: IO[str], installation: Installation) -> str:
    """Open the address that the suite prints, sign in, agree, and go where the answer says."""
    said = []
    for line in output:
        said.append(line)
        if address := re.search(rf"{re.escape(installation.issuer)}/authorize\?\S+", line):
            browser = installation.browser()
            browser.http.get(browser.visit(address[0]))
    return "".join(said)


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
def test_the_suite_runs_clean(
    node_software: Path, installation: Installation, tmp_path: Path, version: str
) -> None:
    port = free_port()
    client = installation.client(
        name="MCP conformance",
        redirect_uris=[f"http://127.0.0.1:{port}/callback"],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",  # what the suite uses wherever a server has it
        application_type="native",
        scope="openid offline_access weather:read",
        resources=[installation.resource],
    )
    checks = suite(
        node_software, installation, tmp_path, "--client-id", client["client_id"], "--port", str(port),
        "--resource", installation.resource, "--spec-version", version,
    )  # fmt: skip
    ids = {check["id"] for check in checks}
    assert ids >= {
        "authorization-server-metadata",
        "authorization-server-metadata-cimd",
        "authorization-code-grant",
    }
    assert {check["status"] for check in checks} == {"SUCCESS"}, checks
