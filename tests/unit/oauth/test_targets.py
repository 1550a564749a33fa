"""RFC 8707 §2: a requested resource is a known one letter by letter, but for an empty path (RFC 3986 §6.2.3)."""

import pytest

from watchword.oauth import targets


@pytest.mark.parametrize(
    ("resource", "known", "found"),
    [
        ("https://a.example/x", "https://a.example/x", True),
        ("https://a.example/", "https://a.example", True),
        ("https://a.example", "https://a.example/", True),
        ("https://a.example/x/", "https://a.example/x", False),
        ("https://a.example/x", "https://a.example/x/", False),
        ("https://a.example?", "https://a.example?/", False),
        ("https://A.example", "https://a.example", False),
        ("https://a.example//", "https://a.example/", False),
    ],
)
def test_a_resource_is_known_by_its_letters(resource: str, known: str, found: bool) -> None:
    assert targets.name_among(resource, (known,)) == (known if found else None)
