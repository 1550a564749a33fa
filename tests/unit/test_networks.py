"""Addresses with several hosts, where Python's own function takes one at most."""

import pytest

from watchword.networks import split_hosts


def test_every_host_may_be_an_address_in_brackets() -> None:
    found = split_hosts("postgresql://u:p,w@db1:5432,[::1]:5433/ww?host=x")
    assert found.netloc == "u:p,w@db1:5432,[::1]:5433"
    assert (found.scheme, found.path, found.query) == ("postgresql", "/ww", "host=x")
    assert split_hosts("postgresql:///ww?host=/run").netloc == ""


@pytest.mark.parametrize("place", ["u:p[x@db", "u:[::1]@db", "db,[zz]", "[::1"])
def test_a_bracket_that_belongs_to_no_host_is_refused(place: str) -> None:
    with pytest.raises(ValueError):
        split_hosts(f"postgresql://{place}/ww")
