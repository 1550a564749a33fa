"""What a verifier of `watchword zero` gives out, and whose answers it takes."""

import hashlib
import time
from pathlib import Path

import pytest
from tests.fixtures.zero_commands import PROVE, VERIFY, Run, ada, begun, run

from watchword.zero import files
from watchword.zero.records import Challenge, Proof

__all__ = ["ada", "begun", "run"]

ISSUER = ("--issuer", "https://registry.example")


def test_a_challenge_is_of_now_and_may_be_answered_as_long_as_its_maker_says(run: Run) -> None:
    for more, life in (((), 120), (("--lifetime", "1w"), 604_800)):
        before = int(time.time())
        made = run(
            "challenge", "--verifier", "https://api.example", "--purpose", "login", *more, "--json"
        ).json
        assert before <= made["issued"] <= int(time.time())
        assert made["expires"] - made["issued"] == life


def test_a_challenge_of_yesterday_is_answered_no_more(ada: Run, tmp_path: Path) -> None:
    assert ada(*PROVE, "--out", "answer").code == 0
    assert ada(*VERIFY).code == 0
    asked, now = files.read_record(str(tmp_path / "asked"), Challenge), int(time.time())
    old = Challenge(asked.verifier, asked.purpose, asked.challenge, now - 86_400, now - 86_280)
    files.write_record(str(tmp_path / "asked"), old, "text")
    refused = ada(*VERIFY)
    assert (refused.code, refused.err) == (1, "error: asked: the challenge has expired\n")


def test_a_tls_connection_is_a_channel(ada: Run, tmp_path: Path) -> None:
    exporter = bytes(range(32))
    channel = ("--channel", f"tls-exporter:{exporter.hex()}")
    assert ada(*PROVE, *channel, "--out", "answer").code == 0
    bound = files.read_record(str(tmp_path / "answer"), Proof).channel
    assert bound == b"tls-exporter:" + hashlib.sha256(exporter).digest()
    assert ada(*VERIFY, *channel).code == 0
    for other in ((), ("--channel", f"tls-exporter:{bytes(32).hex()}")):
        assert ada(*VERIFY, *other).err == "error: answer: the proof is bound to another channel\n"
    short = ada(*VERIFY, "--channel", f"tls-exporter:{exporter[:31].hex()}")
    assert (short.code, "A channel is" in short.err) == (2, True)


def test_people_read_lines_of_names_and_values(ada: Run) -> None:
    lines = ada("verify", "ada.id").out.decode().splitlines()
    said = dict(line.split(maxsplit=1) for line in lines)
    assert (said["valid"], said["kind"], said["commitments"]) == ("yes", "identity", "4")
    assert len({line.index(line.split()[1]) for line in lines}) == 1, "values stand below each other"


def test_people_read_days_and_programs_seconds(ada: Run, tmp_path: Path) -> None:
    seconds = ada("info", "ada.id", "--json").json["expires"]
    day = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(seconds))
    said = dict(line.split(maxsplit=1) for line in ada("info", "ada.id").out.decode().splitlines())
    assert said["expires"] == day
    beyond = Challenge("https://api.example", "login", bytes(16), 0, 2**53 - 1)  # Python's calendar
    files.write_record(str(tmp_path / "late"), beyond, "text")
    late = ada("info", "late")
    assert (late.code, str(2**53 - 1) in late.out.decode()) == (0, True)


@pytest.mark.parametrize("form", ["text", "sd-jwt"])
@pytest.mark.parametrize("opened", [(), ("age",), ("age", "email")], ids=len)
def test_a_derived_identity_opens_as_many_of_its_attributes_as_it_wants(
    ada: Run, form: str, opened: tuple[str, ...]
) -> None:
    """Whoever derives it again for the answer knows those that are opened, and not which others it was registered with."""
    for_whom = ("--secret", "ada.secret", "--verifier", "https://api.example", "--purpose", "login")
    assert ada("derive", *for_whom, "--keep", "age", "--keep", "email", "--out", "pair.id").code == 0
    names = [option for name in opened for option in ("--disclose", name)]
    assert ada(*PROVE, "--derive-for", "login", *names, "--format", form, "--out", "answer").code == 0
    accepted = ada("verify-proof", "answer", "--identity", "pair.id", "--challenge", "asked", "--json")
    assert set(accepted.json.get("attributes", accepted.json)) == set(opened)


@pytest.mark.parametrize("whose", ["ada", "bob"])
def test_an_issuers_word_is_for_the_identity_that_it_knows(ada: Run, whose: str) -> None:
    """Bob cannot show for Ada what the issuer knows of him."""
    assert ada("create", "--secret", "bob.secret", "--out", "bob.id", "-a", "age:=33").code == 0
    prove = (*PROVE[:3], "--secret", f"{whose}.secret", *PROVE[5:], "--disclose", "age")
    known = ("--identity", f"{whose}.id", "--challenge", "asked")
    shown = ada(*prove, "--format", "sd-jwt", "--out", "shown", "--json")
    assert (shown.code, shown.json) == (0, {"file": "shown", "kind": "sd-jwt"})
    attested = ada("attest", "shown", *known, *ISSUER, "--key", "key", "--out", "credential", "--json")
    assert (attested.code, attested.json) == (0, {"file": "credential", "kind": "sd-jwt"})
    assert ada(*prove, "--credential", "credential", "--out", "answer").code == 0
    trusting = (*ISSUER, "--issuer-key", "key.pub", "--json")
    assert ada(VERIFY[0], "answer", *known, *trusting).json["purpose"] == "login"
    of_ada = ada(*VERIFY, *trusting)
    assert of_ada.json.get("error") == (None if whose == "ada" else "identity")


def test_without_a_terminal_a_secret_that_is_not_named_is_wrong_usage(ada: Run) -> None:
    assert ada(*PROVE).code == 0
    refused = ada(*PROVE[:3], *PROVE[5:], stdin=b"ada.secret\n")
    assert (refused.code, refused.out) == (2, b"")
    assert "Missing option '--secret'" in refused.err
