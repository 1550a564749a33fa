"""Log lines: one event, one line, no credential, nothing that could be taken for another line."""

import json
import logging
import sys
from pathlib import Path

import pytest
from tests.fixtures.disks import no_file_may_grow_beyond

from watchword import telemetry
from watchword.flows.identifiers import new_id
from watchword.telemetry import Lines, Log, own_tally


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Log:
    return Log()


def test_an_event_is_one_json_line(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.info("request.refused", path="/token", count=3, absent=None)
    written = capsys.readouterr()
    event = json.loads(written.err)
    assert written.out == ""
    assert event.pop("timestamp").endswith("Z")
    expected = {"path": "/token", "count": 3, "absent": None, "event": "request.refused", "level": "info"}
    assert event == expected


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    ("value", "never"),
    [
        pytest.param("a\nlevel=error", "\nlevel", id="a line break"),
        pytest.param("a\x1b[31m", "\x1b", id="an escape sequence"),
        pytest.param("a\x7f\u202eb\u2028c", "\u2028", id="separators and directions"),
        pytest.param("wwo_E3R7oZevjWQ26qiDGgV4SucWQdZd4R43RpCx", "E3R7oZ", id="a token"),
        pytest.param("%20wwo_E3R7oZevjWQ26qiDGgV4SucWQdZd4R43RpCx", "E3R7oZ", id="a token after an escape"),
        pytest.param("A_wwo_E3R7oZevjWQ26qiDGgV4SucWQdZd4R43RpCx_", "E3R7oZ", id="a token in a name"),
        pytest.param("=3DeyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "OiJFUzI1", id="a JWT after an escape"),
        pytest.param("Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "OiJFUzI1", id="a JWT"),
        pytest.param("x" * 5000, "x" * 500, id="a text without end"),
    ],
)
def test_a_value_can_forge_nothing_and_give_nothing_away(
    log: Log, capsys: pytest.CaptureFixture[str], form: str, value: str, never: str
) -> None:
    log.configure(form, "info")
    log.info("seen", value="harmless")
    assert "harmless" in capsys.readouterr().err
    log.info("seen", value=value, other=[value])
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert never not in line
    assert line.isascii() or never == "x" * 500


def test_identifiers_can_be_looked_for(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    for identifier in ("client_" + "0f" * 16, new_id("client"), new_id("token")):
        for said in (identifier, f"client%20{identifier}", f"id=3D{identifier}"):
            log.info("seen", client=said)
            assert said in capsys.readouterr().err


def test_less_than_the_level_is_not_written(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "warning")
    log.info("quiet")
    log.warning("loud")
    log.error("louder")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud", "louder"]


def test_lines_that_a_full_disk_does_not_take_are_counted_and_tear_no_other(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> int:
        return sum(count for name, *_, count in own_tally().counts if name == "log_lines_lost")

    path, before = tmp_path / "log", lost()
    with path.open("a") as file:
        monkeypatch.setattr(sys, "stderr", file)
        log.info("before")
        with no_file_may_grow_beyond(path.stat().st_size + 40):  # room for a part of the next line
            for n in range(200):
                log.error("storage.unavailable", n=n)
        log.info("after")
    first, torn, told, last = path.read_text().splitlines()
    assert json.loads(first)["event"] == "before"
    assert torn.startswith('{"n": 0, ')
    assert json.loads(told).items() >= {"event": "log.lost", "lines": 200}.items()
    assert json.loads(last)["event"] == "after"
    assert lost() - before == 200


def test_without_a_standard_error_lines_are_lost_and_nothing_fails(
    log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stderr", None)  # as in a process that was started without one
        log.error("storage.unavailable")
    log.info("after")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if line]
    assert [(line["event"], line.get("lines")) for line in lines] == [("log.lost", 1), ("after", None)]


def test_what_runs_the_server_is_heard_in_lines_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    telemetry.log.configure("json", "info")
    said = logging.Logger("asyncio")
    said.addHandler(Lines())
    try:
        raise ValueError("wwo_E3R7oZevjWQ26qiDGgV4SucWQdZd4R43RpCx")
    except ValueError:
        said.exception("Exception in callback\nhandle: <Handle>")
    said.warning("A worker [%d] is late", 7)
    failed, late = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (failed["event"], failed["level"], failed["logger"]) == ("server.message", "error", "asyncio")
    assert (failed["detail"], failed["error"]) == ("Exception in callback", "ValueError")
    assert "test_what_runs_the_server" in failed["trace"]
    assert "E3R7oZ" not in json.dumps(failed)
    assert (late["level"], late["detail"]) == ("warning", "A worker [7] is late")
    assert "trace" not in late
