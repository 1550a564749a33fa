"""The command line as people and scripts use it: transcripts, exit codes, which option wins."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.servers import free_port, serve

from watchword.cli import launch
from watchword.settings import Settings


def document(folder: Path, *arguments: str, stdin: str = "", code: int = 0) -> Any:
    """Run a command with --json; return its one document."""
    done = run_cli(folder, *arguments, "--json", stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_token_from_creation_to_revocation(tmp_path: Path) -> None:
    made = document(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read")
    assert {"id", "token", "scope", "expires_at"} <= made.keys()
    assert document(tmp_path, "token", "verify", made["token"])["reason"] == "active"
    assert [token["id"] for token in document(tmp_path, "token", "list")["tokens"]] == [made["id"]]
    rotated = document(tmp_path, "token", "rotate", made["id"], "--overlap", "1h")
    assert rotated["token"] != made["token"]
    shown = document(tmp_path, "token", "show", made["id"])
    assert len(shown["secrets"]) == 2
    assert document(tmp_path, "token", "revoke", made["id"])["ended"] == [made["id"]]
    assert document(tmp_path, "token", "verify", rotated["token"], code=1)["reason"] == "revoked"
    names = [event["name"] for event in document(tmp_path, "audit")["events"]]
    assert {"token.created", "token.rotated", "token.revoked"} <= set(names)
    assert document(tmp_path, "audit", "--actor", "system")["events"]
    by_hand = document(tmp_path, "audit", "--actor", "command line")["events"]
    assert {event["actor"] for event in by_hand} == {"command line"}
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made["expires_at"]))
    told = run_cli(tmp_path, "audit", "--name", "token.created").stdout
    assert f"expires_at={day} " in " ".join(told.split()), "people read days, not seconds"
    assert document(tmp_path, "audit", "--verify")["sound"] is True


def test_a_token_that_is_bound_to_a_key_is_accepted_with_that_key_alone(tmp_path: Path) -> None:
    key, other = "A" * 43, "B" * 43
    made = document(
        tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read", "--bind", key
    )
    for proven, reason in ((["--bind", key], "active"), (["--bind", other], "unbound"), ([], "unbound")):
        said = document(
            tmp_path, "token", "verify", made["token"], *proven, code=0 if reason == "active" else 1
        )
        assert said["reason"] == reason, proven


def test_a_client_from_creation_to_deletion(tmp_path: Path) -> None:
    made = document(
        tmp_path, "client", "create", "billing", "--scope", "orders:read", "--grant", "client_credentials"
    )
    assert {
        "client_id",
        "client_secret",
        "redirect_uris",
        "grant_types",
        "token_endpoint_auth_method",
        "scope",
    } <= made.keys()
    client_id = made["client_id"]
    assert len(document(tmp_path, "client", "list", "--search", "BILL")["clients"]) == 1
    assert (
        document(tmp_path, "client", "update", client_id, "--scope", "orders:read orders:write")["version"]
        == 2
    )
    changed = document(
        tmp_path,
        "client",
        "update",
        client_id,
        "--pushed",
        "--request-algorithm",
        "ES256",
        "--lifetime",
        "5m",
    )
    assert changed["require_pushed_authorization_requests"] is True
    assert (changed["request_object_signing_alg"], changed["access_token_lifetime"]) == ("ES256", 300)
    back = document(tmp_path, "client", "update", client_id, "--no-pushed", "--lifetime", "")
    assert back["request_object_signing_alg"] == "ES256", "what was not named stays"
    assert not {"require_pushed_authorization_requests", "access_token_lifetime"} & back.keys()
    assert (
        document(tmp_path, "client", "update", client_id, "--details", "none", code=1)["error"]
        == "invalid_client_metadata"
    )
    rotated = document(tmp_path, "client", "rotate-secret", client_id, "--expires", "30d")
    assert rotated["client_secret"] != made["client_secret"]
    secrets = document(tmp_path, "client", "show", client_id)["secrets"]
    assert len(secrets) == 2
    document(tmp_path, "client", "remove-secret", client_id, rotated["client_secret_id"])
    left = document(tmp_path, "client", "show", client_id)["secrets"]
    assert {one["id"] for one in left} == {one["id"] for one in secrets} - {rotated["client_secret_id"]}
    assert document(tmp_path, "client", "delete", client_id) == {"deleted": client_id}
    assert document(tmp_path, "client", "show", client_id, code=1)["error"] == "not_found"


def test_a_user_is_made_with_a_password_from_standard_input(tmp_path: Path) -> None:
    made = document(
        tmp_path,
        "user",
        "create",
        "ada",
        "--admin",
        "--password-stdin",
        stdin="correct horse battery staple\n",
    )
    assert made["username"] == "ada"
    assert made["id"]
    assert made["password_changed_at"] == made["created_at"], "it has one"
    again = document(
        tmp_path, "user", "create", "ADA", "--password-stdin", stdin="correct horse battery\n", code=1
    )
    assert again["error"] == "conflict"


def test_keys_rotate(tmp_path: Path) -> None:
    document(tmp_path, "migrate")
    before = {key["kid"]: key["state"] for key in document(tmp_path, "key", "list")["keys"]}
    assert sorted(before.values()) == ["current", "current", "next", "next"]
    after = {key["kid"] for key in document(tmp_path, "key", "rotate", "--algorithm", "ES256")["keys"]}
    assert len(after - before.keys()) == 1
    assert before.keys() <= after, "KR-01: what was published stays published"
    refused = document(tmp_path, "key", "rotate", "--algorithm", "RS256", code=1)
    assert (refused["error"], refused["field"]) == ("invalid_request", "algorithm")


def test_that_a_revoked_key_has_no_successor_is_part_of_the_answer(tmp_path: Path) -> None:
    document(tmp_path, "migrate")
    next_keys = {
        key["algorithm"]: key["kid"]
        for key in document(tmp_path, "key", "list")["keys"]
        if key["state"] == "next"
    }
    assert "warnings" not in document(tmp_path, "key", "revoke", next_keys["EdDSA"])
    (tmp_path / "watchword.toml").write_text('signing_algorithms = ["EdDSA"]')
    (warning,) = document(tmp_path, "key", "revoke", next_keys["ES256"])["warnings"]
    assert "signing_algorithms does not name ES256" in warning


TRUST = ["trust", "create", "x", "--issuer", "https://ci.example.com", "--scope", "a"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["token", "create", "x", "--owner", "me", "--scope", ""], 1, "scope"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--expires", "soon"], 2, "--expires"),
        (
            ["token", "create", "x", "--owner", "me", "--scope", "a", "--expires", "400d"],
            1,
            "api_token_max_lifetime",
        ),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--resource", "not a uri"], 1, "resource"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--bind", "short"], 1, "jkt"),
        (["token", "show", "token_nothing"], 1, "no such token"),
        (["token", "revoke"], 2, "--owner"),
        (["token", "rotate", "token_nothing"], 1, "no such token"),
        (["client", "create", "x", "--grant", "password"], 1, "grant types"),
        (["client", "create", "x", "--auth", "private_key_jwt"], 1, "jwks"),
        (["client", "create", "x", "--redirect-uri", "http://evil.example/cb"], 1, "redirect"),
        (["client", "create", "x", "--jwks", "latin-1.json"], 2, "readable JSON file"),
        ([*TRUST, "--jwks", "latin-1.json"], 2, "readable JSON file"),
        ([*TRUST, "--jwks", "twice.json"], 2, "a duplicate member"),
        (["client", "create", "x", "--exchange-rules", "deep.json"], 2, "too deep"),
        (["user", "update", "ada", "--attributes", '{"a": 1, "a": 2}'], 2, "a duplicate member"),
        (["user", "update", "ada", "--attributes", 2000 * "["], 2, "too deep"),
        (["user", "update", "ada", "--attributes", "[]"], 2, "takes a JSON object"),
        (["no-such-command"], 2, "No such command"),
        (["token", "create"], 2, "Missing"),
    ],
    ids=lambda value: " ".join(value)[:80] if isinstance(value, list) else None,
)
def test_what_is_refused_says_what_to_change(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    if "token_nothing" in arguments:
        document(tmp_path, "migrate")
    (tmp_path / "twice.json").write_text('{"keys": [], "keys": []}')
    (tmp_path / "deep.json").write_text('{"serves": ' + 400 * "[" + 400 * "]" + "}")
    (tmp_path / "latin-1.json").write_bytes(b'{"keys": [{"kid": "\xe4"}]}')
    done = run_cli(tmp_path, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert words.lower() in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stderr


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "watchword.toml").write_text('database = "file.db"\n')
    run_cli(tmp_path, "migrate")
    assert (tmp_path / "file.db").exists()
    variables = {"WATCHWORD_DATABASE": "environment.db"}
    assert run_cli(tmp_path, "migrate", variables=variables).returncode == 0
    assert (tmp_path / "environment.db").exists()
    assert run_cli(tmp_path, "migrate", "--database", "option.db", variables=variables).returncode == 0
    assert (tmp_path / "option.db").exists()


def test_an_unknown_option_fails_with_the_likely_name(tmp_path: Path) -> None:
    (tmp_path / "watchword.toml").write_text("acess_token_lifetime = 5\n")
    done = run_cli(tmp_path, "migrate")
    assert done.returncode == 2
    assert "access_token_lifetime" in done.stderr


PAGE = '{# watchword-pages: 1 #}\n{% extends "watchword/sign_in.html" %}\n'
BROKEN = PAGE + "{% blok heading %}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--host", "0.0.0.0"], "--tls-cert"),
        (["serve", "--host", "0.0.0.0", "--behind-tls-proxy"], "https"),
        (["serve", "--issuer", "http://auth.example.com"], "https"),
        (["serve", "--issuer", "https://auth.example.com/"], "slash"),
        (["serve", "--tls-cert", "only.pem"], "tls_key"),
        (["dev", "--database", "postgresql://localhost/x"], "serve"),
        (["dev", "--config", "production.toml"], "serve"),
        (["serve", "--config", "branded.toml", "--workers", "2"], "unknown tag"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_dangerous_or_vain_start_is_refused_with_the_way_out(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "production.toml").write_text('mode = "production"\n')
    (tmp_path / "branded.toml").write_text('template_directory = "."\n')
    (tmp_path / "sign_in.html").write_text(BROKEN)
    done = run_cli(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    told = document(tmp_path, *arguments, code=2)
    assert told["error"] == "wrong_usage"
    assert words in told["error_description"]


def test_dev_takes_no_database_that_is_served_in_public(tmp_path: Path) -> None:
    database = str(tmp_path / "watchword.db")
    for _ in range(2):  # the honest variant: a database of its own, again and again
        launch.prepare(
            Settings(issuer="http://localhost:8000", database=str(tmp_path / "dev.db"), mode="development")
        )
    launch.prepare(Settings(issuer="https://auth.example.com", database=database, behind_tls_proxy=True))
    told = document(tmp_path, "dev", "--port", str(free_port()), "--database", database, code=2)
    assert told["error"] == "wrong_usage"
    assert "https://auth.example.com" in told["error_description"]
    assert document(tmp_path, "token", "list", "--database", database)["tokens"] == [], "no token was made"
    made = document(
        tmp_path, "token", "create", "job", "--owner", "x", "--scope", "a", "--database", database
    )
    assert made["resource"] == "https://auth.example.com", "it is where it was"


TWICE = ["serve", "--port", "1", "--port", "2", "--issuer", "http://a.example"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["token", "create", "x"], "--owner"),
        (["serve", "--port", "x"], "--port"),
        (TWICE, "https"),
        (["key", "turn"], "turn"),
        (["token", "list", "--lots"], "--lots"),
    ],
)
def test_a_call_that_is_wrong_has_one_document_as_well(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    told = document(tmp_path, *arguments, code=2)
    assert told["error"] == "wrong_usage"
    assert words in told["error_description"], "a program reads no standard error"


@pytest.mark.parametrize("command", [["serve"], ["serve", "--workers", "2"], ["dev"]], ids=" ".join)
def test_the_server_says_in_one_document_where_it_is_once_it_is_there(
    tmp_path: Path, command: list[str]
) -> None:
    port = free_port()
    call = [sys.executable, "-m", "watchword", *command, "--port", str(port), "--json"]
    process = subprocess.Popen(call, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = "".join(iter(process.stdout.readline, "}\n")) + "}\n"
        answer = httpx.get(f"http://localhost:{port}/healthz", timeout=30)
        assert answer.status_code == 200, "nobody has to try again"
    finally:
        process.terminate()
        more, _ = process.communicate(timeout=30)
    told = json.loads(said + more)
    assert told["issuer"] == f"http://localhost:{port}"
    assert told["setup_link"].startswith(f"http://localhost:{port}/setup?link=")


def test_the_first_start_prints_a_link_for_the_owner_and_no_password(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        text = process.log.read_text()
    assert f"{process.issuer}/setup?link=wwu_" in text
    assert "password" not in text.lower()


def test_a_database_without_its_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    assert run_cli(tmp_path, "migrate").returncode == 0
    (tmp_path / "watchword.db").rename(tmp_path / "elsewhere.db")
    refused = run_cli(tmp_path, "migrate")
    assert refused.returncode == 2
    assert not (tmp_path / "watchword.db").exists()
    assert "restore" in refused.stderr


def test_a_token_in_a_file_is_found_and_never_printed_whole(tmp_path: Path) -> None:
    made = document(tmp_path, "token", "create", "x", "--owner", "me", "--scope", "a")
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "settings.py").write_text(f"TOKEN = '{made['token']}'\n")
    (folder / "other.py").write_text(f"TOKEN = '{made['token'][:-1]}?'\n")
    found = run_cli(tmp_path, "token", "scan", str(folder))
    assert found.returncode == 1
    assert "settings.py:1" in found.stdout
    assert "other.py" not in found.stdout
    assert made["token"] not in found.stdout


def test_the_demonstration_tells_its_story(tmp_path: Path) -> None:
    behind_a_proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy"), f"http://127.0.0.1:{free_port()}")
    done = run_cli(tmp_path, "demo", "--json", variables=behind_a_proxy | {"NO_PROXY": "", "no_proxy": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.rstrip().endswith("Everything went as the story says."), "and nothing comes after it"
    assert json.loads(done.stdout)["as_told"] is True


def test_dev_prints_a_token_that_works(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "watchword", "dev", "--port", str(port)],
        cwd=tmp_path,
        env=environment() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        token = next(line.strip() for line in process.stdout if line.strip().startswith("wwa_"))
        transport = httpx.HTTPTransport(retries=20)
        with httpx.Client(transport=transport) as client:
            shown = client.get(
                f"http://localhost:{port}/api/v1/tokens/self", headers={"authorization": f"Bearer {token}"}
            )
            refused = client.post(
                f"{shown.url}/narrow", headers=shown.request.headers, json={"scope": "orders:raed"}
            )
        assert (shown.status_code, refused.status_code) == (200, 403)
        listed = run_cli(tmp_path, "token", "list", "--json")
        assert [one["name"] for one in json.loads(listed.stdout)["tokens"]] == ["development"]
        assert "watchword-dev.db" in listed.stderr, "the other commands find the database of dev, and say so"
        assert not (tmp_path / "watchword.db").exists()
    finally:
        process.terminate()
        _, logged = process.communicate(timeout=30)
    assert "not allowed: orders:raed" in logged, (
        "what is refused is seen at once, with what the answer does not repeat"
    )


def test_a_backup_is_made_while_serving_and_restored_elsewhere(tmp_path: Path) -> None:
    made = document(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read")
    with serve(tmp_path):
        report = document(tmp_path, "backup", "all.gz")
    assert report["tables"]["api_tokens"] == 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    refused = run_cli(elsewhere, "restore", "../all.gz")
    assert refused.returncode == 2
    assert "master key" in refused.stderr
    (tmp_path / "watchword.db.key").rename(elsewhere / "watchword.db.key")
    document(elsewhere, "restore", "../all.gz")
    assert document(elsewhere, "token", "verify", made["token"])["reason"] == "active"
    assert document(elsewhere, "restore", "../all.gz", code=1)["error"] == "conflict"
    assert document(elsewhere, "audit", "--verify")["sound"] is True


def test_pending_migrations_are_told_without_making_anything(tmp_path: Path) -> None:
    assert run_cli(tmp_path, "migrate", "--status").returncode == 1
    assert not (tmp_path / "watchword.db").exists()
    run_cli(tmp_path, "migrate")
    assert document(tmp_path, "migrate", "--status")["pending"] == []
