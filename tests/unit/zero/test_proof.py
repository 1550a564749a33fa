"""A proof is worth nothing to another verifier, for another purpose, another challenge, channel or time."""

import ast
import hashlib
import inspect
import sys
from types import FrameType
from typing import Any

import pytest
from msgspec import structs
from tests.unit.zero.refusing import refused

from watchword.credentials.zkproof import ZeroError
from watchword.zero import derivation, disclosure, proof
from watchword.zero.records import Proof, Secret, encode_base64url

CHANNEL = proof.dpop_channel("A" * 43)


def answer(holder: Any, **changes: Any) -> Proof:
    arguments = {"channel": CHANNEL, "now": holder.now + 1, "randomness": b"p" * 32, **changes}
    return proof.prove(holder.secret, holder.challenge, **arguments)


def verify(holder: Any, answered: Proof, **changes: Any) -> proof.Verified:
    arguments = {
        "identity_public": holder.identity.public,
        "verifier": "https://api.example",
        "purpose": "login",
        "challenge": b"c" * 32,
        "channel": CHANNEL,
        "now": holder.now + 2,
        "leeway": 0,
        "commitments": holder.identity.commitments,
        **changes,
    }
    return proof.verify_proof(answered, **arguments)


def test_an_honest_proof_is_accepted_and_says_what_it_was_bound_to(holder: Any) -> None:
    verified = verify(holder, answer(holder, disclose=["email", "age"]))
    assert verified == proof.Verified(
        public=holder.identity.public,
        verifier="https://api.example",
        purpose="login",
        challenge=b"c" * 32,
        channel=CHANNEL,
        issued=holder.now + 1,
        expires=holder.now + 121,
        attributes={"email": "ada@example.org", "age": 33},
    )


ATTACKS = {
    "replay: an old proof does not answer a fresh challenge": ({"challenge": b"d" * 32}, "challenge"),
    "replay: a challenge cut short is another challenge": ({"challenge": b"c" * 31}, "challenge"),
    "relay: a proof made for another DPoP key's channel": (
        {"channel": proof.dpop_channel("B" * 43)},
        "channel",
    ),
    "relay: a proof made for another TLS connection": ({"channel": proof.tls_channel(b"x" * 32)}, "channel"),
    "relay: a bound proof where no channel is known": ({"channel": None}, "channel"),
    "wrong purpose": ({"purpose": "payment"}, "purpose"),
    "wrong verifier": ({"verifier": "https://evil.example"}, "verifier"),
    "wrong verifier: a suffix more": ({"verifier": "https://api.example.evil"}, "verifier"),
    "expired": ({"now": 1_800_000_121}, "expired"),
    "expired, beyond the leeway": ({"now": 1_800_000_151, "leeway": 30}, "expired"),
    "not valid yet": ({"now": 1_800_000_000}, "not_yet_valid"),
    "another identity": ({"identity_public": derivation.public_of(b"o" * 32)}, "identity"),
    "an interactive verifier that saw another commitment": ({"commitment": b"v" * 32}, "commitment"),
}


@pytest.mark.parametrize(("changes", "reason"), ATTACKS.values(), ids=ATTACKS.keys())
def test_attacks(holder: Any, changes: dict[str, Any], reason: str) -> None:
    answered = answer(holder)
    assert verify(holder, answered)
    assert refused(lambda: verify(holder, answered, **changes)) == reason


# The attacker rewrites the proof to say what the verifier wants: the response no longer holds.
REWRITTEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "challenge": ({"challenge": b"d" * 32}, {"challenge": b"d" * 32}, "proof"),
    "verifier": ({"verifier": "https://b.example"}, {"verifier": "https://b.example"}, "proof"),
    "purpose": ({"purpose": "payment"}, {"purpose": "payment"}, "proof"),
    "channel": ({"channel": b"jkt:B"}, {"channel": b"jkt:B"}, "proof"),
    "no channel": ({"channel": b""}, {"channel": None}, "proof"),
    "a later end": ({"expires": 1_800_000_500}, {"now": 1_800_000_400}, "proof"),
    "a later beginning": ({"issued": 1_800_000_002}, {}, "proof"),
    "a life too long": ({"expires": 1_800_000_602}, {}, "lifetime"),
    "an end before its beginning": ({"expires": 1_800_000_001}, {}, "lifetime"),
    "no disclosure": ({"disclosures": ()}, {}, "proof"),
    "the identity": (
        {"public": derivation.public_of(b"o" * 32)},
        {"identity_public": derivation.public_of(b"o" * 32)},
        "proof",
    ),
    "the commitment": ({"commitment": derivation.public_of(b"o" * 32)}, {}, "proof"),
    "the commitment, off the curve": ({"commitment": b"\x02" + bytes(31)}, {}, "point"),
    "the response": ({"response": b"\x01" + bytes(31)}, {}, "proof"),
    "the response, zero": ({"response": bytes(32)}, {}, "scalar"),
}


@pytest.mark.parametrize(("changes", "expected", "reason"), REWRITTEN.values(), ids=REWRITTEN.keys())
def test_a_rewritten_proof_is_refused(
    holder: Any, changes: dict[str, Any], expected: dict[str, Any], reason: str
) -> None:
    honest = answer(holder, disclose=["age"])
    assert verify(holder, honest)
    assert refused(lambda: verify(holder, structs.replace(honest, **changes), **expected)) == reason


def test_an_attribute_that_the_identity_does_not_hold_cannot_be_disclosed(holder: Any) -> None:
    """Even by the holder of the key: it may add what it likes to its secret, but not to the registered identity."""
    assert verify(holder, answer(holder, disclose=["age"])).attributes == {"age": 33}
    liar = Secret(holder.secret.seed, disclosure.pack_attributes({"age": 99}))
    lie = proof.prove(
        liar, holder.challenge, channel=CHANNEL, disclose=["age"], now=holder.now, randomness=b"p" * 32
    )
    assert refused(lambda: verify(holder, lie)) == "disclosure"


def test_without_registered_commitments_nothing_may_be_disclosed(holder: Any) -> None:
    assert refused(lambda: verify(holder, answer(holder, disclose=["age"]), commitments=())) == "disclosure"
    assert verify(holder, answer(holder), commitments=())


def test_what_is_not_disclosed_does_not_appear(holder: Any) -> None:
    shown = repr(structs.asdict(answer(holder, disclose=["age"])))
    texts = [
        disclosure.write(holder.secret.seed, name, value)
        for name, value in (("email", "ada@example.org"), ("member", True))
    ]
    assert all(text not in shown and disclosure.digest(text) not in shown for text in texts)


@pytest.mark.parametrize(
    ("lifetime", "now", "leeway", "good"),
    [
        (600, 1, 0, True),
        (600, 600, 0, True),
        (600, 601, 0, False),
        (1, 1, 0, True),
        (1, 2, 0, False),
        (1, 0, 0, False),
        (1, 31, 30, True),
        (1, 32, 30, False),
        (1, -29, 30, True),
        (1, -30, 30, False),
    ],
)
def test_a_proof_is_good_from_its_first_second_to_its_last(
    holder: Any, lifetime: int, now: int, leeway: int, good: bool
) -> None:
    answered = answer(holder, lifetime=lifetime)
    if good:
        assert verify(holder, answered, now=holder.now + now, leeway=leeway).issued == holder.now + 1
    else:
        assert refused(lambda: verify(holder, answered, now=holder.now + now, leeway=leeway))


@pytest.mark.parametrize(
    ("moved", "leeway", "reason"),
    [
        (0, 0, ""),
        (-1, 0, "not_yet_valid"),
        (119, 0, ""),
        (120, 0, "expired"),
        (-30, 30, ""),
        (-31, 30, "not_yet_valid"),
        (149, 30, ""),
        (150, 30, "expired"),
    ],
)
def test_a_challenge_is_good_from_its_first_second_to_its_last(
    holder: Any, moved: int, leeway: int, reason: str
) -> None:
    def ask() -> None:
        given = {"leeway": leeway} if leeway else {}
        proof.check_challenge(holder.challenge, now=holder.now + moved, **given)

    if reason:
        assert refused(ask) == reason
    else:
        ask()


def test_a_holders_clock_may_differ_by_two_minutes(holder: Any) -> None:
    for now in (1_799_999_880, 1_800_000_239):
        assert verify(holder, answer(holder, now=now), now=now).issued == now


def test_a_connection_is_named_by_the_digest_of_its_exporter() -> None:
    assert proof.tls_channel(bytes(32)) == b"tls-exporter:" + hashlib.sha256(bytes(32)).digest()


def test_the_interactive_protocol(holder: Any) -> None:
    prover = proof.Prover(holder.secret, b"n" * 32)
    seen = prover.commitment
    answered = prover.respond(holder.challenge, channel=CHANNEL, now=holder.now + 1)
    assert verify(holder, answered, commitment=seen).channel == CHANNEL


def test_a_prover_answers_once(holder: Any) -> None:
    """Two answers to one commitment give the secret away (see the extractor in test_zkproof)."""
    prover = proof.Prover(holder.secret, b"n" * 32)
    prover.respond(holder.challenge, channel=None, now=holder.now)
    other = proof.issue_challenge("https://api.example", "login", b"d" * 32, holder.now, 120)
    assert refused(lambda: prover.respond(other, channel=None, now=holder.now)) == "nonce"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"now": 1_800_000_240}, "expired", id="an expired challenge is not answered"),
        pytest.param(
            {"now": 1_799_999_879}, "not_yet_valid", id="a challenge from the future is not answered"
        ),
        pytest.param({"lifetime": 0}, "lifetime", id="a proof lives at least a second"),
        pytest.param({"lifetime": 601}, "lifetime", id="a proof lives at most ten minutes"),
        pytest.param({"disclose": ["salary"]}, "attribute", id="an unknown attribute is not disclosed"),
        pytest.param({"randomness": b"short"}, "randomness", id="too little randomness"),
        pytest.param({"channel": b"x" * 257}, "malformed", id="a channel too long"),
    ],
)
def test_what_a_holder_refuses(holder: Any, changes: dict[str, Any], reason: str) -> None:
    assert answer(holder)
    assert refused(lambda: answer(holder, **changes)) == reason


@pytest.mark.parametrize(
    ("verifier", "purpose", "randomness", "lifetime"),
    [
        pytest.param("", "login", b"c" * 32, 60, id="no verifier"),
        pytest.param("https://a\n", "login", b"c" * 32, 60, id="a line feed"),
        pytest.param("https://\u0430pi", "login", b"c" * 32, 60, id="a letter that only looks Latin"),
        pytest.param("https://a", "log\x00in", b"c" * 32, 60, id="NUL"),
        pytest.param("https://a", "\ud800", b"c" * 32, 60, id="a lone surrogate"),
        pytest.param("https://a", "p" * 513, b"c" * 32, 60, id="a purpose too long"),
        pytest.param("https://a", "login", b"c" * 15, 60, id="15 random bytes"),
        pytest.param("https://a", "login", b"c" * 32, 10**5000, id="a lifetime of 5,000 digits"),
        pytest.param("https://a", "login", b"c" * 32, -(10**12), id="a negative end"),
    ],
)
def test_challenges_that_are_not_made(verifier: str, purpose: str, randomness: bytes, lifetime: int) -> None:
    assert proof.issue_challenge("https://a", "login", b"c" * 32, 1_800_000_000, 60)
    assert (
        refused(lambda: proof.issue_challenge(verifier, purpose, randomness, 1_800_000_000, lifetime))
        == "malformed"
    )


def test_bindings_are_compared_in_constant_time() -> None:
    source = inspect.getsource(proof._check_bound)
    assert "compare_digest" in source
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Compare)]


def test_a_secret_never_shows_in_its_own_text(holder: Any) -> None:
    for text in (repr(holder.secret), str(holder.secret)):
        assert encode_base64url(holder.secret.seed) not in text
        assert repr(holder.secret.seed) not in text
        assert "ada@" not in text


def answers(holder: Any, prover: proof.Prover) -> int:
    try:
        prover.respond(holder.challenge, channel=CHANNEL, now=holder.now + 1)
    except ZeroError:
        return 0
    return 1


def answers_with_another(holder: Any, moment: int) -> tuple[int, int]:
    """Answer, and once more after so many instructions, as another thread might; return how many were given, and the instructions."""
    prover, steps = proof.Prover(holder.secret, b"n" * 32), 0
    given: list[int] = []

    def between(frame: FrameType, event: str, _: object) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        if event == "opcode" and steps == moment:
            given.append(answers(holder, prover))
        return between

    before = sys.gettrace()
    sys.settrace(lambda frame, *_: between if frame.f_code is proof.Prover.respond.__code__ else None)
    try:
        given.append(answers(holder, prover))
    finally:
        sys.settrace(before)
    return sum(given), steps


def test_of_two_answers_to_one_commitment_one_is_given_whenever_the_other_is_asked_for(holder: Any) -> None:
    given, steps = answers_with_another(holder, 0)
    assert (given, steps > 20) == (1, True)
    for moment in range(1, steps + 1):
        assert answers_with_another(holder, moment)[0] == 1, moment
