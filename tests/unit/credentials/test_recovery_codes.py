"""Recovery codes: enough entropy, readable, found again however they are typed. Row MF-05."""

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.credentials import recovery_codes
from watchword.credentials.recovery_codes import RecoveryCodeRefused

RANDOM = hashlib.shake_256(b"recovery").digest(150)
CODES = recovery_codes.generate(RANDOM)


def test_ten_codes_of_120_bits_are_made() -> None:
    assert len(set(CODES)) == 10
    for code in CODES:
        groups = code.split("-")
        assert [len(group) for group in groups] == [4] * 6
        assert not set(code) & set("ilou")
    assert recovery_codes.generate(bytes(150))[0] == "-".join(["0000"] * 6)
    assert recovery_codes.generate(b"\xff" * 150)[0] == "-".join(["zzzz"] * 6)


def test_every_random_bit_is_in_the_code() -> None:
    changed = [recovery_codes.generate(bytes([1 << bit]) + RANDOM[1:])[0] for bit in range(8)]
    assert len(set(changed)) == 8


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param(CODES[3].upper(), id="in capitals"),
        pytest.param(CODES[3].replace("-", ""), id="without groups"),
        pytest.param(CODES[3].replace("-", " "), id="with spaces"),
        pytest.param(f"  {CODES[3]}\n", id="with white space around"),
        pytest.param(CODES[3].replace("-", "–"), id="with dashes that a word processor made"),
        pytest.param(CODES[3].replace("0", "O").replace("1", "l"), id="with letters for zero and one"),
    ],
)
def test_a_code_is_the_same_however_it_is_typed(typed: str) -> None:
    assert recovery_codes.digest(typed) == recovery_codes.digest(CODES[3])
    assert recovery_codes.digest(typed) != recovery_codes.digest(CODES[4])


def test_only_a_digest_is_kept() -> None:
    plain = CODES[0].replace("-", "")
    assert recovery_codes.digest(CODES[0]) == hashlib.sha256(plain.encode()).digest()


@pytest.mark.parametrize(
    "typed",
    [
        "",
        CODES[0][:-1],
        CODES[0] + "0",
        CODES[0][:-1] + "u",
        CODES[0][:-1] + "é",
        CODES[0] + "\x00",
        "\ud800",
        "0" * 1_000_000,
    ],
)
def test_what_is_no_code_is_refused(typed: str) -> None:
    assert recovery_codes.digest(CODES[0])
    with pytest.raises(RecoveryCodeRefused):
        recovery_codes.digest(typed)


@given(st.text(st.characters(exclude_categories=()), max_size=70))
def test_whatever_is_typed_has_a_digest_or_is_refused(typed: str) -> None:
    with contextlib.suppress(RecoveryCodeRefused):
        assert len(recovery_codes.digest(typed)) == 32


@pytest.mark.parametrize("length", [0, 149, 151])
def test_randomness_of_another_length_is_a_mistake(length: int) -> None:
    with pytest.raises(ValueError, match="150"):
        recovery_codes.generate(bytes(length))
