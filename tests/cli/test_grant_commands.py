"""Clients of the grants beside the code flow, from the command line."""

from pathlib import Path

import pytest
from tests.cli.test_commands import document
from tests.fixtures.commands import run_cli

URN = "urn:ietf:params:oauth:grant-type:"


@pytest.mark.parametrize("grant", ["device_code", "token_exchange", "jwt_bearer"])
def test_a_grant_is_named_shortly_or_in_full(tmp_path: Path, grant: str) -> None:
    full = URN + grant.replace("_exchange", "-exchange").replace("jwt_", "jwt-")
    for name in (grant, full):
        made = document(tmp_path, "client", "create", "x", "--grant", name, "--scope", "orders:read")
        assert made["grant_types"] == [full]


def test_rules_of_exchange_are_given_and_shown(tmp_path: Path) -> None:
    options = ("--exchange-from", "https://a.example", "--exchange-for", "https://b.example", "--impersonate")
    made = document(tmp_path, "client", "create", "x", "--grant", "token_exchange", *options)
    shown = document(tmp_path, "client", "show", made["client_id"])["token_exchange"]
    assert (shown["serves"], shown["audiences"]) == (["https://a.example"], ["https://b.example"])
    assert shown["impersonate"] is True
    more = ("--assert-to", "https://c.example/?t=1=agent")
    made = document(tmp_path, "client", "create", "x", "--grant", "token_exchange", *more)
    (target,) = document(tmp_path, "client", "show", made["client_id"])["token_exchange"]["assertions"]
    assert (target["issuer"], target["client_id"]) == ("https://c.example/?t=1", "agent")
    assert run_cli(tmp_path, "client", "create", "x", "--assert-to", "https://c.example").returncode == 2
    document(tmp_path, "client", "create", "x", "--grant", "client_credentials", *options, code=1)


def test_a_rule_of_trust_from_creation_to_deletion(tmp_path: Path) -> None:
    options = ("--issuer", "https://ci.example", "--scope", "deploy", "--subject", "ci:{repository}")
    options = (*options, "--algorithm", "RS256")
    made = document(tmp_path, "trust", "create", "deploy", *options, "--claim", "repository=acme/*")
    assert made["algorithms"] == ["RS256"]
    assert made["claims"] == {"repository": "acme/*"}
    assert document(tmp_path, "trust", "show", "deploy") == document(tmp_path, "trust", "show", made["id"])
    assert [rule["name"] for rule in document(tmp_path, "trust", "list")["rules"]] == ["deploy"]
    taken = document(tmp_path, "trust", "create", "deploy", *options, "--claim", "repository=x", code=1)
    assert taken["error"] == "conflict"
    assert document(tmp_path, "trust", "create", "all", *options, code=1)["error"] == "invalid_request"
    people = ("--people", "--email-domain", "acme.example", "--issuer", "https://a.example", "--scope", "a")
    refused = document(tmp_path, "trust", "create", "x", *people, "--algorithm", "HS256", code=1)
    assert refused["field"] == "algorithms"
    wrong = run_cli(tmp_path, "trust", "create", "x", *options, "--claim", "repository")
    assert wrong.returncode == 2
    assert document(tmp_path, "trust", "delete", "deploy")["deleted"] == made["id"]
    assert document(tmp_path, "trust", "show", "deploy", code=1)["error"] == "not_found"
    assert "deploy" in run_cli(tmp_path, "trust", "create", "deploy", *options, "--claim", "a=b").stdout


TWICE = {
    "a claim": (
        (
            "trust",
            "create",
            "x",
            "--issuer",
            "https://ci.example",
            "--scope",
            "deploy",
            "--subject",
            "ci:{ref}",
        ),
        "--claim",
        ("ref=refs/heads/main", "ref=**"),
    ),
    "metadata": (
        ("token", "create", "x", "--owner", "me", "--scope", "a"),
        "--metadata",
        ("team=a", "team="),
    ),
    "how an answer is signed": (("client", "create", "x"), "--sign", ("userinfo=ES256", "userinfo=EdDSA")),
}


@pytest.mark.parametrize(("command", "option", "values"), TWICE.values(), ids=TWICE.keys())
def test_what_is_said_twice_is_refused(
    tmp_path: Path, command: tuple[str, ...], option: str, values: tuple[str, str]
) -> None:
    document(tmp_path, *command, option, values[0])
    refused = document(tmp_path, *command, option, values[0], option, values[1], code=2)
    name = values[0].partition("=")[0]
    assert refused["error_description"] == f"{option} gives {name} twice"
