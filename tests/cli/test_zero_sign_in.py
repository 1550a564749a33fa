"""`watchword zero sign-in` and `submit`: where they send something, and what they are told to get."""

from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli
from tests.fixtures.other_issuer import OtherIssuer
from tests.fixtures.servers import free_port

WORD = {"WATCHWORD_ZERO_PASSPHRASE": "open sesame"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where somebody has an identity."""
    made = run_cli(tmp_path, "zero", "create", "--secret", "me.zero", "--out", "me.id", variables=WORD)
    assert made.returncode == 0, made.stderr
    return tmp_path


# more options, what is said of them
CONTRADICTIONS = {
    "a scope of no token": (("--scope", "orders:read"), "give --client-id"),
    "a client without its identifier": (("--as-client",), "give --client-id"),
    "another identity than that of the secret": (("--id", "zid_" + "A" * 32), "leave out --id or --secret"),
}


@pytest.mark.parametrize(("more", "said"), CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_nobody_signs_in_otherwise_than_was_said(folder: Path, more: tuple[str, ...], said: str) -> None:
    command = ("zero", "sign-in", f"http://localhost:{free_port()}", "--secret", "me.zero")
    asked = run_cli(folder, *command, variables=WORD)
    assert (asked.returncode, "does not answer" in asked.stderr) == (1, True)
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
    assert "plain http" in send("http://auth.invalid")
    assert "user information" in send(f"http://{name}@auth.invalid")
    if name != "[::1]":
        assert "plain http" in send(f"http://{name}.auth.invalid")


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
