"""Clients and trust rules in a file: `watchword apply` makes them so, `watchword export` writes them down."""

import fcntl
import json
import os
import stat
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_commands import document
from tests.fixtures.commands import environment, run_cli

FILE = """
[[clients]]
client_id = "billing"
name = "Billing"
scope = "orders:read"

[[clients]]
client_id = "web"
name = "Shop"
grant_types = ["authorization_code", "refresh_token"]
redirect_uris = ["https://shop.example.com/cb"]
token_endpoint_auth_method = "none"
scope = "openid orders:read"

[[trust]]
name = "deploy"
issuer = "https://ci.example.com"
scope = "deploy:run"
subject = "ci:{repository}"
claims = { repository = "acme/*" }
"""


def write(folder: Path, text: str, name: str = "auth.toml") -> str:
    (folder / name).write_text(text)
    return name


def changes(applied: Any) -> list[tuple[str, str, str]]:
    return [(change["action"], change["kind"], change["name"]) for change in applied["changes"]]


def test_a_file_is_applied_once_and_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    file = write(tmp_path, FILE)
    made = document(tmp_path, "apply", file)
    assert changes(made) == [
        ("create", "client", "billing"),
        ("create", "client", "web"),
        ("create", "trust", "deploy"),
    ]
    assert document(tmp_path, "client", "show", "web")["redirect_uris"] == ["https://shop.example.com/cb"]
    assert document(tmp_path, "trust", "show", "deploy")["claims"] == {"repository": "acme/*"}
    again = document(tmp_path, "apply", file)
    assert (again["changes"], again["unchanged"]) == ([], 3)
    assert document(tmp_path, "apply", file, "--check")["applied"] is False


def test_what_is_possible_and_probably_not_meant_is_told(tmp_path: Path) -> None:
    made_first = document(tmp_path, "apply", write(tmp_path, FILE))["changes"]
    assert not any(change.get("warnings") for change in made_first), "as it is meant"
    clients = 'clients = ["new", "biling", "https://a.example/client"]'
    named = (
        FILE.replace("claims = {", f"{clients}\nclaims = {{") + '[[clients]]\nclient_id = "new"\nname = "N"\n'
    )
    idle = named.replace('["authorization_code", "refresh_token"]', '["client_credentials"]')
    idle = idle.replace('"none"', '"client_secret_basic"')
    told = {change["name"]: change.get("warnings", []) for change in document(
        tmp_path, "apply", write(tmp_path, idle), "--check", code=3)["changes"]}  # fmt: skip
    assert "authorization_code" in told["web"][0]
    assert told["deploy"] == ["the rule names a client that is not there: biling"], "one is in the same file"
    said = run_cli(tmp_path, "apply", write(tmp_path, idle)).stdout
    assert told["web"][0] in said.replace("\n", " ")
    assert told["deploy"][0] in said
    options = ["--issuer", "https://b.example", "--scope", "b", "--subject", "b:{r}", "--claim", "r=b/*"]
    named = ["--client", "billing", "--client", "bling", "--audience", "https://auth.example.com"]
    made = run_cli(tmp_path, "trust", "create", "b", *options, *named, "--json")
    assert made.returncode == 0
    assert made.stderr.strip() == "the rule names a client that is not there: bling"
    assert json.loads(made.stdout)["warnings"] == [made.stderr.strip()], "a program sees it as well"


def test_a_check_tells_what_differs_and_changes_nothing(tmp_path: Path) -> None:
    document(tmp_path, "apply", write(tmp_path, FILE))
    file = write(tmp_path, FILE.replace("orders:read", "orders:write").replace("acme/*", "acme/shop"))
    told = document(tmp_path, "apply", file, "--check", code=3)
    assert [(change["name"], change["fields"]) for change in told["changes"]] == [
        ("billing", ["scope"]),
        ("web", ["scope"]),
        ("deploy", ["claims"]),
    ]
    assert told["changes"][0]["before"] == {"scope": "orders:read"}
    assert told["changes"][0]["after"] == {"scope": "orders:write"}
    assert document(tmp_path, "client", "show", "billing")["scope"] == "orders:read"
    assert run_cli(tmp_path, "apply", file, "--check").stdout.splitlines() == [
        "~ client billing",
        '    scope: "orders:read" -> "orders:write"',
        "~ client web",
        '    scope: "openid orders:read" -> "openid orders:write"',
        "~ trust deploy",
        '    claims: {"repository":"acme/*"} -> {"repository":"acme/shop"}',
        "3 to change, 0 as described",
    ]
    assert run_cli(tmp_path, "apply", file).stdout.splitlines()[-1] == "3 changed"
    assert run_cli(tmp_path, "apply", file).stdout.splitlines() == ["0 to change, 3 as described"]
    assert document(tmp_path, "client", "show", "billing")["scope"] == "orders:write"
    assert document(tmp_path, "trust", "show", "deploy")["claims"] == {"repository": "acme/shop"}


def test_what_was_changed_by_hand_is_put_back(tmp_path: Path) -> None:
    file = write(tmp_path, FILE)
    document(tmp_path, "apply", file)
    document(tmp_path, "client", "update", "web", "--scope", "openid admin", "--disable")
    document(tmp_path, "apply", file)
    shown = document(tmp_path, "client", "show", "web")
    assert (shown["scope"], shown.get("disabled_at")) == ("openid orders:read", None)


def test_a_client_is_switched_off_and_on_by_the_file(tmp_path: Path) -> None:
    off = write(tmp_path, FILE.replace('name = "Billing"', 'name = "Billing"\ndisabled = true'))
    document(tmp_path, "apply", off)
    assert document(tmp_path, "client", "show", "billing")["disabled_at"]
    on = document(tmp_path, "apply", write(tmp_path, FILE))
    assert [change["fields"] for change in on["changes"]] == [["disabled"]]
    assert document(tmp_path, "client", "show", "billing").get("disabled_at") is None


def test_a_secret_is_made_into_a_file_of_its_owner_alone_and_only_where_there_is_none(tmp_path: Path) -> None:
    file = write(tmp_path, FILE)
    without = document(tmp_path, "apply", file)
    assert [change["name"] for change in without["changes"] if change.get("lacks_secret")] == ["billing"]
    assert document(tmp_path, "client", "show", "billing")["secrets"] == []

    (made,) = document(tmp_path, "apply", file, "--secrets", "keep")["secrets"]
    kept = tmp_path / made
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text().startswith("wws_")
    assert len(document(tmp_path, "client", "show", "billing")["secrets"]) == 1
    assert document(tmp_path, "apply", file, "--secrets", "keep")["changes"] == []
    assert [entry.name for entry in (tmp_path / "keep").iterdir()] == ["billing.secret"]


def test_who_makes_secrets_while_another_does_waits_and_finds_them_made(tmp_path: Path) -> None:
    file, keep, locks = write(tmp_path, FILE), tmp_path / "keep", Path("/proc/locks")
    document(tmp_path, "apply", file)
    keep.mkdir()
    held = os.open(keep, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)  # as by another that is at it
    command = [sys.executable, "-m", "watchword", "apply", file, "--secrets", "keep", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE) as waiting:
        while waiting.poll() is None and f"-> FLOCK  ADVISORY  WRITE {waiting.pid} " not in locks.read_text():
            time.sleep(0.01)
        document(tmp_path, "client", "rotate-secret", "billing")
        os.close(held)
        told, _ = waiting.communicate(timeout=60)
    assert json.loads(told)["changes"] == []
    assert len(document(tmp_path, "client", "show", "billing")["secrets"]) == 1


def test_no_secret_is_printed(tmp_path: Path) -> None:
    done = run_cli(tmp_path, "apply", write(tmp_path, FILE), "--secrets", "keep")
    secret = (tmp_path / "keep" / "billing.secret").read_text().strip()
    assert done.returncode == 0
    assert secret not in done.stdout + done.stderr
    assert "keep/billing.secret" in done.stdout
    assert secret not in run_cli(tmp_path, "export").stdout


def test_a_name_leads_no_secret_out_of_its_folder(tmp_path: Path) -> None:
    hostile = FILE.replace('"billing"', '"../../billing"')
    (made,) = document(tmp_path, "apply", write(tmp_path, hostile), "--secrets", "keep")["secrets"]
    assert (tmp_path / made).parent == tmp_path / "keep"


def test_no_secret_works_that_could_not_be_kept_and_the_next_run_makes_one(tmp_path: Path) -> None:
    file = write(tmp_path, FILE)
    in_the_way = tmp_path / "keep" / "billing.secret"
    in_the_way.mkdir(parents=True)
    refused = document(tmp_path, "apply", file, "--secrets", "keep", code=1)
    assert "billing.secret cannot be written" in refused["error_description"]
    assert "0 of 3 changes were made" in refused["error_description"]
    assert document(tmp_path, "client", "show", "billing")["secrets"] == []
    assert list((tmp_path / "keep").iterdir()) == [in_the_way]
    in_the_way.rmdir()
    assert document(tmp_path, "apply", file, "--secrets", "keep")["secrets"] == ["keep/billing.secret"]
    assert len(document(tmp_path, "client", "show", "billing")["secrets"]) == 1


def test_a_secret_goes_through_no_link_and_no_file_that_others_read(tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "elsewhere").write_text("untouched")
    (tmp_path / "keep" / "billing.secret").symlink_to(tmp_path / "elsewhere")
    document(tmp_path, "apply", write(tmp_path, FILE), "--secrets", "keep")
    kept = tmp_path / "keep" / "billing.secret"
    assert (tmp_path / "elsewhere").read_text() == "untouched"
    assert not kept.is_symlink()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_nothing_is_made_where_no_secret_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    assert document(tmp_path, "apply", write(tmp_path, FILE), "--secrets", "taken", code=2)
    assert not (tmp_path / "watchword.db").exists()


def test_a_check_that_finds_a_difference_leaves_with_another_code_than_one_that_is_refused(
    tmp_path: Path,
) -> None:
    def code(text: str) -> int:
        return run_cli(tmp_path, "apply", write(tmp_path, text), "--check").returncode

    assert code(FILE) == 1, "there is no database"
    document(tmp_path, "apply", write(tmp_path, FILE))
    assert code(FILE) == 0
    assert code(FILE.replace("acme/*", "acme/shop")) == 3
    assert code(FILE.replace("https://shop.example.com/cb", "ftp:")) == 1, "refused"
    assert code("[[clients") == 2, "no file of this kind"
    (tmp_path / "watchword.db.key").write_text("ab" * 32)
    assert code(FILE.replace("acme/*", "acme/shop")) == 2, "another's database"


def test_pruning_deletes_what_a_section_does_not_name_and_no_other_section(tmp_path: Path) -> None:
    document(tmp_path, "apply", write(tmp_path, FILE))
    document(tmp_path, "client", "create", "by-hand", "--client-id", "by-hand", "--scope", "orders:read")
    only_trust = write(tmp_path, FILE[FILE.index("[[trust]]") :])
    assert document(tmp_path, "apply", only_trust, "--prune")["changes"] == []
    file = write(tmp_path, FILE.replace('"deploy"', '"release"'))
    assert changes(document(tmp_path, "apply", file, "--prune", "--check", code=3)) == [
        ("create", "trust", "release"),
        ("delete", "client", "by-hand"),
        ("delete", "trust", "deploy"),
    ]
    document(tmp_path, "apply", file, "--prune")
    assert document(tmp_path, "client", "show", "by-hand", code=1)["error"] == "not_found"
    assert [rule["name"] for rule in document(tmp_path, "trust", "list")["rules"]] == ["release"]


WRONG = [
    ("an unknown section", "[[users]]\nname = 'a'", "users"),
    ("a section that is no list", "clients = 5", "clients"),
    ("an unknown field", "[[clients]]\nclient_id = 'a'\nnme = 'b'", "nme"),
    ("a missing name", "[[clients]]\nclient_id = 'a'", "name"),
    ("a value of another type", "[[clients]]\nclient_id = 'a'\nname = 5", "name"),
    ("an identifier with a space", "[[clients]]\nclient_id = 'a b'\nname = 'b'", "client_id"),
    ("an identifier that no address can name", "[[clients]]\nclient_id = '..'\nname = 'b'", "client_id"),
    ("a client twice", "[[clients]]\nclient_id = 'a'\nname = 'b'\n" * 2, "clients"),
    ("a rule that trusts everybody", FILE.replace("acme/*", "**"), None),
    (
        "an address that may not be one",
        FILE.replace("https://shop", "http://shop"),
        "redirect_uris",
    ),
]


@pytest.mark.parametrize(("text", "field"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_file_with_a_mistake_changes_nothing(tmp_path: Path, text: str, field: str | None) -> None:
    sound = "[[clients]]\nclient_id = 'first'\nname = 'First'\n"
    file = write(tmp_path, sound + text if text.startswith("[[clients]]") else text)
    refused = document(tmp_path, "apply", file, code=1)
    assert refused.get("field") == field or field is None
    assert not (tmp_path / "watchword.db").exists() or document(tmp_path, "client", "list")["clients"] == []


def test_a_field_that_there_is_not_is_answered_with_the_one_that_is_meant(tmp_path: Path) -> None:
    file = write(tmp_path, FILE.replace("redirect_uris", "redirect_uri"))
    refused = document(tmp_path, "apply", file, code=1)
    assert (refused["field"], "did you mean redirect_uris?" in refused["error_description"]) == (
        "redirect_uri",
        True,
    )
    secret = write(tmp_path, FILE + "[[clients]]\nclient_id = 'a'\nname = 'A'\nclient_secret = 'hunter2'\n")
    told = document(tmp_path, "apply", secret, code=1)["error_description"]
    assert "the server generates secrets" in told
    assert "hunter2" not in told


KEY = '{ kty = "OKP", crv = "Ed25519", x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", MORE }'
UNREADABLE = [
    ("a list that does not end", "auth.toml", "clients = ["),
    ("a NUL character", "auth.toml", "\0"),
    ("a NUL character in a text", "auth.toml", '[[clients]]\nclient_id = "a"\nname = "a\\u0000"\n'),
    ("a name that is no key", "auth.toml", "é = "),
    ("a number without an end", "auth.toml", "clients = " + "9" * 5000),
    (
        "a number that no JSON has",
        "auth.toml",
        "clients = [{ jwks = { keys = [" + KEY.replace("MORE", "nbf = inf"),
    ),
    (
        "a number that cannot be stored",
        "auth.toml",
        "clients = [{ jwks = { keys = [" + KEY.replace("MORE", "nbf = 9" + "9" * 40) + "] } }]",
    ),
    ("lists in lists", "auth.toml", "clients = " + "[" * 5000),
    ("YAML", "auth.yaml", "clients:\n- client_id: a\n"),
    ("a list as JSON", "auth.json", "[]"),
    ("an empty text as JSON", "auth.json", ""),
    ("lists in lists as JSON", "auth.json", "[" * 100_000),
    ("a comma too many in JSON", "auth.json", '{"clients": [],}'),
    ("a section twice in JSON", "auth.json", '{"clients": [{"client_id": "a", "name": "A"}], "clients": []}'),
    ("a field twice in JSON", "auth.json", '{"clients": [{"client_id": "a", "name": "A", "name": "B"}]}'),
]


@pytest.mark.parametrize(
    ("name", "text"), [case[1:] for case in UNREADABLE], ids=[case[0] for case in UNREADABLE]
)
def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path, name: str, text: str) -> None:
    refused = document(tmp_path, "apply", write(tmp_path, text, name), code=2)
    assert refused["error"] == "wrong_usage"
    assert name in refused["error_description"]


def test_what_is_no_file_of_text_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "utf16.toml").write_text(FILE, encoding="utf-16")
    (tmp_path / "large.toml").write_bytes(b" " * (16 * 1024 * 1024 + 1))
    for name in ("missing.toml", "folder.toml", "utf16.toml", "large.toml"):
        assert name in document(tmp_path, "apply", name, code=2)["error_description"]


@pytest.mark.parametrize(
    "text", [FILE.replace("\n", "\r\n"), "\ufeff" + FILE], ids=["CRLF", "a byte order mark"]
)
def test_a_file_as_windows_writes_it_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "auth.toml").write_bytes(text.encode())
    assert len(document(tmp_path, "apply", "auth.toml")["changes"]) == 3


def test_a_description_comes_from_standard_input_in_either_language(tmp_path: Path) -> None:
    assert len(document(tmp_path, "apply", "-", stdin=FILE)["changes"]) == 3
    written = run_cli(tmp_path, "export", "--json").stdout
    assert document(tmp_path, "apply", "-", "--check", "--prune", stdin=written)["unchanged"] == 3
    assert run_cli(tmp_path, "export", "-").stdout == run_cli(tmp_path, "export").stdout
    told = document(tmp_path, "apply", "-", stdin="{]", code=2)["error_description"]
    assert "standard input is not valid JSON" in told


def test_an_export_of_nothing_says_so_and_prunes_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    document(tmp_path / "empty", "migrate")
    nothing = run_cli(tmp_path / "empty", "export").stdout
    assert tomllib.loads(nothing) == {"clients": [], "trust": []}
    document(tmp_path, "apply", write(tmp_path, FILE))
    assert len(document(tmp_path, "apply", "-", "--prune", stdin=nothing)["changes"]) == 3
    assert run_cli(tmp_path, "export").stdout == nothing


def test_an_export_makes_the_same_elsewhere(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    document(here, "apply", write(here, FILE))
    keys = {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}
    (here / "keys.json").write_text(json.dumps(keys))
    options = ("--auth", "private_key_jwt", "--jwks", "keys.json", "--profile", "fapi2")
    made = document(here, "client", "create", 'Robot "R2" \\ é', "--scope", "orders:read", *options)

    document(here, "export", "state.toml")
    document(here, "export", "state.json")
    assert tomllib.loads(run_cli(here, "export").stdout) == json.loads((here / "state.json").read_text())
    for file in ("state.toml", "state.json"):
        assert document(here, "apply", file, "--check", "--prune")["changes"] == []
    document(there, "apply", str(here / "state.toml"))
    before, after = (document(place, "client", "show", made["client_id"]) for place in (here, there))
    for answer in (before, after):
        answer.pop("created_at")
    assert before == after
    assert run_cli(there, "export").stdout == run_cli(here, "export").stdout
