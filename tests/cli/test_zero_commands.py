"""Transcripts of `watchword zero …`: streams, formats, prompts, exit codes and what errors say."""

import json
import os
import pty
import select
import socket
import subprocess
import termios
import time
from pathlib import Path

import pytest
from tests.fixtures.zero_commands import PROGRAM, PROVE, VERIFY, Run, ada, begun, run

__all__ = ["ada", "begun", "run"]

JKT = "jkt:" + "A" * 43


def test_the_whole_story(ada: Run, tmp_path: Path) -> None:
    assert ada("verify", "ada.id").code == 0
    assert (
        ada(*PROVE, "--purpose", "login", "--channel", JKT, "--disclose", "age", "--out", "answer").code == 0
    )
    accepted = ada(*VERIFY, "--channel", JKT, "--json")
    assert accepted.code == 0
    assert accepted.json["valid"] is True
    assert accepted.json["attributes"] == {"age": 33}
    renewed = ada("renew", "--identity", "ada.id", "--secret", "ada.secret", "--expires", "500d", "--json")
    assert renewed.json["sequence"] == 1
    assert ada("revoke", "--certificate", "ada.revocation", "--registry", "revoked").code == 0
    for command in (("verify", "ada.id"), (*VERIFY, "--channel", JKT)):
        refused = ada(*command, "--revocations", "revoked")
        assert (refused.code, refused.err) == (1, "error: ada.id: the identity has been revoked\n")


def test_streams_pipe_into_each_other(ada: Run) -> None:
    asked = (
        ada("challenge", "--verifier", "https://api.example", "--purpose", "login", "--format", "binary")
    ).out
    assert asked.startswith(b"WWZ1C")
    answer = ada(*PROVE[:2], "-", *PROVE[3:], "--format", "binary", stdin=asked)
    assert answer.out.startswith(b"WWZ1P")
    again = ada(*PROVE, "--format", "json").out
    accepted = ada("verify-proof", "-", *VERIFY[2:], "--json", stdin=again)
    assert accepted.json["verifier"] == "https://api.example"


@pytest.mark.parametrize("form", ["text", "json", "binary"])
def test_every_format_is_recognised_when_read(ada: Run, form: str) -> None:
    answer = ada(*PROVE, "--format", form, "--out", "answer")
    assert answer.code == 0
    assert ada("info", "answer", "--json").json["purpose"] == "login"
    assert ada(*VERIFY).code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--secret", "new.secret"),
        ("create", "--secret", "new.secret", "--out", "new.id"),
        ("info", "ada.secret"),
        ("info", "ada.revocation"),
        ("verify", "ada.id"),
        ("derive", "--secret", "ada.secret", "--verifier", "https://api.example", "--purpose", "login"),
        ("challenge", "--verifier", "https://api.example", "--purpose", "login"),
        PROVE,
        ("renew", "--identity", "ada.id", "--secret", "ada.secret", "--expires", "500d"),
        ("revoke", "--secret", "ada.secret", "--reason", "retired"),
        ("revoke", "--secret", "ada.secret", "--registry", "revoked"),
        ("verify", "missing"),
    ],
    ids=" ".join,
)
def test_json_is_one_document_and_nothing_else(ada: Run, arguments: tuple[str, ...]) -> None:
    result = ada(*arguments, "--json")
    assert isinstance(result.json, dict)
    assert result.err == ""


def test_a_derived_identity_proves_without_its_own_secret_file(ada: Run) -> None:
    for_whom = ("--secret", "ada.secret", "--verifier", "https://api.example", "--purpose", "login")
    assert ada("derive", *for_whom, "--keep", "age", "--out", "pair.id").code == 0
    assert ada(*PROVE, "--derive-for", "login", "--disclose", "age", "--out", "answer").code == 0
    accepted = ada("verify-proof", "answer", "--identity", "pair.id", "--challenge", "asked", "--json")
    assert accepted.json["attributes"] == {"age": 33}
    base, pair = (ada("info", name, "--json").json for name in ("ada.id", "pair.id"))
    assert (pair["created"] % 86400, pair["expires"] % 86400) == (0, 0)
    assert base["id"] != pair["id"]


def test_an_sd_jwt_in_the_place_of_a_proof(ada: Run, tmp_path: Path) -> None:
    sd_jwt, known = ("--format", "sd-jwt"), VERIFY[2:]
    assert ada(*PROVE, "--channel", JKT, "--disclose", "age", *sd_jwt, "--out", "shown").code == 0
    accepted = ada("verify-proof", "shown", *known, "--channel", JKT, "--json")
    assert accepted.json["attributes"] == {"age": 33}
    refused = ada("verify-proof", "shown", *known)
    assert (refused.code, refused.err) == (1, "error: shown: the key-binding JWT has another channel\n")
    piped = ada(*PROVE, *sd_jwt).out
    assert ada("verify-proof", "-", *known, stdin=piped).code == 0


def test_an_issuer_attests_and_the_holder_shows_it_elsewhere(ada: Run, tmp_path: Path) -> None:
    issuer, known = ("--issuer", "https://registry.example"), VERIFY[2:]
    assert ada(*PROVE, "--disclose", "age", "--format", "sd-jwt", "--out", "shown").code == 0
    assert ada("attest", "shown", *known, *issuer, "--key", "key", "--out", "credential").code == 0
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert "d" not in json.loads((tmp_path / "key.pub").read_text())
    trusting = ("verify-proof", "answer", *known, *issuer, "--issuer-key", "key.pub", "--json")
    more = ada(*PROVE, "--credential", "credential", "--disclose", "email", "--out", "answer")
    assert (more.code, more.err) == (1, "error: the credential does not attest 'email'\n")
    assert ada(*PROVE, "--credential", "credential", "--disclose", "age", "--out", "answer").code == 0
    assert ada(*trusting).json["attributes"] == {"age": 33}
    assert ada(*VERIFY, "--json").json["error"] == "sd_jwt", "the holder's own word is not the issuer's"
    other = ada("attest", "shown", *known, *issuer, "--key", "other", "--out", "x")
    assert other.code == 0
    assert ada(*trusting[:-2], "other.pub", "--json").json["error"] == "sd_jwt"
    assert ada("attest", "answer", *known, *issuer, "--key", "key").code == 1
    plain = ada(*PROVE, "--out", "plain")
    assert plain.code == 0
    refused = ada("verify-proof", "plain", *trusting[2:])
    assert refused.json == {
        "error": "malformed",
        "error_description": "plain: not an SD-JWT: nothing else has an issuer",
    }


# arguments, exit code, what standard error says
REFUSALS: dict[str, tuple[tuple[str, ...], int, str]] = {
    "another channel": (
        (*VERIFY, "--channel", JKT),
        1,
        "error: answer: the proof is bound to another channel",
    ),
    "a missing file": (("verify", "missing"), 1, "error: missing: No such file or directory"),
    "a wrong file": (("verify", "asked"), 1, "error: asked: not an identity"),
    "a challenge relayed from elsewhere": (
        (*PROVE[:-1], "https://bank.example"),
        1,
        "error: the challenge comes from https://api.example",
    ),
    "a challenge for something else": ((*PROVE, "--purpose", "pay"), 1, "error: the challenge is for login"),
    "an attribute that is not there": ((*PROVE, "--disclose", "salary"), 1, "no attribute 'salary'"),
    "a secret that is there already": (
        ("create", "--secret", "ada.secret"),
        1,
        "error: ada.secret: File exists",
    ),
    "a verifier that no challenge can name": (
        ("derive", "--secret", "ada.secret", "--verifier", "é", "--purpose", "login"),
        1,
        "verifier must be",
    ),
    "an empty purpose": (
        ("derive", "--secret", "ada.secret", "--verifier", "https://api.example", "--purpose", ""),
        1,
        "purpose must be",
    ),
    "an unknown reason": (("revoke", "--secret", "ada.secret", "--reason", "bored"), 2, "is not one of"),
    "another identity than that of the secret": (
        (*PROVE, "--id", "zid_other"),
        2,
        "leave out --id or --secret",
    ),
    "a reason for a revocation that has one": (
        ("revoke", "--certificate", "ada.revocation", "--reason", "compromised"),
        2,
        "leave out --secret and --reason",
    ),
    "the secret of a revocation that is made": (
        ("revoke", "--certificate", "ada.revocation", "--secret", "ada.secret"),
        2,
        "leave out --secret and --reason",
    ),
    "no verifier said": (PROVE[:5], 2, "--verifier"),
    "an unknown command": (("bogus",), 2, "No such command"),
    "an unknown option": (("info", "ada.id", "--bogus"), 2, "No such option"),
    "an unknown format": (("challenge", "--format", "xml"), 2, "--format"),
    "no duration": (("create", "--secret", "x", "--expires", "soon"), 2, "soon: not a duration"),
    "no channel": ((*VERIFY, "--channel", "tls"), 2, "A channel is"),
    "the key of an issuer that is not named": ((*VERIFY, "--issuer-key", "registry.jwk.pub"), 2, "give both"),
    "no attribute": (("create", "--secret", "x", "-a", "age"), 2, "age: an attribute is"),
    "the name of no attribute": (
        ("create", "--secret", "x", "-a", "my age=33"),
        1,
        "my age: an attribute's name",
    ),
    "an attribute that is not JSON": (
        ("create", "--secret", "x", "-a", "age:=33x"),
        1,
        "age: not well-formed",
    ),
    "no value of an attribute": (
        ("create", "--secret", "x", "-a", "age:=[]"),
        1,
        "age: an attribute's value",
    ),
    "a secret on a stream": (("create", "--secret", "-"), 2, "--secret': this has to be a file"),
    "a derived secret on a stream": (
        ("derive", "--secret", "ada.secret", "--verifier", "v", "--purpose", "p", "--new-secret", "-"),
        2,
        "--new-secret': this has to be a file",
    ),
    "a revocation beside the identity on a stream": (
        ("create", "--secret", "x", "--revocation", "-"),
        2,
        "--revocation': this has to be a file",
    ),
    "two streams": (("verify-proof", "-", "--identity", "-", "--challenge", "asked"), 2, "Only one input"),
    "an identity and a registry on a stream": (("verify", "-", "--revocations", "-"), 2, "Only one input"),
    "a proof and a registry on a stream": (
        ("verify-proof", "-", *VERIFY[2:], "--revocations", "-"),
        2,
        "Only one input",
    ),
    "a proof and an issuer's key on a stream": (
        ("verify-proof", "-", *VERIFY[2:], "--issuer", "i", "--issuer-key", "-"),
        2,
        "Only one input",
    ),
    "a credential as a record": (
        (*PROVE, "--credential", "credential", "--format", "json"),
        2,
        "A credential is shown as SD-JWT",
    ),
    "a challenge and a credential on a stream": (
        ("prove", "--challenge", "-", *PROVE[3:], "--credential", "-"),
        2,
        "Only one input",
    ),
}


@pytest.mark.parametrize(("arguments", "code", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_refusals_say_what_and_exit_1_or_2(
    ada: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    assert ada(*PROVE, "--out", "answer").code == 0
    refused = ada(*arguments)
    assert refused.code == code
    assert message in refused.err
    assert refused.out == b""
    assert "Traceback" not in refused.err


def test_json_refusals_carry_the_reason(ada: Run) -> None:
    refused = ada("verify", "asked", "--json")
    assert refused.code == 1
    assert refused.json == {"error": "malformed", "error_description": "asked: not an identity"}


def test_passphrases(ada: Run, tmp_path: Path) -> None:
    wrong = ada(*PROVE, WATCHWORD_ZERO_PASSPHRASE="wrong")
    assert (wrong.code, "ada.secret: wrong passphrase" in wrong.err) == (1, True)
    none = ada(*PROVE, WATCHWORD_ZERO_PASSPHRASE=None)
    assert (none.code, "--passphrase-file" in none.err) == (2, True)
    word = tmp_path / "word"
    word.write_text("open sesame\n")
    word.chmod(0o644)
    open_to_all = ada(*PROVE, "--passphrase-file", "word", WATCHWORD_ZERO_PASSPHRASE=None)
    assert (open_to_all.code, "word: others have access" in open_to_all.err) == (1, True)
    word.chmod(0o600)
    assert ada(*PROVE, "--passphrase-file", "word", WATCHWORD_ZERO_PASSPHRASE=None).code == 0
    word.write_bytes(b"\xff\xfe")
    no_text = ada(*PROVE, "--passphrase-file", "word", WATCHWORD_ZERO_PASSPHRASE=None)
    assert (no_text.code, no_text.err) == (1, "error: word: the passphrase is not text\n")


def test_a_terminal_is_asked_for_what_is_missing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "WATCHWORD_ZERO_PASSPHRASE"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve(PROGRAM[0], [*PROGRAM, "create", "--out", "id"], environment)
    shown = b""
    questions = (
        (b"secret", b"-\n"),
        (b"not a standard stream\r\nFile for the secret", b"s\n"),
        (b"Passphrase", b"word\n"),
        (b"epeat", b"word\n"),
    )
    for question, answer in questions:
        shown += _read_until(terminal, question)
        if answer == b"word\n":
            _wait_for_silence(terminal)
        os.write(terminal, answer)
    shown += _read_until(terminal, b"commitments")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    assert b"word" not in shown


def test_a_passphrase_typed_in_another_encoding_is_said_to_be_no_text(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "WATCHWORD_ZERO_PASSPHRASE"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        command = [*PROGRAM, "create", "--out", "id", "--secret", "s"]
        os.execve(PROGRAM[0], command, environment | {"PYTHONUTF8": "1"})
    _read_until(terminal, b"Passphrase")
    _wait_for_silence(terminal)
    os.write(terminal, "Schlüssel\n".encode("latin-1"))
    shown = _read_until(terminal, b"error: the passphrase is not text")
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 1
    assert b"Traceback" not in shown


def _read_until(terminal: int, wanted: bytes) -> bytes:
    shown, end = b"", time.monotonic() + 30
    while wanted not in shown:
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 1024)
    return shown


def test_the_agent_proves_without_a_passphrase(ada: Run, tmp_path: Path) -> None:
    path = tmp_path / "agent"
    command = [*PROGRAM, "agent", "--socket", str(path), "--secret", "ada.secret"]
    command += ["--verifier", "https://api.example"]
    environment = {**os.environ, "WATCHWORD_ZERO_PASSPHRASE": "open sesame"}
    holder = subprocess.Popen(
        command, 0, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline().startswith(b"socket")
        arguments = (*PROVE[:3], *PROVE[5:], "--agent", str(path), "--out", "answer")
        assert ada(*arguments, WATCHWORD_ZERO_PASSPHRASE=None).code == 0
        assert ada(*VERIFY).code == 0
        elsewhere = ("--verifier", "https://bank.example")
        assert ada("challenge", *elsewhere, "--purpose", "login", "--out", "asked").code == 0
        refused = ada(*PROVE[:3], *elsewhere, "--agent", str(path))
        assert refused.err == "error: agent: the agent does not serve this verifier\n"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            path.unlink()
            connection.sendall(b'{"op": "stop"}\n')
            assert json.loads(connection.makefile("rb").readline()) == {"stopped": True}
        assert holder.communicate(timeout=30) == (b"identities  1\n", b"")
        assert holder.returncode == 0, "it ends in order although its socket is gone"
    finally:
        holder.kill()
        holder.communicate(timeout=10)


def _wait_for_silence(terminal: int) -> None:
    """Until what is typed is no longer shown, as for every passphrase."""
    end = time.monotonic() + 30
    while termios.tcgetattr(terminal)[3] & termios.ECHO:
        assert time.monotonic() < end
        select.select([], [], [], 0.01)
