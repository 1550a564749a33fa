"""What is written as TOML reads as what it was."""

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.cli import toml_text

# TOML has neither lone surrogates nor a null
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALAR = (
    TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, st.lists(st.dictionaries(TEXT, VALUE, max_size=5), max_size=3), max_size=3))
@settings(max_examples=50)
def test_tables_read_as_what_was_written(sections: dict[str, list[dict[str, Any]]]) -> None:
    assert tomllib.loads(toml_text.tables(sections)) == sections


def test_a_long_list_is_a_line_for_each_of_its_members() -> None:
    address = "https://api.example.com/" + "a" * 40
    text = toml_text.tables({"clients": [{"resources": [address] * 3}]})
    assert text.splitlines()[1:] == ["resources = [", *[f'  "{address}",'] * 3, "]"]


def test_tuples_are_lists_and_what_is_none_is_left_out() -> None:
    text = toml_text.tables(
        {"clients": [{"rules": {"targets": ({"name": "a", "more": None},)}, "none": None}]}
    )
    assert tomllib.loads(text) == {"clients": [{"rules": {"targets": [{"name": "a"}]}}]}
