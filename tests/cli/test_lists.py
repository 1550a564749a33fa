"""Lists on the command line go on where a page ends, and an account looks the same in each answer."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from tests.cli.test_commands import document
from tests.fixtures.accounts import make
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import open_server

from watchword.flows import sessions

TRUSTED = (
    "--issuer",
    "https://ci.example.com",
    "--scope",
    "a",
    "--subject",
    "ci:{repository}",
    "--claim",
    "repository=a",
)
MAKE = {
    "client": ("--grant", "client_credentials", "--scope", "a"),
    "user": (),
    "token": ("--owner", "reports", "--scope", "a"),
    "trust": TRUSTED,
}
MEMBERS = {"client": ("clients", "client_id"), "user": ("users", "id"), "token": ("tokens", "id"), "trust": ("rules", "id")}  # fmt: skip


@pytest.mark.parametrize("kind", MAKE)
def test_a_page_says_how_to_go_on_until_there_is_no_more(tmp_path: Path, kind: str) -> None:
    for name in ("one", "two", "three"):
        document(tmp_path, kind, "create", name, *MAKE[kind])
    member, identifier = MEMBERS[kind]
    found, following = [], ""
    for _ in range(2):
        page = document(
            tmp_path, kind, "list", "--limit", "2", *(("--after", following) if following else ())
        )
        found += [one[identifier] for one in page[member]]
        following = page["next"]
    assert following is None
    assert len(found) == len(set(found)) == 3
    assert f"--after {found[1]}" in run_cli(tmp_path, kind, "list", "--limit", "2").stdout
    assert document(tmp_path, kind, "list")["next"] is None


@pytest.mark.parametrize("kind", ["client", "user", "token"])
def test_a_search_says_that_there_is_more_than_it_shows(tmp_path: Path, kind: str) -> None:
    for name in ("one", "once"):
        document(tmp_path, kind, "create", name, *MAKE[kind])
    shown = run_cli(tmp_path, kind, "list", "--search", "on", "--limit", "1").stdout
    assert "once" in shown
    assert "more: give more of the name, or raise --limit" in shown
    assert document(tmp_path, kind, "list", "--search", "on", "--limit", "1")["next"] is None
    assert "more" not in run_cli(tmp_path, kind, "list", "--search", "on").stdout


def test_people_are_listed_by_their_group(tmp_path: Path) -> None:
    document(tmp_path, "user", "create", "two", "--groups", "north")
    made = sorted(
        document(tmp_path, "user", "create", name, "--groups", groups)["id"]
        for name, groups in (("one", "staff"), ("three", "north staff"))
    )
    page = document(tmp_path, "user", "list", "--group", "staff", "--limit", "1")
    assert [one["id"] for one in page["users"]] == [made[0]]
    rest = document(tmp_path, "user", "list", "--group", "staff", "--after", page["next"])
    assert ([one["id"] for one in rest["users"]], rest["next"]) == ([made[1]], None)


@pytest.mark.parametrize("kind", [*MAKE, "session"])
def test_a_list_goes_on_after_an_identifier_only(tmp_path: Path, kind: str) -> None:
    document(tmp_path, "client", "create", "one", *MAKE["client"])
    if kind in MAKE and kind != "client":
        document(tmp_path, kind, "create", "one", *MAKE[kind])
    first = document(tmp_path, kind, "list")
    after = "session_" + 26 * "0" if kind == "session" else first[MEMBERS[kind][0]][0][MEMBERS[kind][1]]
    assert document(tmp_path, kind, "list", "--after", after)["next"] is None
    for nonsense in ("nonsense", "one", after.partition("_")[0], "other_" + 26 * "0"):
        refused = run_cli(tmp_path, kind, "list", "--after", nonsense)
        assert refused.returncode in (1, 2)
        assert "--after takes the last identifier of the page before" in refused.stderr
        assert nonsense in refused.stderr


@pytest.mark.parametrize("kind", ["client", "user", "trust"])
def test_a_list_goes_on_after_what_was_deleted_since_the_page_before(tmp_path: Path, kind: str) -> None:
    member, identifier = MEMBERS[kind]
    for name in ("one", "two"):
        document(tmp_path, kind, "create", name, *MAKE[kind])
    page = document(tmp_path, kind, "list", "--limit", "1")
    assert run_cli(tmp_path, kind, "delete", page[member][0][identifier]).returncode == 0
    rest = document(tmp_path, kind, "list", "--after", page["next"])
    assert len(rest[member]) == 1


def test_an_account_has_the_same_members_everywhere_and_none_of_the_servers_own(tmp_path: Path) -> None:
    made = document(tmp_path, "user", "create", "ada")
    (listed,) = document(tmp_path, "user", "list")["users"]
    shown = document(tmp_path, "user", "show", "ada")
    assert made == listed
    assert shown == made | {"passkeys": 0, "totp": False, "recovery_codes": 0, "email_code": False}
    assert (made["is_admin"], made["email"], made["disabled_at"]) == (False, None, None)
    assert not {"proof_epoch", "valid_from", "password_hash"} & set(made)


async def test_a_session_is_listed_with_the_name_of_its_person(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        user = await make(server)
        await sessions.begin(server.runtime, user.id, acr="x", amr=("pwd",), user_agent="", address="")
        (listed,) = document(tmp_path, "session", "list")["sessions"]
    assert (listed["user_id"], listed["username"]) == (user.id, user.username)


def test_no_file_is_given_a_name_that_its_content_belies(tmp_path: Path) -> None:
    document(tmp_path, "user", "create", "ada")
    assert run_cli(tmp_path, "export", "state.json").returncode == 0
    refused = run_cli(tmp_path, "export", "state.yaml")
    assert refused.returncode == 2
    assert ".toml or .json" in refused.stderr
    assert not (tmp_path / "state.yaml").exists()


def test_a_number_that_is_no_moment_hides_nothing(tmp_path: Path) -> None:
    """Somebody has tampered with the trail, or it was damaged."""
    made = run_cli(tmp_path, "token", "create", "ci", "--owner", "builds", "--scope", "orders:read")
    assert made.returncode == 0, made.stderr
    wrong = {"key.created": '{"overlap_until": 1e15}', "token.created": '{"expires_at": 999999999999999}'}
    with contextlib.closing(sqlite3.connect(tmp_path / "watchword.db")) as file, file:
        file.executemany(
            "UPDATE events SET data = ? WHERE name = ?", [(data, name) for name, data in wrong.items()]
        )
    told = run_cli(tmp_path, "audit").stdout
    assert "expires_at=999999999999999" in " ".join(told.split())
    assert "key.created" in told


def test_that_a_client_is_disabled_is_seen_in_the_list(tmp_path: Path) -> None:
    made = run_cli(tmp_path, "client", "create", "billing", "--client-id", "billing")
    assert made.returncode == 0, made.stderr
    assert "disabled" not in run_cli(tmp_path, "client", "list").stdout
    assert run_cli(tmp_path, "client", "update", "billing", "--disable").returncode == 0
    assert "disabled" in run_cli(tmp_path, "client", "list").stdout


def test_events_are_listed_since_a_time(tmp_path: Path) -> None:
    document(tmp_path, "user", "create", "ada")
    with contextlib.closing(sqlite3.connect(tmp_path / "watchword.db")) as database, database:
        database.execute("UPDATE events SET at = at - 7200 WHERE name = 'user.created'")
    listed = {
        since: {event["name"] for event in document(tmp_path, "audit", "--since", since)["events"]}
        for since in ("3h", "1h")
    }
    assert listed["3h"] - listed["1h"] == {"user.created"}
    assert listed["1h"], "the keys were made now"
