"""The files of `watchword zero`: none takes the place of another, and what is private is its holder's alone."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from tests.fixtures.zero_commands import PROGRAM, PROVE, VERIFY, Run, ada, begun, run

from watchword.jose import jwk

__all__ = ["ada", "begun", "run"]

DERIVE = ("derive", "--secret", "ada.secret", "--verifier", "v", "--purpose", "p")
RENEW = ("renew", "--identity", "ada.id", "--secret", "ada.secret")
ATTEST = ("attest", "shown", *VERIFY[2:], "--issuer", "https://registry.example")


def test_a_revocation_that_goes_into_a_registry_is_also_written_where_it_is_wanted(ada: Run) -> None:
    done = ada("revoke", "--secret", "ada.secret", "--registry", "revoked", "--out", "ada.revoked", "--json")
    assert done.code == 0
    assert done.json.items() >= {"revoked": True, "registry": "revoked", "file": "ada.revoked"}.items()
    for revocations in ("revoked", "ada.revoked"):
        refused = ada("verify", "ada.id", "--revocations", revocations)
        assert (refused.code, refused.err) == (1, "error: ada.id: the identity has been revoked\n")


def test_a_revocation_made_in_advance_is_for_its_holder_alone(ada: Run, tmp_path: Path) -> None:
    """Whoever reads it can revoke the identity."""
    made = tmp_path / "ada.revocation"
    assert made.stat().st_mode & 0o777 == 0o600
    before = made.read_bytes()
    again = ada("create", "--secret", "bob.secret", "--revocation", "ada.revocation", "--out", "bob.id")
    assert (again.code, again.err) == (1, "error: ada.revocation: File exists\n")
    assert made.read_bytes() == before, "Ada could not revoke her identity with Bob's"
    assert not (tmp_path / "bob.secret").exists()
    assert ada("revoke", "--certificate", "ada.revocation").code == 0


def test_a_registry_is_read_from_standard_input_as_from_a_file(ada: Run, tmp_path: Path) -> None:
    revoked = ada("revoke", "--secret", "ada.secret", "--format", "json").out
    assert ada("verify", "ada.id", "--revocations", "-", stdin=b"").code == 0
    refused = ada("verify", "ada.id", "--revocations", "-", stdin=revoked)
    assert (refused.code, refused.err) == (1, "error: ada.id: the identity has been revoked\n")
    damaged = ada("verify", "ada.id", "--revocations", "-", stdin=b"{}\n")
    assert (damaged.code, "error: standard input: line 1" in damaged.err) == (1, True)


def test_a_forged_revocation_gets_into_no_registry(ada: Run, tmp_path: Path) -> None:
    """With it in there, nobody would be accepted any more."""
    made = ada("revoke", "--secret", "ada.secret", "--reason", "retired", "--format", "json").out
    (tmp_path / "forged").write_bytes(made.replace(b"retired", b"compromised"))
    refused = ada("revoke", "--certificate", "forged", "--registry", "revoked")
    assert (refused.code, refused.err) == (1, "error: the proof does not hold\n")
    assert not (tmp_path / "revoked").exists()
    (tmp_path / "honest").write_bytes(made)
    assert ada("revoke", "--certificate", "honest", "--registry", "revoked").code == 0


def test_an_issuer_signs_with_one_private_key(ada: Run, tmp_path: Path) -> None:
    assert ada(*PROVE, "--disclose", "age", "--format", "sd-jwt", "--out", "shown").code == 0
    (tmp_path / "key.pub").mkdir()
    assert ada(*ATTEST, "--key", "key").code == 1
    assert not (tmp_path / "key").exists(), "a key whose public half nobody has"
    (tmp_path / "key.pub").rmdir()
    assert ada(*ATTEST, "--key", "key").code == 0
    own = json.loads((tmp_path / "key").read_text())
    public = json.loads((tmp_path / "key.pub").read_text())
    other = jwk.private_document(jwk.generate("RS256"))
    for document, good in (
        ({"keys": [own]}, True),
        ({"keys": []}, False),
        ({"keys": [own, own | {"kid": "2"}]}, False),
        (public, False),
        (other, False),
        ([], False),
    ):
        path = tmp_path / "given"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        done = ada(*ATTEST, "--key", "given")
        assert (done.code == 0, "error: given: not " in done.err) == (good, not good), done.err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ((*PROVE, "--passphrase-file", "-"), "--passphrase-file"),
        (("revoke", "--secret", "ada.secret", "--registry", "-"), "--registry"),
        ((*ATTEST, "--key", "-"), "--key"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_has_to_be_a_file_is_no_stream(
    ada: Run, tmp_path: Path, command: tuple[str, ...], option: str
) -> None:
    before = sorted(tmp_path.iterdir())
    refused = ada(*command, stdin=b"open sesame\n")
    assert (refused.code, f"{option}': this has to be a file" in refused.err) == (2, True), refused.err
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("command", "secret"),
    [
        (("create", "--secret", "bob.secret"), "bob.secret"),
        (
            ("derive", "--secret", "ada.secret", "--verifier", "v", "--purpose", "p", "--new-secret", "new"),
            "new",
        ),
        (("create", "--secret", "bob.secret", "--revocation", "bob.revocation"), "bob.revocation"),
    ],
    ids=["create", "derive", "a revocation made in advance"],
)
def test_no_secret_is_left_of_an_identity_that_could_not_be_written(
    ada: Run, tmp_path: Path, command: tuple[str, ...], secret: str
) -> None:
    refused = ada(*command, "--out", "nowhere/bob.id")
    assert (refused.code, refused.err) == (1, "error: nowhere/bob.id: No such file or directory\n")
    assert not (tmp_path / secret).exists()
    assert ada(*command, "--out", "bob.id").code == 0, "the same again, into a folder that is there"
    assert (tmp_path / secret).exists()


@pytest.mark.parametrize("asked", ["1h", "36h", "365d"])
def test_a_derived_identity_lasts_as_long_as_was_asked_to_the_end_of_a_day(ada: Run, asked: str) -> None:
    for_whom = ("--secret", "ada.secret", "--verifier", "https://api.example", "--purpose", "login")
    assert ada("derive", *for_whom, "--expires", asked, "--out", "pair.id").code == 0
    least = int(time.time()) + {"1h": 3600, "36h": 36 * 3600, "365d": 365 * 86400}[asked]
    made = ada("info", "pair.id", "--json").json
    assert made["expires"] % 86400 == 0
    assert least - 30 <= made["expires"] < least + 86400
    assert ada("verify", "pair.id").code == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    ("out", "kept"), [((), []), (("--out", "bob.id"), ["bob.id", "bob.revocation", "bob.secret"])]
)
def test_a_full_standard_output_leaves_a_secret_only_beside_its_identity(
    run: Run, tmp_path: Path, out: tuple[str, ...], kept: list[str]
) -> None:
    create = [*PROGRAM, "create", "--secret", "bob.secret", "--revocation", "bob.revocation", *out]
    environment = os.environ | {"WATCHWORD_ZERO_PASSPHRASE": "open sesame"}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(create, stdout=full, stderr=subprocess.DEVNULL, env=environment, timeout=60)
    assert done.returncode == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


@pytest.mark.parametrize(
    "command",
    [
        ("create", "--secret", "new.secret", "--out", "new.secret"),
        ("create", "--secret", "new.secret", "--revocation", "new.secret", "--out", "new.id"),
        ("create", "--secret", "new.secret", "--revocation", "new.id", "--out", "new.id"),
        (*DERIVE, "--out", "./ada.secret"),
        (*PROVE, "--out", "ada.secret"),
        (*RENEW, "--out", "ada.secret"),
        ("revoke", "--secret", "ada.secret", "--out", "ada.secret"),
        ("revoke", "--secret", "ada.secret", "--registry", "revoked", "--out", "revoked"),
        ("revoke", "--certificate", "ada.revocation", "--registry", "ada.revocation"),
        ("create", "--secret", "new.secret", "--out", "word", "--passphrase-file", "word"),
        ("create", "--secret", "new.secret", "--revocation", "word", "--passphrase-file", "word"),
        (*DERIVE, "--out", "word", "--passphrase-file", "word"),
        (*PROVE, "--out", "word", "--passphrase-file", "word"),
        (*RENEW, "--out", "word", "--passphrase-file", "word"),
        ("revoke", "--secret", "ada.secret", "--out", "word", "--passphrase-file", "word"),
        (*ATTEST, "--key", "key", "--out", "./key"),
        (*ATTEST, "--key", "key", "--out", "key.pub"),
        (*ATTEST, "--key", "new", "--out", "new"),
    ],
    ids=lambda command: command[0],
)
def test_nothing_is_written_in_the_place_of_a_secret(
    ada: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "word").write_text("open sesame\n")
    (tmp_path / "word").chmod(0o600)
    assert ada(*PROVE, "--format", "sd-jwt", "--out", "shown", "--passphrase-file", "word").code == 0
    assert ada(*ATTEST, "--key", "key", "--out", "credential").code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    refused = ada(*command)
    assert (refused.code, "names of their own" in " ".join(refused.err.split())) == (2, True), refused.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = ("--identity", "ada.id", "--secret", "ada.secret", "--expires", "500d", "--out", "ada.id")
    assert ada("renew", *again).code == 0, "what is no secret may be replaced"
