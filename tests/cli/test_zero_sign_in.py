"""`watchword zero sign-in` and `submit`: where they send something, and what they are told to get."""

import gzip
import json
import shutil
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli
from tests.fixtures.other_issuer import OtherIssuer
from tests.fixtures.people import letters
from tests.fixtures.servers import free_port, open_server

from watchword.jose import jwk

WORD = {"WATCHWORD_ZERO_PASSPHRASE": "open sesame"}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where somebody has an identity, and its revocation."""
    made = tmp_path_factory.mktemp("identity")
    files = ("--secret", "me.zero", "--out", "me.id", "--revocation", "me.revocation")
    done = run_cli(made, "zero", "create", *files, variables=WORD)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def folder(begun: Path, tmp_path: Path) -> Path:
    """A folder of the test's own that has the same."""
    return Path(shutil.copytree(begun, tmp_path, dirs_exist_ok=True))


@pytest.mark.parametrize("owner", ["ada", "ada@example.com"])
async def test_who_gets_a_way_in_from_an_operator_is_told_by_mail(folder: Path, owner: str) -> None:
    options = {"database": str(folder / "here.db"), "key_file": str(folder / "key"), "mode": "development"}
    (folder / "watchword.toml").write_text(
        "".join(f"{name} = {value!r}\n" for name, value in options.items())
    )
    for command in (
        ("user", "create", "ada", "--email", "ada@example.com", "--email-verified"),
        ("zero", "register", "me.id", "--owner", owner),
    ):
        done = run_cli(folder, *command)
        assert done.returncode == 0, done.stderr
    async with open_server(folder, **options) as server:
        (told,) = [text for to, text in await letters(server) if to == "ada@example.com"]
    assert "A key of your own was registered" in told
    assert "From:" not in told, "where an operator is concerns nobody"


def test_nobody_gets_a_way_in_to_an_account_that_is_switched_off_and_it_is_said_why(folder: Path) -> None:
    for command in ("create", "disable"):
        assert run_cli(folder, "user", command, "ada").returncode == 0
    refused = run_cli(folder, "zero", "register", "me.id", "--owner", "ada")
    assert refused.returncode == 1
    assert "disabled" in refused.stderr
    assert run_cli(folder, "user", "enable", "ada").returncode == 0
    assert run_cli(folder, "zero", "register", "me.id", "--owner", "ada").returncode == 0


# more options, what is said of them
CONTRADICTIONS = {
    "a scope of no token": (("--scope", "orders:read"), "give --client-id"),
    "a client without its identifier": (("--as-client",), "give --client-id"),
    "a key on a stream": (("--client-id", "app", "--dpop-key", "-"), "this has to be a file"),
    "another identity than that of the secret": (("--id", "zid_" + "A" * 32), "leave out --id or --secret"),
}


@pytest.mark.parametrize(("more", "said"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_nobody_signs_in_otherwise_than_was_said(folder: Path, more: tuple[str, ...], said: str) -> None:
    command = ("zero", "sign-in", f"http://localhost:{free_port()}", "--secret", "me.zero")
    asked = run_cli(folder, *command, variables=WORD)
    assert (asked.returncode, "Connection refused" in asked.stderr) == (1, True)
    refused = run_cli(folder, *command, *more, variables=WORD)
    assert refused.returncode == 2
    assert said in " ".join(refused.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize(
    "command", [("sign-in", "--secret", "me.zero"), ("submit", "me.id")], ids=["sign-in", "submit"]
)
def test_nothing_goes_over_plain_http_to_another_machine(
    folder: Path, command: tuple[str, ...], name: str
) -> None:
    def send(address: str) -> str:
        done = run_cli(folder, "zero", command[0], address, *command[1:], variables=WORD)
        assert done.returncode == 1
        return done.stderr

    assert "does not answer" in send(f"http://{name}:{free_port()}"), "this machine was asked"
    assert (
        send("http://auth.invalid")
        == "error: no credential is sent over plain http to auth.invalid: use https\n"
    )
    assert "user information" in send(f"http://{name}@auth.invalid")
    if name != "[::1]":
        assert "plain http" in send(f"http://{name}.auth.invalid")


IMPOSSIBLE = ["a..b", "xn--a.invalid", "a" * 64 + ".invalid"]


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=["an empty label", "no punycode", "a long label"])
@pytest.mark.parametrize(
    "command", [("sign-in", "--secret", "me.zero"), ("submit", "me.id")], ids=["sign-in", "submit"]
)
def test_a_name_that_no_host_can_have_does_not_answer(
    folder: Path, command: tuple[str, ...], name: str
) -> None:
    for host in ("auth.invalid", name):
        done = run_cli(folder, "zero", command[0], f"https://{host}", *command[1:], variables=WORD)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert f"https://{host} does not answer" in done.stderr


def test_what_is_for_this_machine_goes_through_no_proxy(folder: Path) -> None:
    with OtherIssuer() as proxy:
        variables = WORD | {
            "HTTP_PROXY": proxy.issuer,
            "http_proxy": proxy.issuer,
            "NO_PROXY": "",
            "no_proxy": "",
        }
        command = ("zero", "sign-in", f"http://localhost:{free_port()}", "--secret", "me.zero")
        assert "does not answer" in run_cli(folder, *command, variables=variables).stderr
        assert not proxy.asked


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HTTPS_PROXY", "ftp://localhost:1", "the proxy that the environment names cannot be used"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "the certificates of authorities cannot be read"),
    ],
)
def test_what_the_environment_names_and_cannot_be_used_is_said_in_one_line(
    folder: Path, name: str, value: str, said: str
) -> None:
    command = ("zero", "sign-in", "https://auth.invalid", "--secret", "me.zero")
    assert "does not answer" in run_cli(folder, *command, variables=WORD).stderr
    done = run_cli(folder, *command, variables=WORD | {name: value})
    assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (1, 1, True), done.stderr


def test_what_is_no_private_key_is_refused_before_anything_is_sent(folder: Path) -> None:
    path = folder / "given.json"
    command = (
        "zero",
        "sign-in",
        f"http://localhost:{free_port()}",
        "--secret",
        "me.zero",
        "--client-id",
        "app",
    )
    key = jwk.generate("ES256")
    for document, said in (
        ([], "given.json: key"),
        (jwk.public_document(key), "given.json: not a private key"),
        (jwk.private_document(key), "does not answer"),
    ):
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        done = run_cli(folder, *command, "--dpop-key", str(path), variables=WORD)
        assert (done.returncode, done.stderr.count("\n"), said in done.stderr) == (1, 1, True), done.stderr


# status, body, and what is said
ANSWERS = {
    "a page": (200, b"<html>", "service does"),
    "nothing": (200, b"", "service does"),
    "no content": (204, b"", "service does"),
    "a list": (200, b"[]", "service does"),
    "what is no text": (200, b'"\xff"', "service does"),
    "nested too deeply": (200, b"[" * 100_000, "service does"),
    "more than anybody reads": (200, b" " * 300_000, "is too long"),
    "what is compressed twice": (200, gzip.compress(gzip.compress(b"{}")), "answers compressed"),
    "an object": (200, b"{}", ("not a challenge", "did not confirm", "answered 200")),
    "a redirection": (302, b"", "answered 302"),
    "a list as an error": (400, b"[1]", "answered 400"),
    "a broken error": (502, b"{", "answered 502"),
    "an error without words": (400, b'{"error": 5}', "answered 400"),
    "a refusal": (400, b'{"error": "invalid_request", "error_description": "No."}', "No."),
}
SENT = [
    ("sign-in", "--secret", "me.zero"),
    ("sign-in", "--secret", "me.zero", "--client-id", "app"),
    ("submit", "me.id"),
    ("submit", "me.revocation"),
]


# All of them to the first, and to the others what each reads by itself
TOLD = ("a page", "nothing", "an object", "a redirection", "a refusal")
STRANGE = {
    f"{name}-{command[-1]}": (command, *ANSWERS[name])
    for command in SENT
    for name in (ANSWERS if command == SENT[0] else TOLD)
}


@pytest.mark.parametrize(("command", "status", "body", "said"), STRANGE.values(), ids=STRANGE)
def test_another_server_at_the_address_has_done_nothing(
    folder: Path, command: tuple[str, ...], status: int, body: bytes, said: str | tuple[str, ...]
) -> None:
    """A revocation that was sent to a page, or to an address that leads elsewhere, must not look like one that was made."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if body.startswith(b"\x1f\x8b"):
            handler.send_header("content-encoding", "gzip, gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with OtherIssuer() as other:
        paths = ("/zero/challenge", "/zero/renew", "/zero/revoke")
        other.documents |= dict.fromkeys(paths, answer)
        done = run_cli(folder, "zero", command[0], other.issuer, *command[1:], "--json", variables=WORD)
        assert sum(other.asked.values()) == 1
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)["error_description"]
    assert any(one in told for one in ((said,) if isinstance(said, str) else said)), told
