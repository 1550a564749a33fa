"""Credentials as texts: recognisable, checked offline, and in the order in which they were made where that helps."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.oauth import token_format
from watchword.oauth.token_format import (
    KINDS,
    base62,
    digest,
    is_well_formed,
    kind_of,
    make,
    ordered_digest,
    time_mark,
)

RANDOM = bytes(range(32))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_recognised_and_no_other(kind: str) -> None:
    token = make("ww", kind, RANDOM)
    assert kind_of(token, "ww") == kind
    assert re.fullmatch(token_format.pattern("ww"), token)
    assert [other for other in KINDS if is_well_formed(token, "ww", other)] == [kind]
    assert kind_of(token, "wx") is None


@given(randomness=st.binary(min_size=32, max_size=32), at=st.integers(0, 35))
def test_a_garbled_character_is_noticed(randomness: bytes, at: int) -> None:
    token = make("ww", "a", randomness, "")
    assert is_well_formed(token, "ww", "a")
    place = 4 + at
    other = "1" if token[place] != "1" else "2"
    assert not is_well_formed(token[:place] + other + token[place + 1 :], "ww", "a")


@given(randomness=st.binary(min_size=32, max_size=32), now=st.floats(0, 4e9))
def test_a_time_mark_takes_the_place_of_five_characters_and_of_no_more_randomness(
    randomness: bytes, now: float
) -> None:
    token = make("ww", "o", randomness, time_mark(now))
    assert is_well_formed(token, "ww", "o")
    assert len(token) == len(make("ww", "o", randomness))
    assert token[4:9] == time_mark(now)
    assert token[9:34] == base62(int.from_bytes(randomness, "big") % 62**25, 25)
    assert 62**25 > 2**148


def test_randomness_cannot_be_traded_for_more_of_a_mark() -> None:
    assert make("ww", "o", RANDOM, "00000")
    with pytest.raises(ValueError, match="randomness"):
        make("ww", "o", RANDOM, "000000")
    with pytest.raises(ValueError, match="randomness"):
        make("ww", "o", RANDOM[:31])


def test_marks_sort_as_time_goes_by() -> None:
    marks = [time_mark(1_800_000_000 + seconds / 50) for seconds in range(5000)]
    assert marks == sorted(marks)
    assert len(set(marks)) == len(marks)


@given(randomness=st.binary(min_size=32, max_size=32))
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
