"""A status list says what was put in, in the form that others read, and never explodes."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.jose.jwk import b64encode
from watchword.oauth import status_list
from watchword.oauth.status_list import StatusList, StatusListError


@pytest.mark.parametrize(
    ("bits", "statuses", "data", "lst"),
    [
        # The examples of the specification, §4.1 and §4.2
        (1, [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1], b"\xb9\xa3", "eNrbuRgAAhcBXQ"),
        (2, [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3], b"\xc9\x44\xf9", "eNo76fITAAPfAgc"),
    ],
)
def test_the_examples_of_the_specification_hold(
    bits: int, statuses: list[int], data: bytes, lst: str
) -> None:
    built = status_list.build(len(statuses), enumerate(statuses), bits)
    assert built.data == data
    assert status_list.to_claim(built) == {"bits": bits, "lst": lst}
    read = status_list.from_claim({"bits": bits, "lst": lst})
    assert [read.get(index) for index in range(len(statuses))] == statuses


@given(st.sampled_from([1, 2, 4, 8]), st.dictionaries(st.integers(0, 999), st.integers(0, 255), max_size=50))
def test_what_is_put_in_comes_out(bits: int, wanted: dict[int, int]) -> None:
    statuses = {index: status % (1 << bits) for index, status in wanted.items()}
    read = status_list.from_claim(status_list.to_claim(status_list.build(1000, statuses.items(), bits)))
    assert all(read.get(index) == statuses.get(index, 0) for index in range(1000))


def test_a_later_status_replaces_an_earlier_one() -> None:
    assert status_list.build(8, [(3, 2), (3, 1), (4, 3)], 2).get(3) == 1


@pytest.mark.parametrize("index", [-1, 16, 10**30])
def test_there_is_nothing_beyond_the_list(index: int) -> None:
    with pytest.raises(StatusListError):
        StatusList(1, b"\x00\x00").get(index)


@pytest.mark.parametrize(
    ("size", "statuses", "bits"),
    [
        (0, [], 1),
        (8, [], 3),
        (8, [(8, 1)], 1),
        (8, [(-1, 1)], 1),
        (8, [(0, 2)], 1),
        (8, [(0, -1)], 1),
        (10**9, [], 8),
    ],
)
def test_no_list_is_built_from(size: int, statuses: list[tuple[int, int]], bits: int) -> None:
    with pytest.raises(StatusListError):
        status_list.build(size, statuses, bits)


GOOD = status_list.to_claim(status_list.build(16, [(1, 1)]))


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(None, id="nothing"),
        pytest.param([], id="a list"),
        pytest.param({**GOOD, "bits": 3}, id="3 bits"),
        pytest.param({**GOOD, "bits": True}, id="a truth value for bits"),
        pytest.param({**GOOD, "bits": 1.0}, id="a fraction for bits"),
        pytest.param({"bits": 1}, id="no lst"),
        pytest.param({"bits": 1, "lst": ""}, id="an empty lst"),
        pytest.param({"bits": 1, "lst": "é"}, id="lst beyond ASCII"),
        pytest.param({"bits": 1, "lst": b64encode(b"junk")}, id="lst that is not compressed"),
        pytest.param({"bits": 1, "lst": b64encode(zlib.compress(b"abc" * 99)[:-3])}, id="lst cut off"),
        pytest.param(
            {"bits": 1, "lst": b64encode(zlib.compress(b"abc") + b"x")}, id="lst with something behind"
        ),
    ],
)
def test_no_list_is_read_from(claim: object) -> None:
    assert status_list.from_claim(GOOD).get(1) == 1
    with pytest.raises(StatusListError):
        status_list.from_claim(claim)


def test_hp_08_no_list_is_read_from_a_bomb_of_200_mb() -> None:
    bomb = {"bits": 1, "lst": b64encode(zlib.compress(bytes(200_000_000)))}
    with pytest.raises(StatusListError):
        status_list.from_claim(bomb)


def test_claims_on_both_sides() -> None:
    uri = "https://as.example/status/1"
    token = status_list.token_claims(uri, status_list.build(16, []), now=100, lifetime=600, ttl=60)
    assert token == {"sub": uri, "iat": 100, "exp": 700, "ttl": 60, "status_list": token["status_list"]}
    assert status_list.read_reference({"status": status_list.reference_claim(uri, 7)}) == (uri, 7)
    assert status_list.read_reference({}) is None


@pytest.mark.parametrize(
    "status",
    [1, [], {}, {"status_list": 1}, {"status_list": {"idx": 1}}, {"status_list": {"idx": -1, "uri": "x"}},
     {"status_list": {"idx": True, "uri": "x"}}, {"status_list": {"idx": 1.0, "uri": "x"}}],
)  # fmt: skip
def test_a_malformed_reference_is_not_taken_for_none(status: object) -> None:
    with pytest.raises(StatusListError):
        status_list.read_reference({"status": status})
