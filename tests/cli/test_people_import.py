"""`watchword user import`: all of an export or nothing, unless it is told to go on; what is wrong is named by its line."""

import json
from pathlib import Path

from tests.cli.test_commands import document
from tests.fixtures.commands import run_cli

HASH = "pbkdf2_sha1$1000$saltsaltsaltsaltsalt12$gZzRADUUPlqVx5em2koWcYMyUdA="
GOOD = [
    {"username": "mara", "email": "mara@example.com", "email_verified": True, "password_hash": HASH},
    {"username": "kim", "disabled": True},
]


def written(folder: Path, *people: object) -> str:
    (folder / "people.jsonl").write_text("".join(json.dumps(one) + "\n" for one in people))
    return "people.jsonl"


def test_an_export_is_imported_once_and_can_be_checked_before(tmp_path: Path) -> None:
    document(tmp_path, "migrate")
    file = written(tmp_path, *GOOD)
    nothing = {"created": 0, "existing": [], "refused": []}
    assert document(tmp_path, "user", "import", file, "--check") == nothing
    assert document(tmp_path, "user", "list")["users"] == []
    assert document(tmp_path, "user", "import", file) == nothing | {"created": 2}
    given = run_cli(tmp_path, "user", "import", "-", stdin=(tmp_path / file).read_text())
    assert (given.returncode, given.stdout) == (0, "created   0\nexisting  2 (line 1, 2)\n")
    assert document(tmp_path, "user", "show", "kim")["disabled_at"] is not None
    found = document(tmp_path, "doctor", "--data")
    assert [one for one in found["findings"] if one["level"] == "broken"] == []


def test_a_line_that_cannot_be_stops_all_unless_told_to_go_on(tmp_path: Path) -> None:
    file = written(tmp_path, *GOOD, {"username": "lee", "password_hash": "md5$of$them"})
    refused = run_cli(tmp_path, "user", "import", file)
    assert refused.returncode == 1
    assert "line 3: password_hash: Only hashes by Argon2" in refused.stderr
    assert "nothing was imported" in refused.stderr
    assert "md5$of$them" not in refused.stderr
    piped = run_cli(tmp_path, "user", "import", "-", stdin=(tmp_path / file).read_text())
    assert (piped.returncode, piped.stderr.splitlines()) == (1, refused.stderr.splitlines()[1:])
    assert document(tmp_path, "user", "list")["users"] == []
    file = written(
        tmp_path, GOOD[0], {"username": "rnara"}, GOOD[1], {"username": "lee", "password_hash": "md5$of$them"}
    )
    went_on = run_cli(tmp_path, "user", "import", file, "--keep-going", "--json")
    assert went_on.returncode == 1
    done = json.loads(went_on.stdout)
    assert done["created"] == 2
    assert [(one["line"], one["error"]) for one in done["refused"]] == [
        (2, "conflict"),
        (4, "invalid_request"),
    ]
    again = run_cli(tmp_path, "user", "import", written(tmp_path, *GOOD, {"username": "rnara"}))
    assert (again.returncode, again.stdout) == (1, "created   0\nexisting  2 (line 1, 2)\n")
    assert "line 3: username: Another account has a name that looks like this one" in again.stderr
    assert "nothing was imported" not in again.stderr
    assert run_cli(tmp_path, "user", "import", "missing.jsonl").returncode == 2
