"""RFC 6749 §5.2: what is said of an input whose shape is wrong."""

from typing import Annotated, Literal

import msgspec
import pytest

from watchword.oauth import malformed


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["p", "q"] = "p"
    level: Annotated[int, msgspec.Meta(ge=1)] = 1


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    state: Literal["open", "shut"] | None = None
    several: list[Literal["x", "y"]] = []
    level: Annotated[int, msgspec.Meta(ge=1)] = 1
    inner: Inner | None = None
    listed: list[Inner] | None = None
    table: dict[str, dict[str, int]] = {}


@pytest.mark.parametrize(
    ("given", "field", "said"),
    [
        ({"state": "SENT"}, "state", "state: Expected one of open, shut"),
        ({"state": "SENT` - at `$.level`"}, "state", "state: Expected one of open, shut"),
        ({"several": ["x", "SENT"]}, "several", "several[1]: Expected one of x, y"),
        ({"inner": {"kind": "SENT"}}, "inner", "inner.kind: Expected one of p, q"),
        ({"inner": {"level": 0}}, "inner", "inner.level: Expected int >= 1"),
        ({"inner": {"other": 1}}, "inner", "inner.other: Object contains unknown field other"),
        ({"listed": [{}, {"kind": "SENT"}]}, "listed", "listed[1].kind: Expected one of p, q"),
        ({"listed": [{"other": 1}]}, "listed", "listed[0].other: Object contains unknown field other"),
        (
            {"table": {"a": {}, "b c": {"d": 1, "e": "SENT"}}},
            "table",
            "table['b c']['e']: Expected int, got str",
        ),
        (
            {"table": {str(n): {"d": 1} for n in range(200)} | {"z": 5}},
            "table",
            "table[...]: Expected object, got int",
        ),
        (
            # An argument of a command, of bytes that are not UTF-8, which cannot be read either.
            {"table": {"a": {}, "b": 5}, "state": "\udcff"},
            "table",
            "table['b']: Expected object, got int",
        ),
        ({"table": {"k" * 300: 5}}, "table", "table[...]: Expected object, got int"),
        ({"level": 0}, "level", "level: Expected int >= 1"),
        ({"level": "SENT"}, "level", "level: Expected int, got str"),
        ({"other": 1}, "other", "other: Object contains unknown field other"),
        ({"levels": 1}, "levels", "levels: Object contains unknown field levels; did you mean level?"),
        (
            {"listed": [{"kinds": 1}]},
            "listed",
            "listed[0].kinds: Object contains unknown field kinds; did you mean kind?",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_refusal_names_the_field_and_what_it_must_be_and_repeats_no_value(
    given: object, field: str, said: str
) -> None:
    assert msgspec.convert({"state": "open", "several": ["x"]}, Wanted).state == "open", "the honest variant"
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(given, Wanted)
    told = malformed.explain(refused.value, Wanted, given)
    assert (told.field, told.description) == (field, said)
    assert "SENT" not in told.description


def test_a_description_holds_what_the_standard_allows_and_is_not_long() -> None:
    assert malformed.printable("as it is: ~!") == "as it is: ~!"
    assert malformed.printable('a "b" \\ \n\u00e9') == "a ?b? ? ??"
    assert malformed.printable("x" * 400) == "x" * 300
