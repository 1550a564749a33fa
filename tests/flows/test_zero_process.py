"""Proof sign-ins against `watchword serve` with two workers, over sockets: a thousand at once lose none, and one command signs in."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.servers import Process, together

from watchword.jose import jwk, jwt
from watchword.zero import agent, files, identity
from watchword.zero.records import Challenge, Secret, from_json, to_json

COUNT = 1000


def register(process: Process, owner: str) -> Secret:
    """Register an identity for a person, as the operator does, and return its secret."""
    secret, now = Secret(os.urandom(32), ()), int(time.time())
    path = str(process.folder / f"{owner}.id")
    files.write_record(path, identity.create(secret, now, now + 86_400, os.urandom(32)), "text")
    made = run_cli(
        process.folder, "user", "create", owner, "--password-stdin", stdin="correct horse battery staple"
    )
    assert made.returncode == 0, made.stderr
    done = run_cli(process.folder, "zero", "register", path, "--owner", owner)
    assert done.returncode == 0, done.stderr
    return secret


async def sign_in(address: tuple[str, int], body: bytes) -> bytes:
    """Send one sign-in on a connection of its own and return the status line."""
    reader, writer = await asyncio.open_connection(*address)
    head = (
        f"POST /zero/sign-in HTTP/1.1\r\nHost: localhost:{address[1]}\r\nContent-Type: application/json\r\n"
    )
    writer.write(head.encode() + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_thousand_sign_ins_at_once_lose_none(server_process: Process) -> None:
    secret = register(server_process, "ada")
    address = ("127.0.0.1", httpx.URL(server_process.issuer).port or 80)
    bodies = []
    with httpx.Client(base_url=server_process.issuer) as http:
        for _ in range(COUNT):
            given = http.post("/zero/challenge", json={"purpose": "sign-in"}).json()
            order = agent.Order(from_json(given, Challenge), None, (), None)
            proof = agent.fulfil(secret, order, int(time.time()), os.urandom(32))
            bodies.append(json.dumps(to_json(proof)).encode())
    answers = await together(*(sign_in(address, body) for body in bodies))
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
    sessions = {json.loads(answer.partition(b"\r\n\r\n")[2])["session"] for answer in answers}
    assert len(sessions) == COUNT
    again = await together(*(sign_in(address, body) for body in bodies[:50]))
    assert {answer.partition(b"\r\n")[0] for answer in again} == {b"HTTP/1.1 400 Bad Request"}, (
        "a challenge is answered once, whichever worker gets the second answer"
    )


def test_one_command_signs_in_renews_and_revokes(server_process: Process, tmp_path: Path) -> None:
    folder, issuer = server_process.folder, server_process.issuer

    def zero(*arguments: str) -> tuple[int, dict[str, object]]:
        done = run_cli(folder, "zero", *arguments, "--json")
        return done.returncode, json.loads(done.stdout)

    (folder / "word").write_text("open sesame\n")
    (folder / "word").chmod(0o600)
    word = ("--passphrase-file", "word")
    base = ("--secret", "me.zero", *word)
    assert zero("create", *base, "--out", "base.id")[0] == 0
    pair = ("--derive-for", "sign-in")
    assert zero("derive", *base, "--verifier", issuer, "--purpose", "sign-in", "--out", "me.id")[0] == 0
    made = run_cli(folder, "user", "create", "ada", "--password-stdin", stdin="correct horse battery staple")
    assert made.returncode == 0
    for name in ("a\nb", "\u202eb", " b", ""):
        code, told = zero("register", "me.id", "--owner", "ada", "--name", name)
        assert (code, told["error"], told["field"]) == (1, "invalid_request", "name")
    assert zero("register", "me.id", "--owner", "ada", "--name", "Laptop")[0] == 0

    code, session = zero("sign-in", issuer, *base, *pair)
    assert (code, session["amr"]) == (0, ["pop"])
    name, _, value = str(session["cookie"]).partition("=")
    assert httpx.get(f"{issuer}/account", cookies={name: value}).status_code == 200
    assert zero("sign-in", issuer, *base)[0] == 1, "the base identity is another, and is not registered"

    client = run_cli(
        folder,
        "client",
        "create",
        "app",
        "--public",
        "--grant",
        "zero_proof",
        "--scope",
        "orders:read",
        "--json",
    )
    client_id = json.loads(client.stdout)["client_id"]
    code, token = zero("sign-in", issuer, *base, *pair, "--client-id", client_id, "--scope", "orders:read")
    assert (code, token["token_type"]) == (0, "DPoP")
    key = jwk.parse(json.loads((folder / "dpop-key.json").read_text()), "ES256")
    claims = jwt.read_claims(jwk.b64decode(str(token["access_token"]).split(".")[1]))
    assert claims["cnf"] == {"jkt": key.thumbprint}
    assert (folder / "dpop-key.json").stat().st_mode & 0o777 == 0o600

    assert (
        zero(
            "derive",
            *base,
            "--verifier",
            issuer,
            "--purpose",
            "sign-in",
            "--new-secret",
            "pair.zero",
            "--out",
            "x",
        )[0]
        == 0
    )
    mine = ("--secret", "pair.zero", *word)
    assert zero("renew", "--identity", "me.id", *mine, "--expires", "500d", "--out", "renewed.id")[0] == 0
    code, renewed = zero("submit", issuer, "renewed.id")
    assert code == 0
    assert int(str(renewed["expires"])) > time.time() + 499 * 86_400
    assert zero("revoke", *mine, "--out", "revocation")[0] == 0
    assert zero("submit", issuer, "revocation")[1]["revoked"] is True
    assert zero("sign-in", issuer, *base, *pair) == (
        1,
        {"error": "invalid_grant", "error_description": "The proof is not valid here."},
    )
    assert zero("submit", issuer, "word")[0] == 1


def test_an_agent_signs_in_and_may_be_named_by_the_environment(server_process: Process) -> None:
    folder, program = server_process.folder, [sys.executable, "-m", "watchword"]
    variables = environment() | {"WATCHWORD_ZERO_PASSPHRASE": "open sesame"}
    create = [*program, "zero", "create", "--secret", "me.zero", "--out", "me.id"]
    subprocess.run(create, cwd=folder, env=variables, check=True, capture_output=True)
    assert (
        run_cli(
            folder, "user", "create", "ada", "--password-stdin", stdin="correct horse battery staple"
        ).returncode
        == 0
    )
    assert run_cli(folder, "zero", "register", "me.id", "--owner", "ada").returncode == 0
    holding = [*program, "zero", "agent", "--socket", "agent", "--secret", "me.zero"]
    agent_process = subprocess.Popen(holding, cwd=folder, env=variables, stdout=subprocess.PIPE)
    try:
        assert agent_process.stdout is not None
        assert agent_process.stdout.readline().startswith(b"socket")
        named = environment() | {"WATCHWORD_ZERO_AGENT": str(folder / "agent")}
        command = [*program, "zero", "sign-in", server_process.issuer, "--json"]
        done = subprocess.run(command, cwd=folder, env=named, capture_output=True, text=True, check=False)
        assert (done.returncode, json.loads(done.stdout)["amr"]) == (0, ["pop"]), done.stderr
        listed = subprocess.run(
            [*program, "user", "list"], cwd=folder, env=named, capture_output=True, check=False
        )
        assert listed.returncode == 0, "the variable is none of the server's options, and known as such"
    finally:
        agent_process.terminate()
        agent_process.communicate(timeout=10)
