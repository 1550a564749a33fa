"""Salted commitments: one opened, the others hidden; nothing opened that was not committed to."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.zero.refusing import refused

from watchword.credentials.zkproof import ZeroError
from watchword.zero import disclosure
from watchword.zero.records import Secret, decode_base64url, encode_base64url

SEED = b"\x01" * 32
values = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.booleans(),
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,20}", fullmatch=True).filter(
    lambda n: n not in disclosure.RESERVED
)


@settings(max_examples=40)
@given(st.dictionaries(names, values, max_size=6))
def test_every_committed_attribute_opens_to_what_was_committed(attributes: dict[str, Any]) -> None:
    secret = Secret(SEED, disclosure.pack_attributes(attributes))
    committed = disclosure.commitments(secret)
    opened = disclosure.check_opened(disclosure.open_attributes(secret, attributes), committed)
    assert {name: (type(value), value) for name, value in opened.items()} == {
        name: (type(value), value) for name, value in attributes.items()
    }
    assert len(committed) % disclosure.PADDING == 0
    assert list(committed) == sorted(set(committed))


def test_equal_values_have_different_commitments_for_different_holders() -> None:
    """A table of likely values is useless without the salt."""
    packed = disclosure.pack_attributes({"age": 33})
    one, other = (disclosure.commitments(Secret(seed, packed)) for seed in (b"\x01" * 32, b"\x02" * 32))
    assert not set(one) & set(other)


def test_opening_one_tells_no_salt_of_another() -> None:
    texts = [disclosure.write(SEED, name, value) for name, value in (("age", 33), ("age", 34), ("size", 33))]
    salts = [json.loads(decode_base64url(text))[0] for text in texts]
    assert len(set(salts)) == 3
    assert all(len(decode_base64url(salt)) == 16 for salt in salts)  # RFC 9901 §9.3


UNUSABLE_NAMES = ["", "_sd", "...", "cnf", "a b", "ä", "a" * 65, "a\n"]
UNUSABLE_VALUES: list[object] = [None, 1.5, [], {}, "x" * 2049, 2**53, "\ud800", "\0", b"bytes"]

FORGED = {
    "a text of three": encode_base64url(b'"sab"'),
    "an object of three": encode_base64url(b'{"0":"s","1":"age","2":33}'),
    "an array of two": encode_base64url(b'["age",33]'),
    "an object": encode_base64url(b'{"age":33}'),
    "a salt that is no text": encode_base64url(b'[1,"age",33]'),
    "a list for a value": encode_base64url(b'["s","age",[33]]'),
    "a fraction": encode_base64url(b'["s","age",3.3]'),
    "null": encode_base64url(b'["s","age",null]'),
    "NaN": encode_base64url(b'["s","age",NaN]'),
    "5,000 digits": encode_base64url(b'["s","age",' + b"9" * 5000 + b"]"),
    "deep nesting": encode_base64url(b"[" * 100_000),
    "a lone surrogate": encode_base64url(b'["s","age","\\ud800"]'),
    "not base64url": "a+b/",
    "padded": "YQ==",
    "not canonical": "YR",
    "empty": "",
    "not ASCII": "é",
    "not UTF-8": encode_base64url(b"\xff"),
    "the name _sd": encode_base64url(b'["s","_sd",33]'),
    "the name iss": encode_base64url(b'["s","iss","https://evil.example"]'),
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED.keys())
def test_forged_disclosures(text: str) -> None:
    secret = Secret(SEED, disclosure.pack_attributes({"age": 33}))
    committed = disclosure.commitments(secret)
    assert disclosure.check_opened([disclosure.write(SEED, "age", 33)], committed) == {"age": 33}
    changed = encode_base64url(b'["c2FsdHNhbHRzYWx0c2FsdA","age",34]')
    assert refused(lambda: disclosure.check_opened([changed], committed)) == "disclosure"
    # A holder can commit to anything that it likes.
    own = [*committed, disclosure.digest(text), disclosure.digest(changed)]
    assert disclosure.check_opened([changed], own) == {"age": 34}
    assert refused(lambda: disclosure.check_opened([text], own)) in ("malformed", "attribute")


def test_one_attribute_is_not_disclosed_twice() -> None:
    text = disclosure.write(SEED, "age", 33)
    assert refused(lambda: disclosure.check_opened([text, text], [disclosure.digest(text)])) == "disclosure"


@pytest.mark.parametrize(
    "texts",
    [
        ('["age",33]', '["age",34]'),
        ('["age"]',),
        ('["age",33,34]',),
        ('{"0":"age","1":33}',),
        ('"ab"',),
        ("33",),
        ("[",),
    ],
    ids=str,
)
def test_a_secret_that_holds_no_pairs_is_refused(texts: tuple[str, ...]) -> None:
    assert disclosure.read_attributes(Secret(SEED, ('["age",33]', '["a",true]'))) == {"age": 33, "a": True}
    assert refused(lambda: disclosure.read_attributes(Secret(SEED, texts))) == "malformed"


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, 1) for name in UNUSABLE_NAMES] + [("a", value) for value in UNUSABLE_VALUES],
    ids=ascii,
)
def test_attributes_that_are_not_usable(name: str, value: object) -> None:
    assert refused(lambda: disclosure.pack_attributes({name: value})) == "attribute"


@settings(max_examples=80)
@given(st.one_of(st.text(max_size=80), st.binary(max_size=60).map(encode_base64url)))
def test_the_decoder_raises_nothing_but_its_own_error(text: str) -> None:
    with pytest.raises(ZeroError):
        disclosure.check_opened([text], ())
