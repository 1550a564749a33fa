"""`watchword login`, `token print`, `logout`: against the real server, with a scripted browser and a key ring of the tests."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from tests.fixtures.browser import Browser
from tests.fixtures.commands import run_cli
from tests.fixtures.live import Live

from watchword import __version__
from watchword.client import FileStore, PublicClient, Refused, Unreachable
from watchword.client.callback import Callback
from watchword.client.proofs import Clocks, Prover
from watchword.client.server import AuthorizationServer
from watchword.client.sign_in import Wanted, by_browser, by_device
from watchword.jose import jwk, jwt

ROOT = Path(__file__).resolve().parents[2]
GRANTS = ["authorization_code", "refresh_token", "device_code"]


def program(live: Live, **given: Any) -> str:
    """Register a program that signs people in."""
    wanted: dict[str, Any] = {
        "redirect_uris": ["http://127.0.0.1/callback", "http://localhost/cb"],
        "grant_types": GRANTS,
        "token_endpoint_auth_method": "none",
        "application_type": "native",
        "scope": "orders:read offline_access",
    }
    return str(live.client(**wanted | given).client.client_id)


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command line with a state of its own, a scripted browser and a key ring in a file."""

    def runner(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        variables = {
            "XDG_STATE_HOME": str(tmp_path / "state"),
            "BROWSER": f"{sys.executable} -m tests.fixtures.browser %s",
            "PYTHON_KEYRING_BACKEND": "tests.fixtures.file_keyring.FileKeyring",
            "FAKE_KEYRING": str(tmp_path / "ring"),
            "PYTHONPATH": str(ROOT),
        }
        return run_cli(tmp_path, *arguments, variables=variables | more)

    return runner


def whose(live: Live, token: str) -> str:
    """Ask the server whose token this is; an empty text when it is nobody's."""
    answer = live.run(live.app.introspect(token, address=None, path=None, audience=live.issuer))
    return str(answer.get("sub", ""))


@pytest.mark.parametrize("options", [(), ("--file-store",), ("--dpop",)], ids=["key ring", "file", "DPoP"])
def test_signing_in_printing_tokens_and_signing_out(
    live: Live, run: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    ada, client_id = live.user("ada"), program(live)
    done = run("login", live.issuer, "--client-id", client_id, "--scope", "orders:read", *options, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = json.loads(done.stdout)
    assert (shown["issuer"], shown["name"]) == (live.issuer, live.issuer.removeprefix("http://"))
    first = run("token", "print").stdout.strip()
    assert whose(live, first) == ada.id
    assert run("token", "print", shown["name"]).stdout.strip() == first, "as long as it is good"
    assert run("token", "print", live.issuer).stdout.strip() == first, "by the address that was signed in to"
    age(tmp_path, "--file-store" in options)
    second = json.loads(run("token", "print", "--json").stdout)
    assert second["access_token"] != first
    assert whose(live, second["access_token"]) == ada.id
    assert second["token_type"] == ("DPoP" if "--dpop" in options else "Bearer")
    refresh = kept(tmp_path, "--file-store" in options)["refresh_token"]
    assert refresh not in everything(tmp_path / "state", but=".secret")
    left = run("logout", "--json")
    assert left.returncode == 0, left.stdout + left.stderr
    assert whose(live, second["access_token"]) == "", "revoked at the server"
    assert refresh not in everything(tmp_path)
    again = run("token", "print", "--json")
    assert (again.returncode, json.loads(again.stdout)["error"]) == (1, "not_signed_in")


def test_what_a_browser_prints_is_not_among_the_output(live: Live, run: Run, tmp_path: Path) -> None:
    """Chrome says that it opens the page in a session that is there; who reads to the end would wait for a browser to be closed."""
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho Opening in existing browser session.\n{sys.executable} -m tests.fixtures.browser "$1"\n'
    )
    browser.chmod(0o700)
    done = run(*to_sign_in(live), "--file-store", BROWSER=f"{browser} %s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Opening in existing" in done.stderr
    assert json.loads(done.stdout)["issuer"] == live.issuer


def to_sign_in(live: Live) -> tuple[str, ...]:
    """Make an account and return the command by which its person signs in."""
    live.user("ada")
    return ("login", live.issuer, "--client-id", program(live), "--scope", "orders:read", "--json")


def test_who_signs_in_again_leaves_no_secret_where_it_is_no_longer_kept(
    live: Live, run: Run, tmp_path: Path
) -> None:
    again = to_sign_in(live)
    assert run(*again).returncode == 0
    in_ring = kept(tmp_path, in_file=False)["refresh_token"]
    assert run(*again, "--file-store").returncode == 0
    assert in_ring not in everything(tmp_path)
    in_file = kept(tmp_path, in_file=True)["refresh_token"]
    assert run(*again, FAKE_KEYRING=str(tmp_path / "locked")).returncode == 1
    assert run(*again).returncode == 0
    assert in_file not in everything(tmp_path)
    assert run("token", "print").returncode == 0


def test_a_key_ring_that_can_no_longer_be_used_keeps_nobody_from_signing_in_beside_it(
    live: Live, run: Run, tmp_path: Path
) -> None:
    again = to_sign_in(live)
    assert run(*again).returncode == 0
    gone = without_package(tmp_path)
    done = run(*again, "--file-store", **gone)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run("token", "print").returncode == 0
    assert run(*again).returncode == 0
    assert run(*again, "--file-store", FAKE_KEYRING=str(tmp_path / "locked")).returncode == 0


def without_package(tmp_path: Path) -> dict[str, str]:
    """Return the environment in which the package of the key ring is not installed."""
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "keyring.py").write_text("raise ModuleNotFoundError('no key ring', name='keyring')")
    return {"PYTHONPATH": f"{tmp_path / 'gone'}{os.pathsep}{ROOT}"}


def test_without_the_package_of_the_key_ring_each_command_says_what_helps(
    live: Live, run: Run, tmp_path: Path
) -> None:
    again = to_sign_in(live)
    assert run(*again).returncode == 0
    gone = without_package(tmp_path)
    for command in (again, ("token", "print", "--json"), ("logout", "--json")):
        done = run(*command, **gone)
        refused = json.loads(done.stdout)
        assert (done.returncode, refused["error"]) == (1, "unavailable")
        assert "keyring is not installed: pip install keyring" in refused["error_description"]
        assert ("--file-store" in refused["error_description"]) is (command is again)


def secret_file(tmp_path: Path) -> Path:
    """Return the file that secrets are kept in."""
    return next((tmp_path / "state" / "watchword").glob("*.secret"))


def kept(tmp_path: Path, in_file: bool) -> dict[str, Any]:
    """Return the record that is kept."""
    if in_file:
        path = secret_file(tmp_path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        record: dict[str, Any] = json.loads(path.read_text())
        return record
    (text,) = json.loads((tmp_path / "ring").read_text()).values()
    return dict(json.loads(text))


def age(tmp_path: Path, in_file: bool) -> None:
    """Let the access token that is kept have ended."""
    record = kept(tmp_path, in_file) | {"expires_at": 1.0}
    if in_file:
        secret_file(tmp_path).write_text(json.dumps(record))
        return
    (name,) = json.loads((tmp_path / "ring").read_text())
    (tmp_path / "ring").write_text(json.dumps({name: json.dumps(record)}))


def everything(folder: Path, but: str = "-") -> str:
    """Return all files of a folder as one text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(but)]
    return "\n".join(path.read_text("latin-1") for path in files if "watchword.db" not in path.name)


def test_a_client_that_the_server_does_not_know_is_named(live: Live, run: Run) -> None:
    done = run("login", live.issuer, "--client-id", "nobody", "--device", "--json")
    assert done.returncode == 1
    refused = json.loads(done.stdout)
    assert refused["error"] == "invalid_client"
    assert "'nobody' has to be registered there as a public client" in refused["error_description"]


def test_what_is_wrong_is_said_in_one_line(live: Live, run: Run, tmp_path: Path) -> None:
    live.user("ada")
    client_id = program(live)
    locked = run("login", live.issuer, "--client-id", client_id, FAKE_KEYRING=str(tmp_path / "locked"))
    assert locked.returncode == 1
    assert "--file-store" in locked.stderr
    cases = {
        "unavailable": ("login", "http://localhost:1", "--client-id", "x", "--json"),
        "not_signed_in": ("logout", "--json"),
    }
    for code, arguments in cases.items():
        done = run(*arguments)
        assert (done.returncode, json.loads(done.stdout)["error"]) == (1, code)
    for arguments in (
        ("http://auth.example.com",),
        ("https://[auth.example.com",),
        (live.issuer, "--redirect-uri", "https://evil.example.com/cb"),
    ):
        done = run("login", *arguments, "--client-id", client_id)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr
    denied = run("login", live.issuer, "--client-id", client_id, "--scope", "not:registered", "--json")
    assert (denied.returncode, json.loads(denied.stdout)["error"]) == (1, "invalid_scope")


def server_of(live: Live) -> AuthorizationServer:
    """Return the live server as a client sees it."""
    return AuthorizationServer(live.issuer, Clocks())


class Reader(Browser):
    """A browser that keeps what its person read."""

    def __init__(self, issuer: str) -> None:
        super().__init__(issuer)
        self.read: list[str] = []

    def submit(self, page: httpx.Response, **more: str) -> httpx.Response:
        """Submit a page's form."""
        self.read.append(page.text)
        return super().submit(page, **more)


@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "DPoP"])
def test_a_person_signs_in_on_another_device(live: Live, dpop: bool) -> None:
    ada, client_id = live.user("ada"), program(live)
    prover = Prover(jwk.generate("ES256"), Clocks()) if dpop else None
    shown: list[str] = []
    browser = Reader(live.issuer)

    def sleep(seconds: float) -> None:
        live.clock.advance(seconds)
        if len(shown) == 3:
            assert "error" not in browser.walk(shown[0]).url.path
        shown.append("slept")

    wanted = Wanted(PublicClient(client_id), "orders:read")
    answer = by_device(
        server_of(live), wanted, prover, show=lambda page, code: shown.extend((page, code)), sleep=sleep
    )
    assert whose(live, str(answer["access_token"])) == ada.id
    assert shown[2:] == ["slept", "slept"], "once while nobody had answered, once after"
    assert f"watchword/{__version__} (" in browser.read[-1], "which program on which system asks"


def test_a_device_that_nobody_answers_for_gives_up(live: Live) -> None:
    wanted = Wanted(PublicClient(program(live)), "orders:read")
    with pytest.raises(Refused, match="expired_token"):
        by_device(
            server_of(live),
            wanted,
            show=lambda _page, _code: None,
            sleep=live.clock.advance,
            clock=live.clock,
        )


def test_a_refusal_of_the_person_is_told(live: Live) -> None:
    live.user("ada")
    wanted = Wanted(PublicClient(program(live)), "orders:read")

    def deny(address: str) -> None:
        httpx.get(Browser(live.issuer, decision="deny").visit(address))

    with pytest.raises(Refused, match="access_denied"):
        by_browser(server_of(live), wanted, show=str, open_browser=deny)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_a_browser_may_answer_at_the_other_loopback_address(live: Live) -> None:
    """RFC 8252 §7.3: a program may use either."""
    live.user("ada")
    wanted = Wanted(PublicClient(program(live, redirect_uris=["http://[::1]/callback"])), "orders:read")

    def sign_in(address: str) -> None:
        httpx.get(Browser(live.issuer).visit(address))

    answer = by_browser(
        server_of(live), wanted, redirect_uri="http://[::1]/callback", show=str, open_browser=sign_in
    )
    assert answer["token_type"] == "Bearer"


def test_a_port_that_another_program_has_is_named(live: Live, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/callback"
        done = run(*to_sign_in(live), "--file-store", "--redirect-uri", address)
    refused = json.loads(done.stdout)
    assert (done.returncode, refused["error"]) == (1, "unavailable")
    assert f"{address} cannot be waited at: Address already in use" in refused["error_description"]


STRAYS = {
    "without a state": {"code": "x", "iss": "https://a.example"},
    "with another state": {"code": "x", "state": "other", "iss": "https://a.example"},
    "of another issuer (RFC 9207, mix-up)": {"code": "x", "state": "right", "iss": "https://evil.example"},
    "without an issuer": {"code": "x", "state": "right"},
    "with a state that is no text": {
        "code": "x",
        "state": "\ud800".encode("utf-8", "surrogatepass"),
        "iss": "x",
    },
}


@pytest.mark.parametrize("case", STRAYS)
def test_an_answer_does_not_count_that_comes(case: str) -> None:
    honest = {"code": "right", "state": "right", "iss": "https://a.example"}
    with Callback("http://127.0.0.1/callback", "right", "https://a.example", has_iss=True) as callback:
        stray = httpx.get(f"{callback.redirect_uri}?{urlencode(STRAYS[case])}")
        assert stray.status_code == 400
        twice = httpx.get(f"{callback.redirect_uri}?{urlencode(honest)}&code=other")
        assert twice.status_code == 400
        assert httpx.get(callback.redirect_uri.replace("callback", "other")).status_code == 400
        page = httpx.get(f"{callback.redirect_uri}?{urlencode(honest)}")
        assert (page.status_code, "right" in page.text) == (200, False)
        assert callback.wait(5) == "right"
    assert "You are signed in." in page.text
    kept_to_itself = {name: page.headers[name] for name in ("referrer-policy", "cache-control")}
    assert kept_to_itself == {"referrer-policy": "no-referrer", "cache-control": "no-store"}, (
        "the code is in its URL"
    )
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_whoever_refused_reads_that_they_are_not_signed_in() -> None:
    with Callback("http://127.0.0.1/callback", "right", "https://a.example", has_iss=False) as callback:
        page = httpx.get(f"{callback.redirect_uri}?error=access_denied&state=right")
        with pytest.raises(Refused, match="access_denied"):
            callback.wait(5)
    assert "You are not signed in." in page.text


def test_nobody_is_waited_for_without_end() -> None:
    with (
        Callback("http://localhost/cb", "s", "https://a.example", has_iss=False) as callback,
        pytest.raises(Unreachable),
    ):
        callback.wait(0)


def test_the_request_is_as_rfc_8252_wants_it(live: Live) -> None:
    seen: list[str] = []
    wanted = Wanted(PublicClient("a"), "orders:read", "https://api.example.com")
    with pytest.raises(Unreachable):
        by_browser(server_of(live), wanted, show=str, open_browser=seen.append, patience=0)
    query = {name: values[0] for name, values in parse_qs(urlsplit(seen[0]).query).items()}
    assert query["redirect_uri"].startswith("http://127.0.0.1:")
    assert query["code_challenge_method"] == "S256"
    assert len(query["state"]) > 40
    assert query["scope"] == "orders:read offline_access"
    assert query["resource"] == "https://api.example.com"


def test_who_names_no_scope_gets_what_the_server_gives_by_default(
    live: Live, run: Run, tmp_path: Path
) -> None:
    live.user("ada")
    done = run("login", live.issuer, "--client-id", program(live), "--file-store")
    assert done.returncode == 0, done.stdout + done.stderr
    for _ in range(2):
        token = run("token", "print").stdout.strip()
        assert jwt.peek(token)["scope"] == "orders:read offline_access"
        age(tmp_path, in_file=True)


def test_a_file_of_secrets_is_not_followed_elsewhere(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "a" / "secret")
    with store.lock():
        store.save(None)
    assert store.load() is None
    assert os.listdir(tmp_path / "a") == ["secret.lock"]
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700, "nor does anybody else see what is there"
