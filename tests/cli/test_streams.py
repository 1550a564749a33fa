"""What the command line prints where its streams are closed or full, or where the terminal has other letters."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from tests.fixtures.commands import environment, inherited, run_cli
from tests.fixtures.servers import free_port, wait_until_ready

from watchword.cli import session

NAME = "Größe 😀"
ASCII = {"PYTHONIOENCODING": "ascii"}  # a terminal without our letters, whichever locales this machine has


def run(folder: Path, command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command by a shell, in a process of its own, since the streams are set up when Python starts."""
    told = {"PYTHON": sys.executable, **environment(), **variables}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=told, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("client")
    assert run_cli(made, "client", "create", NAME, "--client-id", "a").returncode == 0
    return made


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """A folder with a database that has a client."""
    return Path(shutil.copytree(begun, tmp_path, dirs_exist_ok=True))


TOKEN = "token create n --owner o --scope a"
TRUST = "trust create n --issuer https://ci.example.com --scope a --subject ci:{r}"
MTLS = "client create c --grant client_credentials --auth tls_client_auth"


@pytest.mark.parametrize(
    ("command", "option", "field"),
    [
        (TOKEN, "--metadata team={}", "metadata"),
        (TOKEN, "--metadata {}=1", "metadata"),
        (f"{TRUST} --claim r=acme/*", "--audience {}", "audience"),
        (f"{TRUST} --claim r=acme/*", "--client {}", "clients"),
        (f"{TRUST} --claim r=acme/*", "--claim ref={}", "claims"),
        (MTLS, "--certificate-subject san_dns={}", "tls_client_auth_subject"),
    ],
)
def test_an_argument_that_is_not_text_is_refused_by_its_field(
    tmp_path: Path, command: str, option: str, field: str
) -> None:
    good = run_cli(tmp_path, *command.split(), *option.format("ok").split(), "--json")
    assert good.returncode == 0, good.stdout + good.stderr
    said = os.fsdecode(option.encode().replace(b"{}", b"x\xff"))
    refused = run_cli(tmp_path, *command.replace(" n ", " m ").split(), *said.split(), "--json")
    assert (refused.returncode, refused.stderr) == (1, "")
    assert json.loads(refused.stdout)["field"] == field


def test_a_token_on_standard_input_that_is_not_text_is_unknown(tmp_path: Path) -> None:
    token = json.loads(run_cli(tmp_path, *TOKEN.split(), "--json").stdout)["token"]
    for said, reason, code in (
        (token.encode(), "active", 0),
        (b"\xff\xfew", "unknown", 1),
        (b"", "unknown", 1),
    ):
        done = run_cli(tmp_path, "token", "verify", "-", "--json", stdin=said)
        assert (done.returncode, done.stderr) == (code, "")
        assert json.loads(done.stdout)["reason"] == reason


def test_a_password_on_standard_input_that_is_not_text_is_refused(folder: Path) -> None:
    command = ("user", "create", "ada", "--password-stdin", "--json")
    # As most locales have Python read; with the latter, those of no language.
    for errors, encoding, code in (
        ("strict", "latin-1", 1),
        ("surrogateescape", "latin-1", 1),
        ("strict", "utf-8", 0),
    ):
        said, variables = "größer als gedacht".encode(encoding), {"PYTHONIOENCODING": f"utf-8:{errors}"}
        done = run_cli(folder, *command, stdin=said, variables=variables)
        assert (done.returncode, done.stderr) == (code, "")
        assert json.loads(done.stdout).get("field") == ("password" if code else None)


def test_a_terminal_without_the_letters_of_a_name_shows_what_it_can(folder: Path) -> None:
    listed = run(folder, '"$PYTHON" -m watchword client list', **ASCII)
    assert listed.returncode == 0, listed.stderr
    assert rb"Gr\xf6\xdfe \U0001f600" in listed.stdout


def test_documents_are_utf_8_whatever_the_terminal_has(folder: Path) -> None:
    listed = run_cli(folder, "client", "list", "--json", variables=ASCII)
    assert json.loads(listed.stdout)["clients"][0]["name"] == NAME, listed.stderr
    exported = run_cli(folder, "export", variables=ASCII)
    assert tomllib.loads(exported.stdout)["clients"][0]["name"] == NAME, exported.stderr


def test_a_closed_standard_output_is_no_defect(folder: Path) -> None:
    done = run(folder, '"$PYTHON" -m watchword client list --json >&-')
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "command", ["client list", "serve --port {} --json", "serve --port {} --workers 2 --json"]
)
def test_a_full_standard_output_is_told_in_a_line(folder: Path, command: str) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    done = run(folder, f'"$PYTHON" -m watchword {command.format(free_port())} >/dev/full')
    assert done.returncode == 1
    assert done.stderr == b"error: standard output cannot be written: No space left on device\n"


def unread() -> int:
    """Return the end of a pipe whose other end nobody has."""
    read, written = os.pipe()
    os.close(read)
    return written


@pytest.mark.parametrize("command", ["client list", "client lst"], ids=["a command", "a wrong call"])
def test_of_a_reader_that_is_gone_nothing_is_told(folder: Path, command: str) -> None:
    read = run_cli(folder, *command.split(), "--json")
    assert json.loads(read.stdout)
    gone = "mkfifo pipe; exec 4<>pipe 3>pipe 4<&-"  # nobody has the other end
    done = run(folder, f'{gone}; "$PYTHON" -m watchword {command} --json >&3')
    assert (done.returncode, done.stderr.decode()) == (1, read.stderr)


ONCE = {
    "a token": "token create report --owner reports --scope orders:read",
    "a token's next secret": "token rotate {token}",
    "a client": "client create Billing",
    "a client's next secret": "client rotate-secret a",
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", ONCE.values(), ids=ONCE)
def test_of_a_secret_that_cannot_be_printed_is_told_whose_it_is_and_how_to_have_another(
    folder: Path, command: str
) -> None:
    """For people and unread, for programs and full."""
    made = run_cli(folder, *ONCE["a token"].split(), "--json")
    token = json.loads(made.stdout)["id"]
    for form, out in ((), unread()), (("--json",), os.open("/dev/full", os.O_WRONLY)):
        lost = run_cli(folder, *command.format(token=token).split(), *form, out=out)
        os.close(out)
        assert lost.returncode == 1, lost.stderr
        assert "Traceback" not in lost.stderr
        said = re.search(
            r"error: (\S+) has a new secret, which .*`(watchword .*?)` makes another", lost.stderr
        )
        assert said, lost.stderr
        assert said[1] in said[2]
        another = run_cli(folder, *said[2].split()[1:], "--json")
        assert another.returncode == 0, another.stderr
        assert json.loads(another.stdout)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_starts_and_stops_although_its_log_is_full(folder: Path, workers: str) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    port = free_port()
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "watchword", "serve", "--port", str(port), "--workers", workers],
            cwd=folder,
            env=environment(),
            stdout=full,
            stderr=full,
        )
    try:
        wait_until_ready(f"http://localhost:{port}", process, Path("/dev/null"))
    finally:
        process.terminate()
        code = process.wait(timeout=30)
    assert code in (0, -signal.SIGTERM)


def test_an_export_onto_a_full_disk_leaves_the_file_that_was_there(folder: Path) -> None:
    many = [f"https://app.example.com/{'x' * 1900}/{number}" for number in range(50)]
    for name in ("big", "bigger"):
        made = run_cli(folder, "client", "create", name, *(f"--redirect-uri={uri}" for uri in many))
        assert made.returncode == 0, made.stderr
    (folder / "auth.toml").write_text("precious")
    full = run(folder, 'ulimit -f 128; "$PYTHON" -m watchword export auth.toml')
    assert full.returncode == 2
    assert full.stderr == b"error: auth.toml cannot be written: File too large\n"
    assert (folder / "auth.toml").read_text() == "precious"
    assert not list(folder.glob("auth.toml?*"))
    assert run_cli(folder, "export", "auth.toml").returncode == 0
    assert len(tomllib.loads((folder / "auth.toml").read_text())["clients"]) == 3


def test_an_export_leaves_a_link_a_link_and_a_file_to_those_who_read_it(folder: Path) -> None:
    (folder / "real.toml").write_text("before")
    (folder / "real.toml").chmod(0o640)
    (folder / "auth.toml").symlink_to("real.toml")
    assert run_cli(folder, "export", "auth.toml").returncode == 0
    assert (folder / "auth.toml").is_symlink()
    assert (folder / "real.toml").stat().st_mode & 0o777 == 0o640
    assert tomllib.loads((folder / "real.toml").read_text())["clients"][0]["name"] == NAME
    assert run(folder, 'umask 027; "$PYTHON" -m watchword export new.toml').returncode == 0
    assert (folder / "new.toml").stat().st_mode & 0o777 == 0o640


def test_an_export_leaves_a_file_to_its_group(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("nobody but root can give a file to any group")
    (folder / "auth.toml").write_text("before")
    (folder / "auth.toml").chmod(0o640)
    os.chown(folder / "auth.toml", -1, 12345)
    assert run_cli(folder, "export", "auth.toml").returncode == 0
    status = (folder / "auth.toml").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, 12345, 0o640)


@pytest.mark.parametrize("to", ["pipe", "/dev/fd/3"])
def test_an_export_into_a_pipe_goes_through_it(folder: Path, to: str) -> None:
    os.mkfifo(folder / "pipe")
    piped = {"pipe": "cat pipe & {} >&2; wait", "/dev/fd/3": "{} 3>&1 >&2 | cat"}[to]
    done = run(folder, piped.format(f'"$PYTHON" -m watchword export {to}'))
    assert tomllib.loads(done.stdout.decode())["clients"][0]["name"] == NAME, done.stderr


def test_a_file_whose_name_is_no_text_is_taken_and_told(folder: Path) -> None:
    made = run_cli(folder, "backup", os.fsdecode(b"\xff.gz"), "--json")
    assert made.returncode == 0, made.stderr
    assert os.fsencode(json.loads(made.stdout)["file"]) == b"\xff.gz"
    trail = json.loads(run_cli(folder, "audit", "--json").stdout)["events"]
    assert [event["target"] for event in trail if event["name"] == "database.backed_up"] == [r"\xff.gz"]
    refused = run_cli(folder, "token", "list", "--database", os.fsdecode(b"\xff.db"))
    assert refused.returncode == 1
    assert "There is no database" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_interruption_while_a_command_is_read_in_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")  # the key is pressed at this moment
    done = run(tmp_path, '"$PYTHON" -m watchword client list', PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize(("how", "code"), [("the end", 1), ("an interruption", 130)])
def test_a_question_that_nobody_answers_ends_as_the_exit_codes_say(
    tmp_path: Path, how: str, code: int
) -> None:
    terminal, shown = os.openpty()
    with inherited(signal.SIGINT, signal.SIG_DFL):
        asking = subprocess.Popen(
            [sys.executable, "-m", "watchword", "zero", "create"],
            cwd=tmp_path,
            env=environment(),
            stdin=shown,
            stderr=shown,
            stdout=subprocess.DEVNULL,
        )
    os.close(shown)
    said = b""
    while b"secret:" not in said:
        said += os.read(terminal, 1000)
    if how == "the end":
        os.write(terminal, b"\x04")
    while asking.poll() is None:
        # One that comes just before the system is asked to read is seen with the next.
        if how == "an interruption":
            asking.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            asking.wait(20)
    assert asking.returncode == code
    os.close(terminal)


def test_what_another_server_names_is_shown_whatever_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    session.print_fields([("expires_at", 1_700_000_000), ("name", "Ada")])
    assert capsys.readouterr().out == "expires_at  2023-11-14 22:13:20Z\nname        Ada\n"
    session.print_fields([("expires_at", 10**15), ("name", "A\u061cda")])
    assert capsys.readouterr().out == f"expires_at  {10**15}\nname        A\\u061cda\n"
