"""What somebody new to the command line runs into: values that were not meant, names that look like markup, output for programs."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.postgres import Cluster, fresh_postgres
from tests.fixtures.servers import free_port

from watchword.cli import launch
from watchword.cli.application import application
from watchword.settings import SettingsError, load

MARKUP = "[/] [red]a[/red] [link=https://evil.example]b"


def commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    """Return every command that can be called, with its name."""
    children = getattr(command, "commands", {})
    if not children:
        return [(" ".join(path), command)]
    return [one for name, child in children.items() for one in commands(child, (*path, name))]


COMMANDS = dict(commands(typer.main.get_command(application())))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_means_and_every_answer_can_be_json(name: str) -> None:
    silent = [one.name for one in COMMANDS[name].params if not getattr(one, "help", None)]
    assert not silent
    assert name == "serve" or "--json" in {option for one in COMMANDS[name].params for option in one.opts}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["token", "list", "--database", "mysql://host/name"], 2, "SQLite file (or sqlite:///path), or postgresql://"),
        (["token", "list", "--database", "sqlite:///"], 2, "database is empty"),
        (["token", "list", "--database", ""], 2, "database is empty"),
        (["serve", "--issuer", ""], 2, "issuer is empty"),
        (["serve", "--host", ""], 2, "host is empty"),
        (["serve", "--port", "0"], 2, "port is not valid"),
        (["serve", "--port", "65536"], 2, "port is not valid"),
        (["serve", "--tls-cert", "none.pem", "--tls-key", "none.pem"], 2, "tls_cert: cannot read none.pem"),
        (["serve", "--tls-cert", "junk", "--tls-key", "junk"], 2, "PEM files"),
        (["serve", "--host", "192.0.2.1", "--behind-tls-proxy", "--issuer", "https://a.example"], 1, "cannot listen"),
        (["backup", ""], 2, "file name"),
        (["restore", ""], 2, "file name"),
        (["backup", "-"], 2, "cannot be a stream"),
        (["restore", "-"], 2, "cannot be a stream"),
        (["audit", "--verify", "--follow"], 2, "exclude each other"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--resource", ""], 1, "resource"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--metadata", "=x"], 2, "KEY=VALUE"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--bind", "A" * 43 + "="], 1, "base64url: 43 characters"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--metadata", "[/]"], 2, "not '[/]'"),
        (["token", "create", "x", "--owner", "me", "--scope", "a", "--expires", "0d"], 2, "--expires takes at least 1s"),
        (["client", "rotate-secret", "x", "--expires", "59s"], 2, "--expires takes at least 60s"),
        (["client", "create", "x", "--client-id", ""], 1, "client_id"),
        (["client", "create", "x", "--client-id", "é"], 1, "client_id"),
        (["client", "create", "x", "--client-id", "x" * 201], 1, "client_id"),
        (["client", "create", "x", "--public", "--auth", "client_secret_basic"], 2, "exclude each other"),
        (["client", "create", "x", "--public"], 2, "give --redirect-uri, or --grant"),
        (["client", "create", "x", "--auth", "none"], 2, "give --redirect-uri, or --grant"),
        (["client", "create", "x", "--certificate-subject", "example.com"], 2, "KIND=NAME"),
        (["client", "rotate-secret", "known", "--overlap", "91d"], 1, "overlap"),
        (["session", "list", "--user", MARKUP], 1, "no such account"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)  # fmt: skip
def test_what_was_not_meant_is_refused_with_the_remedy_and_makes_nothing(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "junk").write_text("junk")
    if "known" in arguments or "session" in arguments:
        run_cli(tmp_path, "client", "create", "x", "--client-id", "known")
    done = run_cli(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert words.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    assert code == 1 or [one.name for one in tmp_path.iterdir()] == ["junk"]


def test_what_is_made_for_an_address_that_nobody_has_named_says_so(tmp_path: Path) -> None:
    token, named = ["token", "create", "ci", "--owner", "builds", "--scope", "a"], "https://ci.example.com"
    rule = ["trust", "create", "ci", "--issuer", named, "--scope", "a", "--subject", "i:ci", "--claim", "a=b"]
    for command in (token, ["user", "invite", "a@b.example"], rule):
        told = run_cli(tmp_path, *command).stderr
        assert "no issuer is set: this is for http://localhost:8000" in told
        known = run_cli(tmp_path, *command, variables={"WATCHWORD_ISSUER": "https://auth.example.com"})
        assert "no issuer" not in known.stderr
    assert "no issuer" not in run_cli(tmp_path, *token, "--resource", named).stderr


def test_who_invites_without_a_mail_server_hears_that_nothing_was_mailed(tmp_path: Path) -> None:
    invite = ["user", "invite", "ada@example.com"]
    assert "hand the link over yourself" in run_cli(tmp_path, *invite).stderr
    mailed = run_cli(
        tmp_path,
        *invite,
        variables={
            "WATCHWORD_SMTP_URL": "smtp://mail.example.com",
            "WATCHWORD_MAIL_FROM": "no-reply@example.com",
        },
    )
    assert (mailed.returncode, "hand the link over" in mailed.stderr) == (0, False)


def test_serving_where_somebody_listens_already_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for command, change, code in (  # a supervisor of `serve` tries again
            ("serve", "--host and --port name another place", 1),
            ("dev", "--port names another", 2),
        ):
            done = run_cli(tmp_path, command, "--port", port)
            assert done.returncode == code
            assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr
            assert f"; {change}" in done.stderr, "only what the command takes"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("make", "show"),
    [
        (["token", "create", MARKUP, "--owner", MARKUP, "--scope", "a"], ["token", "list"]),
        (["client", "create", MARKUP], ["client", "list"]),
        (
            ["trust", "create", MARKUP, "--issuer", "https://i.example", "--scope", "a", "--subject", "i:ci", "--claim", "a=b"],
            ["trust", "list"],
        ),
    ],
    ids=["token", "client", "trust"],
)  # fmt: skip
def test_a_name_that_looks_like_markup_is_shown_as_it_is(
    tmp_path: Path, make: list[str], show: list[str]
) -> None:
    assert run_cli(tmp_path, *make).returncode == 0
    listed = run_cli(tmp_path, *show)
    assert listed.returncode == 0, listed.stderr
    assert MARKUP in listed.stdout


def test_a_scope_is_shown_letter_by_letter(tmp_path: Path) -> None:
    """Rich shows the name of an emoji between colons, such as `key`, as a picture."""
    scope = "orders:read orders:key:read"
    made = run_cli(tmp_path, "token", "create", "a", "--owner", "ops", "--scope", scope, "--json")
    shown = run_cli(tmp_path, "token", "show", json.loads(made.stdout)["id"])
    assert scope in shown.stdout
    asked = run_cli(tmp_path, "doctor", "http://127.0.0.1:1/mcp/:key:/", variables={"NO_PROXY": "*"})
    assert "http://127.0.0.1:1/mcp/:key:/" in asked.stdout


def test_a_list_for_another_program_has_one_row_a_line_with_whole_identifiers(tmp_path: Path) -> None:
    made = run_cli(tmp_path, "token", "create", "a b", "--owner", "o" * 100, "--scope", "s" * 100, "--json")
    token = json.loads(made.stdout)["id"]
    lines = run_cli(tmp_path, "token", "list").stdout.splitlines()
    assert len(lines) == 2
    assert lines[1].split()[0] == token


@pytest.mark.parametrize(
    "make",
    [
        ["token", "create", "a", "--owner", "o", "--scope", "s"],
        ["user", "invite", "ada@example.com"],
        ["client", "create", "a"],
        ["migrate"],
    ],
    ids=["a token", "an invitation", "a client", "migrate"],
)
def test_what_makes_something_makes_its_database(tmp_path: Path, make: list[str]) -> None:
    first = run_cli(tmp_path, *make)
    assert first.returncode == 0, first.stderr
    assert ("watchword.db did not exist and has been created" in first.stderr) is (make != ["migrate"])
    assert "did not exist" not in run_cli(tmp_path, *make).stderr
    listed = run_cli(tmp_path, "token", "list", "--json")
    assert (listed.returncode, listed.stderr) == (0, "")


def test_a_database_that_was_not_made_is_not_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "watchword.db.key").write_text("the key of a database that was lost")
    refused = run_cli(tmp_path, "client", "create", "a")
    assert (refused.returncode, "watchword.db.key exists but watchword.db does not" in refused.stderr) == (
        2,
        True,
    )
    assert "created" not in refused.stderr
    assert not (tmp_path / "watchword.db").exists()


def test_that_a_reset_link_waits_for_the_account_to_be_enabled_is_said(tmp_path: Path) -> None:
    assert "`watchword user reset-link ada`" in run_cli(tmp_path, "user", "create", "ada").stderr
    assert "enable" not in run_cli(tmp_path, "user", "reset-link", "ada").stderr
    assert run_cli(tmp_path, "user", "disable", "ada").returncode == 0
    made = run_cli(tmp_path, "user", "reset-link", "ada", "--json")
    assert (made.returncode, "watchword user enable ada" in made.stderr) == (0, True)
    assert "/reset-password?link=" in json.loads(made.stdout)["link"]
    assert json.loads(made.stdout)["disabled"] is True, "as the admin API says it"


READING = {
    "token list": [],
    "token show": ["token_1"],
    "token revoke": ["token_1"],
    "client list": [],
    "client show": ["x"],
    "user list": [],
    "user show": ["ada"],
    "user delete": ["ada"],
    "session list": [],
    "key list": [],
    "key rotate": [],
    "trust list": [],
    "audit": [],
}


@pytest.mark.parametrize("command", READING)
def test_what_reads_or_changes_makes_no_database_and_says_what_does(tmp_path: Path, command: str) -> None:
    done = run_cli(tmp_path, *command.split(), *READING[command], "--json", "--database", "my data.db")
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["error"] == "not_found"
    assert "create it with `watchword migrate --database 'my data.db'`" in answer["error_description"]
    assert list(tmp_path.iterdir()) == [], "nothing was made"


@pytest.mark.postgres
async def test_an_empty_postgresql_database_is_left_empty_by_what_reads(
    tmp_path: Path, postgres_cluster: Cluster
) -> None:
    async with fresh_postgres(postgres_cluster, has_tables=False) as empty:
        address = ["--database", empty.address]
        done = run_cli(tmp_path, "token", "list", *address)
        assert done.returncode == 1
        assert "create them with `watchword migrate`" in done.stderr
        assert run_cli(tmp_path, "migrate", *address).returncode == 0
        assert run_cli(tmp_path, "token", "list", *address).returncode == 0


def test_what_is_not_so_is_said(tmp_path: Path) -> None:
    made = run_cli(
        tmp_path, "user", "create", "ada", "--password-stdin", stdin="correct horse battery staple\n"
    )
    assert re.search(r"^admin +no$", made.stdout, re.MULTILINE), made.stdout
    assert "reset-link" not in made.stderr
    boss = run_cli(
        tmp_path,
        "user",
        "create",
        "root",
        "--admin",
        "--password-stdin",
        stdin="another battery, another staple\n",
    )
    assert re.search(r"^admin +yes$", boss.stdout, re.MULTILINE), boss.stdout


def test_what_is_easily_meant_otherwise_is_said(tmp_path: Path) -> None:
    def said(owner: str, scope: str = "orders:read orders:write") -> str:
        command = ["token", "create", "script", "--owner", owner, "--scope", scope]
        return run_cli(tmp_path, *command, variables={"WATCHWORD_ISSUER": "https://auth.example.com"}).stderr

    assert "the commas are part of a scope" in said("me", "orders:read,orders:write")
    assert "nobody here is called ada@example.com" in said("ada@example.com"), "her address is not verified"
    assert [said(owner) for owner in ("me", "application:ada@example.com")] == ["", ""]


@pytest.mark.parametrize("scanner", ["github", "gitleaks", "trufflehog"])
def test_scanner_rules_are_made_of_the_settings_and_come_in_a_document_as_well(
    tmp_path: Path, scanner: str
) -> None:
    (tmp_path / "watchword.toml").write_text('brand = "acme"\n')
    printed = run_cli(tmp_path, "token", "scan", "--rules", scanner)
    assert (printed.returncode, "acme" in printed.stdout) == (0, True)
    shown = json.loads(run_cli(tmp_path, "token", "scan", "--rules", scanner, "--json").stdout)
    assert shown == {"scanner": scanner, "rules": printed.stdout}


def test_an_empty_variable_is_no_value(tmp_path: Path) -> None:
    env = environment() | {"WATCHWORD_SMTP_URL": "", "WATCHWORD_MAIL_FROM": "", "WATCHWORD_SIGN_UP": "open"}
    command = [sys.executable, "-m", "watchword", "serve", "--port", str(free_port())]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "give smtp_url and mail_from" in done.stderr


def test_a_variable_may_end_with_the_line_that_it_was_read_from() -> None:
    env = {"WATCHWORD_ISSUER": "https://auth.example.com", "WATCHWORD_DATABASE": "postgresql://db/auth\n"}
    assert load(environ=env).database == "postgresql://db/auth"
    with pytest.raises(SettingsError, match="port"):
        load(environ=env | {"WATCHWORD_PORT": "80\n80"})


def shown_by_dev(folder: Path, *options: str, **variables: str) -> dict[str, str]:
    """Return the document that `watchword dev` prints when it starts."""
    command = [sys.executable, "-m", "watchword", "dev", *options, "--json"]
    env = environment() | variables
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            text = ""
            for line in iter(process.stdout.readline, ""):
                text += line
                if line == "}\n":
                    break
            shown: dict[str, str] = json.loads(text)
        finally:
            process.terminate()
    return shown


def test_dev_is_where_the_settings_say_and_hands_its_token_over_in_a_document(tmp_path: Path) -> None:
    ports = [str(free_port()) for _ in range(3)]
    (tmp_path / "watchword.toml").write_text(f'port = {ports[0]}\ndatabase = "file.db"\n')
    told = {"WATCHWORD_PORT": ports[1], "WATCHWORD_DATABASE": "variable.db"}
    for port, kept, options, variables in (
        (ports[0], "file.db", (), {}),
        (ports[1], "variable.db", (), told),
        (ports[2], "option.db", ("--port", ports[2], "--database", "option.db"), told),
    ):
        shown = shown_by_dev(tmp_path, *options, **variables)
        assert shown["issuer"] == f"http://localhost:{port}"
        assert shown["setup_link"].startswith(shown["issuer"])
        done = run_cli(tmp_path, "token", "verify", shown["token"], "--database", kept)
        assert (kept, done.returncode) == (kept, 0)
    assert not (tmp_path / "watchword-dev.db").exists()


def test_a_server_that_takes_the_database_of_another_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (f"http://localhost:{port}" for port in (8000, 8001))
    for issuer in (first, first, second):
        assert "was that of" not in capsys.readouterr().err
        launch.prepare(load({"database": str(tmp_path / "dev.db"), "issuer": issuer}, environ={}))
    assert f"was that of {first}; commands are for {second} now" in capsys.readouterr().err


def test_dev_is_for_this_machine_alone_and_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = str(taken.getsockname()[1])
        chosen = run_cli(tmp_path, "dev", "--port", port, variables={"WATCHWORD_HOST": "127.0.0.2"})
        assert chosen.returncode == 2
        assert f"cannot listen on 127.0.0.2, port {port}" in chosen.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        public = run_cli(tmp_path, "dev", "--port", port, variables={"WATCHWORD_HOST": "0.0.0.0"})
        assert f"cannot listen on 127.0.0.1, port {port}" in public.stderr
        assert "not on the host 0.0.0.0 that is set" in public.stderr
