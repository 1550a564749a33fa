"""RFC 6749 §3.3: what a scope consists of, and how much of it is read."""

import pytest

from watchword.oauth import scopes
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import MAX_SCOPE_LENGTH, MAX_SCOPES


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param(
            " ".join(map(str, range(MAX_SCOPES))), " ".join(map(str, range(MAX_SCOPES + 1))), id="number"
        ),
        pytest.param("a".ljust(MAX_SCOPE_LENGTH), "a".ljust(MAX_SCOPE_LENGTH + 1), id="length"),
        pytest.param("a" * 128, "a" * 129, id="names"),
        pytest.param("!#[]~", '!#"[]~', id="quotation marks"),
        pytest.param("a/b:c", "a\\b:c", id="backslashes"),
        pytest.param("a", "ä", id="letters"),
        pytest.param("a b", "a\tb", id="tabs"),
    ],
)
def test_a_scope_is_read_up_to_the_limit_of_its(last: str, beyond: str) -> None:
    assert scopes.parse_scope(last) == tuple(last.split())
    with pytest.raises(OAuthError) as refused:
        scopes.parse_scope(beyond)
    assert (refused.value.code, refused.value.field) == ("invalid_scope", "scope")
