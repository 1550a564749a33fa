"""`serve` started the short way understands exactly what the command line documents, and leaves the rest to it."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from watchword import settings
from watchword.cli import launch
from watchword.cli.application import application


def test_the_short_way_knows_every_option_of_the_command_and_no_other() -> None:
    command = typer.main.get_command(application()).commands["serve"]  # type: ignore[attr-defined]  # a group has commands
    documented = {name for parameter in command.params for name in parameter.opts if name.startswith("--")}
    assert documented - {"--help"} == launch.OPTIONS.keys()


@pytest.mark.parametrize(
    ("line", "options"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param(
            "--port 9000 --issuer http://a", {"port": 9000, "issuer": "http://a"}, id="values that follow"
        ),
        pytest.param(
            "--port=9000 --tls-cert=a=b", {"port": 9000, "tls_cert": "a=b"}, id="values after equals"
        ),
        pytest.param("--behind-tls-proxy --workers 2", {"behind_tls_proxy": True, "workers": 2}, id="a flag"),
        pytest.param("--json", {"json": True}, id="the form of the output"),
    ],
)
def test_plain_options_are_read(line: str, options: dict[str, object]) -> None:
    assert launch.read(line.split()) == options


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("--help", id="help"),
        pytest.param("-h", id="short help"),
        pytest.param("--prot 9000", id="an unknown option"),
        pytest.param("9000", id="an argument"),
        pytest.param("--port", id="no value"),
        pytest.param("--port=", id="an empty value"),
        pytest.param("--port nine", id="no number"),
        pytest.param("--port 9_000", id="a number of another spelling"),
        pytest.param("--port ٣", id="digits of another script"),
        pytest.param("--host --port 9000", id="an option where a value belongs"),
        pytest.param("--port 1 --port 2", id="an option twice"),
        pytest.param("--behind-tls-proxy=yes", id="a flag with a value"),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_whole_command_line(line: str) -> None:
    assert launch.read(["--port", "9000", "--host", "::1"]) is not None
    assert launch.read(line.split()) is None


def test_a_server_does_not_carry_the_rest_of_the_command_line_with_it() -> None:
    program = "import sys, watchword.cli.launch, watchword.serving; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"watchword", "uvicorn"} <= loaded
    assert not loaded & {"typer", "rich", "httpx", "pydantic", "pygments"}


def test_worker_processes_read_exactly_the_settings_that_the_server_was_started_with() -> None:
    upstream = {"name": "acme", "title": "Acme", "client_id": "x", "issuer": "https://acme.example"}
    given = {
        "workers": 3,
        "behind_tls_proxy": True,
        "trusted_proxies": ["10.0.0.0/8", "::1"],
        "scopes": {"orders:read": {"sentence": {"en": 'See "orders", all', "de": "Bestellungen sehen"}}},
        "upstream": [upstream],
        "service_name": "[staging] Acme",
        "template_directory": "{acme}/pages",
        "self_registered_resources": ["https://api.example/a,b"],
    }
    started = settings.load(given, {})
    assert settings.load({}, launch._environment(started)) == started
    with pytest.raises(settings.SettingsError, match="WATCHWORD_SCOPES"):
        settings.load({}, {"WATCHWORD_SCOPES": "{nothing"})


def test_no_file_adds_to_the_settings_that_worker_processes_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "named.toml"
    named.write_text('service_name = "Acme"')
    started = settings.load({}, {}, config=str(named))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "watchword.toml").write_text('help_url = "https://help.example"\nmisspelt = 1')
    with pytest.raises(settings.SettingsError, match="misspelt"):
        settings.load({}, {})  # it would be read
    assert settings.load({}, launch._environment(started)) == started


@pytest.mark.parametrize(
    "served",
    [
        {"issuer": "http://localhost:8000"},
        {"issuer": "https://auth.example.com", "behind_tls_proxy": True},
        {"issuer": "https://auth.example.com", "trusted_proxies": ["127.0.0.1"]},
        {"issuer": "https://auth.example.com", "tls_cert": "cert.pem", "tls_key": "key.pem"},
    ],
)
def test_a_start_where_whatever_carries_a_secret_would_be_refused_is_warned_of(
    served: dict[str, object],
) -> None:
    (warning,) = launch.warnings(settings.load({"issuer": "https://auth.example.com"}, {}))
    assert "--behind-tls-proxy" in warning
    assert launch.warnings(settings.load(served, {})) == []
