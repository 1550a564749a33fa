"""Forms and queries are decoded strictly, and alike however much of them is encoded."""

from collections.abc import MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.http import MAX_BODY, read_body
from watchword.http.forms import MAX_FIELDS, MAX_NAME, MAX_VALUE, parse_pairs
from watchword.oauth.authorization_response import response_location
from watchword.oauth.errors import OAuthError

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12)
PLAIN = st.text("abc/:~-._*", min_size=1, max_size=8)


@given(st.lists(st.tuples(PLAIN | TEXT, PLAIN | TEXT), max_size=6))
def test_what_was_encoded_is_read_again(pairs: list[tuple[str, str]]) -> None:
    encoded = "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)
    assert parse_pairs(encoded.encode()) == pairs


@given(st.text("ab ü/:~+&=", max_size=40))
def test_what_nobody_encoded_is_read_as_browsers_mean_it(raw: str) -> None:
    assert parse_pairs(raw.encode()) == parse_qsl(raw, keep_blank_values=True)


@pytest.mark.parametrize(
    "part",
    [
        *[b"a=%00", b"%00=a", b"a=\x00", b"a=%ff", b"%ff=a", b"a=\xff"],
        *[b"a=" + b"b" * (MAX_VALUE + 1), b"a=" + b"b" * MAX_VALUE + b"+"],
        *[b"n" * (MAX_NAME + 1) + b"=a", b"%5B" * (MAX_NAME + 1) + b"=a"],
    ],
)
def test_what_cannot_be_text_is_refused_beside_what_can(part: bytes) -> None:
    assert parse_pairs(b"x=1&y=%2B+") == [("x", "1"), ("y", "+ ")]
    for whole in (part, b"x=1&" + part, part + b"&y=%2B"):
        with pytest.raises(OAuthError) as refused:
            parse_pairs(whole)
        assert refused.value.code == "invalid_request"


@pytest.mark.parametrize(
    "value", [b"b" * (MAX_VALUE + 1), b"%00", b"\x00", b"%ff", b"\xff"], ids=lambda value: ascii(value[:4])
)
@pytest.mark.parametrize(
    ("name", "code"),
    [("client_assertion", "invalid_client"), ("assertion", "invalid_grant"), ("scope", "invalid_request")],
)
def test_an_assertion_that_cannot_be_read_is_refused_as_any_that_is_not_valid(
    name: str, code: str, value: bytes
) -> None:
    with pytest.raises(OAuthError) as refused:
        parse_pairs(name.encode() + b"=" + value)
    assert (refused.value.code, refused.value.field) == (code, name), "RFC 7521 §4.1.1, §4.2.1"


@pytest.mark.parametrize("more", [b"", b"%20"], ids=["plain", "encoded"])
def test_a_form_is_read_up_to_its_limits(more: bytes) -> None:
    assert len(parse_pairs(b"&".join([b"a=b" + more] * MAX_FIELDS))) == MAX_FIELDS
    ((name, value),) = parse_pairs(b"n" * MAX_NAME + b"=" + b"b" * (MAX_VALUE - len(more) // 3) + more)
    assert (len(name), len(value)) == (MAX_NAME, MAX_VALUE)
    ((_, value),) = parse_pairs(b"a=" + b"%62" * MAX_VALUE)
    assert len(value) == MAX_VALUE
    with pytest.raises(OAuthError, match="invalid_request"):
        parse_pairs(b"&".join([b"a=b" + more] * (MAX_FIELDS + 1)))


@pytest.mark.parametrize(
    ("sizes", "read"),
    [
        ([MAX_BODY], True),
        ([MAX_BODY + 1], False),
        ([1, MAX_BODY - 1, 0], True),
        ([MAX_BODY, 1, 1, 1], False),
    ],
)
async def test_a_body_is_read_up_to_its_limit_and_no_further(sizes: list[int], read: bool) -> None:
    parts = [{"body": b"x" * size, "more_body": True} for size in sizes]
    parts[-1]["more_body"] = False
    left = iter(parts)

    async def receive() -> MutableMapping[str, Any]:
        return next(left)

    if read:
        assert len(await read_body(receive)) == MAX_BODY
    else:
        with pytest.raises(OAuthError) as refused:
            await read_body(receive)
        assert refused.value.rule.status == 413
    assert len(list(left)) == (0 if read else max(0, len(sizes) - 2))


@given(TEXT, TEXT)
def test_an_answer_carries_its_parameters_unchanged(state: str, issuer: str) -> None:
    location = response_location("https://app.example.com/cb?kept=1", {"state": state, "iss": issuer})
    assert location.isascii()
    assert parse_qsl(location.partition("?")[2], keep_blank_values=True, strict_parsing=True) == [
        ("kept", "1"),
        ("state", state),
        ("iss", issuer),
    ]
