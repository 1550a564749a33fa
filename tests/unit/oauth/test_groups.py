"""What groups may be called, how many there may be, and whom they open something to."""

import pytest

from watchword.oauth import groups
from watchword.oauth.errors import OAuthError


def test_names_are_told_once_and_in_order() -> None:
    assert groups.check(["b", "a", "b"]) == ("a", "b")
    longest = ["x" * 100, "A-z0.9_:/@"]
    assert groups.check(longest) == tuple(sorted(longest))


@pytest.mark.parametrize("name", ["", "x" * 101, "-x", "a b", "a\n", 'a"b', "ä"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(OAuthError, match="invalid_request") as refused:
        groups.check(["fine", name])
    assert refused.value.field == "groups"


def test_there_is_a_most_of_them_and_each_counts_once() -> None:
    most = [f"g{number}" for number in range(groups.MAX_GROUPS)]
    assert groups.MAX_GROUPS == 100
    assert len(groups.check([*most, *most])) == len(most)
    with pytest.raises(OAuthError, match="invalid_request") as refused:
        groups.check([*most, "more"])
    assert "person" not in refused.value.description, "clients and scopes have groups as well"


def test_what_is_for_no_group_is_for_everybody() -> None:
    assert groups.is_open((), ())
    assert groups.is_open(("staff", "north"), ("north", "x"))
    assert not groups.is_open(("staff",), ())
