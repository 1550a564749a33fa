"""What is decoded the fast way is exactly what the slow way accepts, and means the same."""

import base64
import json
import string

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchword.jose import JoseError, jws, strict_json
from watchword.jose.jwk import b64decode, b64encode
from watchword.jose.strict_json import StrictJSONError

DEPTH = 4
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**66), max_value=2**66)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
NAMES = st.sampled_from(["a", "b", "aud", 'a"', "é", "\ud800", "\x00", "a:"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
# Texts that are nearly JSON, and that are JSON with members there twice.
PIECES = st.sampled_from(
    [
        *'{}[],:" \n\t\\0159-+.eE',
        '"a"',
        '"a":',
        '"a":1,',
        '"b":"x",',
        "true",
        "null",
        "NaN",
        '"\\u0061"',
        "\x00",
    ]
)


def slowly(raw: bytes) -> object:
    """What the thorough parser says."""
    try:
        return repr(strict_json._parse(raw, DEPTH))
    except StrictJSONError:
        return StrictJSONError


def check(raw: bytes) -> None:
    value = strict_json._plain(raw, DEPTH)
    if value is not strict_json.UNSURE:
        assert repr(value) == slowly(raw)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"a":1,"a":1}', id="a member twice"),
        pytest.param('{"a":"x","a":"x"}', id="a member twice with a text"),
        pytest.param('{"a":{"b":1,"b":1}}', id="a member twice, further in"),
        pytest.param('[{"b":1,"b":["x","y"]}]', id="a member twice, in a list"),
        pytest.param('{"a":1,"\\u0061":2}', id="a member twice, one written otherwise"),
        pytest.param('{"a":"\\ud800"}', id="half a surrogate pair"),
        pytest.param('{"a":"\\u0000"}', id="a NUL"),
        pytest.param('{"\\ud800":"a"}', id="half a surrogate pair in a name"),
        pytest.param('{"\\u0000":"a"}', id="a NUL in a name"),
        pytest.param('"\\ud800"', id="half a surrogate pair, alone"),
        pytest.param('["a","\\ud800"]', id="half a surrogate pair, in a list"),
        pytest.param('[{"a":1},["\\u0000"]]', id="a NUL, in a list of lists"),
        pytest.param('{"a":1e400}', id="an infinity"),
        pytest.param('{"a":9223372036854775808}', id="an integer beyond 64 bits"),
        pytest.param("1" * 5000, id="an integer without end"),
        pytest.param("[" * 100_000, id="depth without end"),
        pytest.param('{"a":NaN}', id="not a number"),
    ],
)
def test_the_fast_way_leaves_every_doubt_to_the_thorough_one(text: str) -> None:
    assert strict_json._plain(b'{"a":1,"b":["x",{"c":null}]}', DEPTH) == {"a": 1, "b": ["x", {"c": None}]}
    assert strict_json._plain(text.encode(), DEPTH) is strict_json.UNSURE
    with pytest.raises(StrictJSONError):
        strict_json.loads(text)


@pytest.mark.parametrize("lengthen", [" ", "\\u0020"], ids=["the fast way", "the thorough way"])
@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param("9223372036854775807", "9223372036854775808", id="the largest integer"),
        pytest.param("-9223372036854775808", "-9223372036854775809", id="the smallest"),
        pytest.param("[[]," + "[" * 14 + "]" * 15, "[[]," + "[" * 15 + "]" * 16, id="depth"),
        pytest.param("1." + "0" * 62, "1." + "0" * 63, id="the digits of a fraction"),
    ],
)
def test_both_ways_read_up_to_the_limit_of(last: str, beyond: str, lengthen: str) -> None:
    assert strict_json.loads(f'{{"{lengthen}":{last}}}') == {" ": json.loads(last)}
    with pytest.raises(StrictJSONError):
        strict_json.loads(f'{{"{lengthen}":{beyond}}}')


def test_a_text_is_read_up_to_its_size() -> None:
    assert strict_json.loads('"é"', max_bytes=4) == "é"
    with pytest.raises(StrictJSONError):
        strict_json.loads('"é"', max_bytes=3)


@given(value=VALUES, ascii_only=st.booleans(), spaces=st.booleans())
@settings(max_examples=300)
def test_both_ways_read_json_alike(value: object, ascii_only: bool, spaces: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=1 if spaces else None)
    check(text.encode("utf-8", "surrogatepass"))


@given(pieces=st.lists(PIECES, max_size=14))
@example(pieces=["{", '"a":1,', '"a":', "1", "}"])
@settings(max_examples=500)
def test_both_ways_read_nearly_json_alike(pieces: list[str]) -> None:
    check("".join(pieces).encode())


@given(members=st.lists(st.tuples(NAMES, VALUES), max_size=5))
@settings(max_examples=150)
def test_both_ways_see_members_that_are_there_twice(members: list[tuple[str, object]]) -> None:
    text = "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members) + "}"
    check(text.encode())
    if len({name for name, _ in members}) < len(members):
        assert strict_json._plain(text.encode(), DEPTH) is strict_json.UNSURE


@given(data=st.binary(max_size=80))
def test_base64url_is_what_the_standard_library_writes(data: bytes) -> None:
    expected = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert b64encode(data) == expected
    if data:
        assert b64decode(expected) == data


@given(text=st.text(alphabet=string.ascii_letters + string.digits + "-_+/=é \n", max_size=12))
@settings(max_examples=1000)
def test_base64url_is_refused_in_any_other_spelling(text: str) -> None:
    try:
        data = b64decode(text)
    except JoseError:
        return
    assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text


@pytest.mark.parametrize("tail", range(1, 4))
def test_every_last_character_is_judged_rightly(tail: int) -> None:
    for last in string.ascii_letters + string.digits + "-_":
        text = "A" * (tail + 3) + last
        padded = text + "=" * (-len(text) % 4)
        try:
            decoded = base64.urlsafe_b64decode(padded)
            canonical = base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == text
        except ValueError:
            canonical = False
        try:
            b64decode(text)
            accepted = True
        except JoseError:
            accepted = False
        assert accepted == canonical, text


@pytest.mark.parametrize("size", [32, 48, 66])
@given(data=st.data())
def test_a_signature_is_its_two_numbers_side_by_side(size: int, data: st.DataObject) -> None:
    numbers = (
        st.integers(1, 2 ** (8 * size) - 1) | st.integers(1, 2**130) | st.sampled_from([1, 127, 128, 255])
    )
    r, s = data.draw(numbers), data.draw(numbers)
    expected = r.to_bytes(size, "big") + s.to_bytes(size, "big")
    assert jws.raw_signature(encode_dss_signature(r, s), size) == expected
