"""`watchword token scan` calls nothing clean that it has not read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.commands import environment, run_cli

from watchword.cli.scanning import PIECE
from watchword.flows.scanner import example

TOKEN = example("ww")
UNREADABLE = Path("/proc/self/mem")  # for the superuser too


@pytest.mark.parametrize("before", [PIECE - 50, PIECE - 20, PIECE - 1, PIECE, 6_000_000])
def test_a_token_is_found_wherever_it_lies_in_a_file_of_any_size(tmp_path: Path, before: int) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_text("\n" + "-" * (before - 1) + TOKEN + "\n" + "-" * 100)
    found = run_cli(tmp_path, "token", "scan", "logs", "--json")
    assert found.returncode == 1
    assert [one["line"] for one in json.loads(found.stdout)["findings"]] == [2]


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {TOKEN}",
        f"GET /orders?authorization=Bearer%20{TOKEN}%0A HTTP/1.1",
        f"next=%2Forders%3Ftoken%3D{TOKEN}%26page%3D2",
        rf'{{"stdout": "made:\n{TOKEN}\nkeep it"}}',
        rf'{{"stdout": "\u0022{TOKEN}\u0022"}}',
        f"TOKEN_{TOKEN}_OLD",
    ],
    ids=["header", "escaped space", "escaped sign", "line in JSON", "quotes in JSON", "in a name"],
)
def test_a_token_is_found_whatever_stands_beside_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "app.log").write_text(f"{line}\n")
    found = run_cli(tmp_path, "token", "scan", ".", "--json")
    assert [one["token"] for one in json.loads(found.stdout)["findings"]] == [f"wwa_…{TOKEN[-4:]}"]
    other = "1" if TOKEN[-1] != "1" else "2"
    (tmp_path / "app.log").write_text(line.replace(TOKEN, TOKEN[:-1] + other))
    assert run_cli(tmp_path, "token", "scan", ".").returncode == 0, "its checksum is wrong"


def test_a_token_is_found_in_what_comes_through_a_pipe(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "watchword", "token", "scan", "/dev/stdin"],
        cwd=tmp_path,
        env=environment(),
        input=f"one\n{TOKEN}\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (1, "/dev/stdin:2: API token wwa_…" + TOKEN[-4:] + "\n")


@pytest.mark.skipif(not UNREADABLE.exists(), reason="only Linux has such a file")
def test_what_cannot_be_read_is_not_called_clean(tmp_path: Path) -> None:
    (tmp_path / "clean").write_text("nothing")
    assert run_cli(tmp_path, "token", "scan", "clean").returncode == 0
    refused = run_cli(tmp_path, "token", "scan", str(UNREADABLE))
    assert refused.returncode == 1
    assert f"{UNREADABLE} cannot be read: Input/output error" in refused.stderr
    told = json.loads(run_cli(tmp_path, "token", "scan", str(UNREADABLE), "--json").stdout)
    assert told == {
        "findings": [],
        "unread": [{"file": str(UNREADABLE), "reason": "Input/output error"}],
    }


def test_what_cannot_even_be_looked_at_is_told_beside_what_is_found(tmp_path: Path) -> None:
    """A file whose path is too long stands for one in a folder that may be listed and no more: the superuser is refused it as well."""
    inside = tmp_path / "deep"
    inside.mkdir()
    opened = os.open(inside, os.O_RDONLY)
    for _ in range(16):
        os.mkdir("d" * 250, dir_fd=opened)
        outer, opened = opened, os.open("d" * 250, os.O_RDONLY, dir_fd=opened)
        os.close(outer)
    os.close(os.open("f" * 100, os.O_CREAT, dir_fd=opened))
    os.close(opened)
    (tmp_path / "leak").write_text(TOKEN)
    found = run_cli(tmp_path, "token", "scan", ".", "--json")
    assert found.returncode == 1, found.stderr
    told = json.loads(found.stdout)
    assert [one["file"] for one in told["findings"]] == ["leak"]
    assert [(one["file"][-101:], one["reason"]) for one in told["unread"]] == [
        ("/" + "f" * 100, "File name too long")
    ]


def test_a_name_of_a_file_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "x\x1b[2K\n0 credential(s) found\r").write_text(TOKEN)
    found = run_cli(tmp_path, "token", "scan", ".")
    assert found.returncode == 1
    assert found.stdout == f"x\ufffd[2K\ufffd0 credential(s) found\ufffd:1: API token wwa_…{TOKEN[-4:]}\n"
    found = run_cli(tmp_path, "token", "scan", ".", "--json")
    assert json.loads(found.stdout)["findings"][0]["file"] == "x\x1b[2K\n0 credential(s) found\r"


def test_rules_are_not_printed_in_the_place_of_a_search(tmp_path: Path) -> None:
    (tmp_path / "leak").write_text(TOKEN)
    assert run_cli(tmp_path, "token", "scan", "leak").returncode == 1
    assert run_cli(tmp_path, "token", "scan", "--rules", "gitleaks").returncode == 0
    assert run_cli(tmp_path, "token", "scan", "leak", "--rules", "gitleaks").returncode == 2
