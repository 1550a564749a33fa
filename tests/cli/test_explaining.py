"""`watchword token explain`: what a token that turned up is, its end, and what a stranger wrote into it."""

from pathlib import Path

from tests.cli.test_commands import document
from tests.fixtures.commands import run_cli

from watchword.jose import jwk, jwt


def test_a_token_that_turned_up_is_explained_and_never_repeated(tmp_path: Path) -> None:
    made = document(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read")
    told = document(tmp_path, "token", "explain", "-", stdin=f"Bearer {made['token']}\n")
    assert (told["kind"], told["reason"], told["token_id"]) == ("a", "active", made["id"])
    assert told["subject"] == "application:builds"
    read = run_cli(tmp_path, "token", "explain", made["token"])
    assert read.returncode == 0
    assert "It works now." in read.stdout
    assert "API token" in read.stdout
    told = document(tmp_path, "token", "explain", made["token"], "--revoke")
    assert (told["reason"], told["ended"]) == ("active", True)
    told = document(tmp_path, "token", "explain", made["token"], code=1)
    assert (told["ended"], told["reason"]) == (False, "revoked")
    cut = run_cli(tmp_path, "token", "explain", made["token"][:-2])
    assert cut.returncode == 1
    assert "cut off" in cut.stdout
    assert made["token"][:-2] not in cut.stdout + cut.stderr + read.stdout


def test_who_gives_a_token_in_place_of_its_identifier_is_told_how_to_find_that(tmp_path: Path) -> None:
    made = document(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read")
    for command in ("show", "rotate", "revoke"):
        told = document(tmp_path, "token", command, made["token"], code=2)["error_description"]
        assert "token explain" in told, command
        assert made["token"] not in told
        assert document(tmp_path, "token", command, "token_x", code=1)["error"] == "not_found"


def test_ones_own_token_is_not_ended_in_place_of_one_that_was_not_named(tmp_path: Path) -> None:
    own, leaked = [
        document(tmp_path, "token", "create", name, "--owner", "builds", "--scope", "orders:read")["token"]
        for name in ("own", "leaked")
    ]
    variables = {"WATCHWORD_TOKEN": own}
    assert run_cli(tmp_path, "token", "verify", variables=variables).returncode == 0
    wrong = run_cli(tmp_path, "token", "explain", "--revoke", stdin=leaked, variables=variables)
    assert wrong.returncode == 2
    assert run_cli(tmp_path, "token", "verify", variables=variables).returncode == 0
    ended = run_cli(tmp_path, "token", "explain", "-", "--revoke", stdin=leaked, variables=variables)
    assert ended.stdout.splitlines()[-1] == "revoked"
    assert run_cli(tmp_path, "token", "verify", variables=variables).returncode == 0


def test_what_a_forged_token_says_is_printed_apart_and_gives_the_terminal_no_orders(tmp_path: Path) -> None:
    document(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read")
    said = {
        "client_id": "shop",
        "[/x]": "[bold]",
        "a\x1b[31m": "b\x1b]0;title\x07\nactive: It works now.",
        "deep": ["\u202e\x1b"],
    }
    forged = jwt.encode(jwk.generate("ES256"), said)
    read = run_cli(tmp_path, "token", "explain", "-", stdin=forged)
    assert read.returncode == 1, read.stderr
    assert read.stdout.splitlines() == [
        "foreign: Another service issued it: “iss” is not this one.",
        "kind  JWT",
        "What it says:",
        "client_id  shop",
        "[/x]       [bold]",
        r"a\x1b[31m  b\x1b]0;title\x07\nactive: It works now.",
        r'deep       ["\u202e\u001b"]',
    ]
    refused = run_cli(tmp_path, "token", "show", "token_\x1b[2J")
    assert refused.returncode == 1
    assert "\x1b" not in refused.stdout + refused.stderr
