"""What a verifier of `watchword zero` gives out, and whose answers it takes."""

import time

import pytest
from tests.cli.test_zero_commands import PROVE, VERIFY, Run, ada, run

__all__ = ["ada", "run"]

ISSUER = ("--issuer", "https://registry.example")


def test_a_challenge_is_of_now_and_may_be_answered_as_long_as_its_maker_says(run: Run) -> None:
    for more, life in (((), 120), (("--lifetime", "1w"), 604_800)):
        before = int(time.time())
        made = run(
            "challenge", "--verifier", "https://api.example", "--purpose", "login", *more, "--json"
        ).json
        assert before <= made["issued"] <= int(time.time())
        assert made["expires"] - made["issued"] == life


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
