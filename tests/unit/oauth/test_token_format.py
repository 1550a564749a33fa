"""Credentials as texts: recognisable, checked offline, and in the order in which they were made where that helps."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.oauth import token_format
from watchword.oauth.token_format import (
    ENTROPY_BYTES,
    KINDS,
    digest,
    is_well_formed,
    kind_of,
    make,
    ordered_digest,
    time_mark,
)

RANDOM = bytes(range(ENTROPY_BYTES))
# Bytes of which enough are left when the uneven ones are.
ENTROPY = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES).filter(
    lambda drawn: sum(byte < 248 for byte in drawn) >= 30
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised_and_no_other(kind: str) -> None:
    token = make("ww", kind, RANDOM)
    assert kind_of(token, "ww") == kind
    assert re.fullmatch(token_format.pattern("ww"), token)
    assert [other for other in KINDS if is_well_formed(token, "ww", other)] == [kind]
    assert kind_of(token, "wx") is None


@given(randomness=ENTROPY, at=st.integers(0, 35))
def test_a_garbled_character_is_noticed(randomness: bytes, at: int) -> None:
    token = make("ww", "a", randomness, "")
    assert is_well_formed(token, "ww", "a")
    place = 4 + at
    other = "1" if token[place] != "1" else "2"
    assert not is_well_formed(token[:place] + other + token[place + 1 :], "ww", "a")


@given(randomness=ENTROPY, now=st.floats(0, 4e9))
def test_a_time_mark_takes_the_place_of_five_characters_and_of_no_more_randomness(
    randomness: bytes, now: float
) -> None:
    token, whole = make("ww", "o", randomness, time_mark(now)), make("ww", "o", randomness)
    assert is_well_formed(token, "ww", "o")
    assert len(token) == len(whole)
    assert token[4:9] == time_mark(now)
    assert token[9:34] == whole[4:29]
    assert 62**25 > 2**148


def test_a_refresh_token_shares_the_mark_of_its_family_and_is_else_its_own() -> None:
    first = make("ww", "r", RANDOM)
    mark = token_format.family_mark(first)
    second = make("ww", "r", RANDOM[::-1], mark)
    assert token_format.family_mark(second) == mark == first[4:12]
    assert second[12:34] != first[12:34]
    assert 62 ** (token_format.BODY_LENGTH - token_format.MARK_LENGTH) > 2**128, "RFC 6749 §10.10"


def test_a_seal_tells_what_was_made_from_what_was_made_up() -> None:
    key, other = bytes(32), bytes(31) + b"1"
    token = token_format.make_refresh_token("ww", RANDOM, key, "markmark")
    assert is_well_formed(token, "ww", "r")
    assert token_format.family_mark(token) == "markmark"
    assert token_format.is_sealed(token, key)
    assert not token_format.is_sealed(token, other)
    made_up = make("ww", "r", RANDOM[::-1], "markmark")
    assert not token_format.is_sealed(made_up, key)
    for place in range(4, 34):
        changed = token[:place] + ("1" if token[place] != "1" else "2") + token[place + 1 :]
        assert not token_format.is_sealed(changed, key)


def test_no_character_is_likelier_than_another() -> None:
    drawn = make("ww", "a", bytes(range(30)))[4:34] + make("ww", "a", bytes(range(30, 60)))[4:34]
    assert set(drawn) == set(token_format.ALPHABET[:60])
    every = "".join(make("ww", "a", bytes([byte]) * 30)[4] for byte in range(248))
    assert {every.count(one) for one in token_format.ALPHABET} == {4}
    with pytest.raises(ValueError, match="randomness"):
        make("ww", "a", bytes(range(248, 256)) * 40)


def test_randomness_cannot_be_traded_for_more_of_a_mark() -> None:
    assert make("ww", "o", RANDOM, "00000000")
    with pytest.raises(ValueError, match="randomness"):
        make("ww", "o", RANDOM, "000000000")
    with pytest.raises(ValueError, match="randomness"):
        make("ww", "o", RANDOM[:29])


def test_marks_sort_as_time_goes_by() -> None:
    marks = [time_mark(1_800_000_000 + seconds / 50) for seconds in range(5000)]
    assert marks == sorted(marks)
    assert len(set(marks)) == len(marks)


@given(randomness=ENTROPY)
def test_what_is_stored_of_an_access_token_is_its_mark_and_its_hash(randomness: bytes) -> None:
    token = make("ww", "o", randomness, "abcde")
    stored = ordered_digest(token)
    assert stored == b"abcde" + hashlib.sha256(token.encode()).digest()[:27]
    assert stored != digest(token)
    secret = token[9:34]  # behind the mark
    assert not any(secret[start : start + 6].encode() in stored for start in range(20))


@pytest.mark.parametrize("token", ["", "_", "é", "\ud800", "ww", "wwo_", "wwo_é" * 9, "\x00" * 40])
def test_a_text_of_any_kind_has_a_digest(token: str) -> None:
    assert isinstance(digest(token), bytes)
    assert isinstance(ordered_digest(token), bytes)
