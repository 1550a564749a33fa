"""RFC 8235: completeness, soundness, zero knowledge, and every encoding that must be refused."""

import ast
import importlib.util
import inspect
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.credentials import zkproof
from watchword.credentials.zkproof import Schnorr, ZeroError

_PATH = Path(__file__).parents[2] / "vectors" / "zero" / "reference.py"
_SPEC = importlib.util.spec_from_file_location("zero_reference", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
ref: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(ref)

wide = st.binary(min_size=64, max_size=64).filter(any)
short = st.binary(min_size=32, max_size=32)
fields = st.lists(st.binary(max_size=40), max_size=5)

SECRET = zkproof.scalar_from(b"\x07" * 64)
PUBLIC = zkproof.public_point(SECRET)
HONEST = zkproof.prove("test", SECRET, (b"context",), b"r" * 32)


def number(scalar: bytes) -> int:
    return int.from_bytes(scalar, "little")


@settings(max_examples=30)
@given(wide, fields, short)
def test_completeness_every_honest_proof_verifies(
    uniform: bytes, bound: list[bytes], randomness: bytes
) -> None:
    secret = zkproof.scalar_from(uniform)
    proof = zkproof.prove("test", secret, bound, randomness)
    zkproof.check("test", zkproof.public_point(secret), bound, proof)


@settings(max_examples=30)
@given(wide, wide, wide)
def test_completeness_of_the_interactive_protocol(a: bytes, v: bytes, c: bytes) -> None:
    secret, nonce, challenge = (zkproof.scalar_from(uniform) for uniform in (a, v, c))
    proof = Schnorr(zkproof.public_point(nonce), zkproof.respond(secret, nonce, challenge))
    assert zkproof.holds(zkproof.public_point(secret), proof, challenge)


@settings(max_examples=30)
@given(wide, wide, wide, wide)
def test_soundness_two_answers_to_one_commitment_give_the_secret_away(
    a: bytes, v: bytes, c1: bytes, c2: bytes
) -> None:
    """The extractor: why a nonce must never serve twice, and why answering means knowing the secret."""
    secret, nonce, first, second = (zkproof.scalar_from(uniform) for uniform in (a, v, c1, c2))
    if first == second:
        return
    r1, r2 = (number(zkproof.respond(secret, nonce, challenge)) for challenge in (first, second))
    extracted = (r1 - r2) * pow(number(second) - number(first), -1, ref.L) % ref.L
    assert ref.scalar_bytes(extracted) == secret
    assert zkproof.public_point(ref.scalar_bytes(extracted)) == zkproof.public_point(secret)


def simulate(public: bytes, response: int, challenge: int) -> tuple[bytes, bytes, bytes]:
    """Make an accepting transcript without the secret: choose response and challenge, then V = rG + cA."""
    point = ref.decode(public)
    commitment = ref.add(ref.multiply(response, ref.G), ref.multiply(challenge, point))
    return ref.encode(commitment), ref.scalar_bytes(challenge), ref.scalar_bytes(response)


@settings(max_examples=15)
@given(wide, wide)
def test_zero_knowledge_simulated_transcripts_verify_and_are_exactly_the_honest_ones(
    r: bytes, c: bytes
) -> None:
    """For every (c, r) there is one accepting V, and one nonce with which the honest prover says the same.

    So (V, c, r) is distributed alike whether r is chosen (simulator) or v is (prover): v ↦ r is a bijection.
    """
    response, challenge = zkproof.scalar_from(r), zkproof.scalar_from(c)
    commitment, _, _ = simulate(PUBLIC, number(response), number(challenge))
    assert zkproof.holds(PUBLIC, Schnorr(commitment, response), challenge)
    nonce = ref.scalar_bytes(number(response) + number(challenge) * number(SECRET))
    assert zkproof.public_point(nonce) == commitment
    assert zkproof.respond(SECRET, nonce, challenge) == response


def test_zero_knowledge_honest_responses_are_spread_like_simulated_ones() -> None:
    """A chi-square over the low four bits of the response, for one challenge; the seeds are fixed."""
    challenge = zkproof.scalar_from(b"\x11" * 64)
    nonces = [zkproof.hedge_nonce(SECRET, n.to_bytes(32, "big")) for n in range(3200)]
    counts = Counter(zkproof.respond(SECRET, nonce, challenge)[0] & 15 for nonce in nonces)
    statistic = sum((counts[bucket] - 200) ** 2 / 200 for bucket in range(16))
    assert statistic < 45  # 15 degrees of freedom: exceeded once in 10,000


@settings(max_examples=10)
@given(wide, fields, short)
def test_the_second_implementation_agrees(uniform: bytes, bound: list[bytes], randomness: bytes) -> None:
    secret = zkproof.scalar_from(uniform)
    assert number(secret) == int.from_bytes(uniform, "little") % ref.L
    public = zkproof.public_point(secret)
    assert public == ref.encode(ref.multiply(number(secret), ref.G))
    proof = zkproof.prove("test", secret, bound, randomness)
    assert ref.accepts("test", public, proof.commitment, proof.response, *bound)


TORSION = ref.torsion()
MIXED = [ref.add(ref.decode(PUBLIC), point) for point in TORSION[1:]]
BAD_POINTS = {
    "the identity is refused": ref.encode(ref.IDENTITY),
    **{
        f"the point of small order {n} is refused": ref.encode(point)
        for n, point in enumerate(TORSION[1:], 1)
    },
    **{f"the point of mixed order {n} is refused": ref.encode(point) for n, point in enumerate(MIXED, 1)},
    "the identity with its sign bit set is refused": (1 | 1 << 255).to_bytes(32, "little"),
    "y = p + 1, the identity not canonical, is refused": (ref.P + 1).to_bytes(32, "little"),
    "y = p is refused": ref.P.to_bytes(32, "little"),
    "y = 2^255 - 1 is refused": (2**255 - 1).to_bytes(32, "little"),
    "all ones is refused": b"\xff" * 32,
    "all zeros is refused": bytes(32),
    "y = 2, not on the curve, is refused": (2).to_bytes(32, "little"),
    "31 bytes are refused": PUBLIC[:31],
    "33 bytes are refused": PUBLIC + b"\0",
    "no bytes are refused": b"",
}
BAD_SCALARS = {
    "zero is refused": bytes(32),
    "the order is refused": ref.L.to_bytes(32, "little"),
    "the order plus one is refused": (ref.L + 1).to_bytes(32, "little"),
    "a response plus the order is refused": (number(HONEST.response) + ref.L).to_bytes(32, "little"),
    "a set top bit is refused": (number(HONEST.response) | 1 << 255).to_bytes(32, "little"),
    "all ones is refused": b"\xff" * 32,
    "31 bytes are refused": HONEST.response[:31],
    "33 bytes are refused": HONEST.response + b"\0",
}


@pytest.mark.parametrize("point", BAD_POINTS.values(), ids=BAD_POINTS.keys())
def test_points(point: bytes) -> None:
    zkproof.check("test", PUBLIC, (b"context",), HONEST)
    assert not ref.member(point)
    attempts: list[Callable[[], object]] = [
        lambda: zkproof.check("test", point, (b"context",), HONEST),
        lambda: zkproof.check("test", PUBLIC, (b"context",), Schnorr(point, HONEST.response)),
    ]
    for attempt in attempts:
        with pytest.raises(ZeroError) as refused:
            attempt()
        assert refused.value.reason == "point"


@pytest.mark.parametrize("scalar", BAD_SCALARS.values(), ids=BAD_SCALARS.keys())
def test_scalars(scalar: bytes) -> None:
    zkproof.check("test", PUBLIC, (b"context",), HONEST)
    attempts: list[Callable[[], object]] = [
        lambda: zkproof.check("test", PUBLIC, (b"context",), Schnorr(HONEST.commitment, scalar)),
        lambda: zkproof.public_point(scalar),
        lambda: zkproof.respond(scalar, SECRET, SECRET),
        lambda: zkproof.respond(SECRET, scalar, SECRET),
        lambda: zkproof.respond(SECRET, SECRET, scalar),
    ]
    for attempt in attempts:
        with pytest.raises(ZeroError) as refused:
            attempt()
        assert refused.value.reason == "scalar"


@settings(max_examples=60)
@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_decoders_raise_nothing_but_their_own_error(point: bytes, commitment: bytes, response: bytes) -> None:
    with pytest.raises(ZeroError):
        zkproof.check("test", point, (), Schnorr(commitment, response))


@settings(max_examples=60)
@given(short)
def test_points_are_accepted_exactly_when_the_second_implementation_finds_them_in_the_group(
    data: bytes,
) -> None:
    try:
        accepted = bool(zkproof.check_point(data))
    except ZeroError:
        accepted = False
    assert accepted == ref.member(data)


@pytest.mark.parametrize(
    ("domain", "bound"),
    [
        pytest.param("other", (b"context",), id="another domain is refused"),
        pytest.param("test", (b"contexu",), id="another field is refused"),
        pytest.param("test", (b"con", b"text"), id="the same bytes cut otherwise are refused"),
        pytest.param("test", (b"context", b""), id="one more empty field is refused"),
        pytest.param("test", (), id="no field is refused"),
    ],
)
def test_a_proof_holds_in_its_own_context_only(domain: str, bound: tuple[bytes, ...]) -> None:
    zkproof.check("test", PUBLIC, (b"context",), HONEST)
    with pytest.raises(ZeroError) as refused:
        zkproof.check(domain, PUBLIC, bound, HONEST)
    assert refused.value.reason == "proof"


def test_a_proof_for_another_key_is_refused() -> None:
    other = zkproof.public_point(zkproof.scalar_from(b"\x08" * 64))
    with pytest.raises(ZeroError):
        zkproof.check("test", other, (b"context",), HONEST)


def test_repeated_randomness_never_meets_two_challenges() -> None:
    """The nonce hashes the context in: a stuck random generator does not give the secret away."""
    again = zkproof.prove("test", SECRET, (b"context",), b"r" * 32)
    assert again == HONEST
    elsewhere = zkproof.prove("test", SECRET, (b"other context",), b"r" * 32)
    assert elsewhere.commitment != HONEST.commitment


def test_too_little_randomness_is_refused() -> None:
    with pytest.raises(ZeroError):
        zkproof.prove("test", SECRET, (), b"r" * 31)
    with pytest.raises(ZeroError):
        zkproof.scalar_from(os.urandom(63))
    with pytest.raises(ZeroError):
        zkproof.scalar_from(bytes(64))


@pytest.mark.parametrize(
    "function", [zkproof.holds, zkproof.check_scalar], ids=lambda function: function.__name__
)
def test_secrets_and_proofs_are_compared_in_constant_time(function: Callable[..., object]) -> None:
    source = inspect.getsource(function)
    tree = ast.parse(source)
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    assert "compare_digest" in source
    assert all("len(" in ast.unparse(node) for node in compared)
