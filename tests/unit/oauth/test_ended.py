"""Marks and pages of the revocation feed: what a token's end is known by, and what the signed form of it must be."""

import pytest

from watchword.oauth import ended
from watchword.oauth.ended import EndedError, Entry, Page, mark, marks_of

CLAIMS: dict[str, object] = {
    "sub": "user_ada", "jti": "j1", "client_id": "c1", "grant_id": "g1",
    "parents": ["token:t1", "jti:j0", f"digest:{'0' * 40}{'ab' * 12}", "client:c0", "trust:r1", "account:h1"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [
        pytest.param("token", "j1", id="the token itself"),
        pytest.param("grant", "g1", id="the grant that it came from"),
        pytest.param("client", "c1", id="the client that holds it"),
        pytest.param("key", "k1", id="the key that signed it"),
        pytest.param("token", "t1", id="an API token that it was made of"),
        pytest.param("token", "j0", id="a self-contained token that it was made of"),
        pytest.param("token", "ot_" + "ab" * 12, id="an opaque token that it was made of"),
        pytest.param("client", "c0", id="the client that held that one"),
        pytest.param("trust", "r1", id="the trust rule by which it was made"),
        pytest.param("account", "h1", id="the account that it speaks for"),
        pytest.param("all", "", id="everything, after a restore"),
    ],
)
def test_a_token_ends_with(kind: str, identifier: str) -> None:
    assert ended.digest(kind, identifier) in marks_of(CLAIMS, "k1")
    assert ended.digest(kind, identifier + "x") not in marks_of(CLAIMS, "k1")


def test_who_knows_an_account_cannot_look_it_up() -> None:
    handles = {ended.account_handle(bytes([key]) * 32, "user_ada") for key in range(5)}
    assert len(handles) == 5
    assert not any(mark("account", "user_ada") == mark("account", handle) for handle in handles)


def test_a_page_reads_as_it_was_written() -> None:
    page = Page("f.1", "f.3", False, (Entry("a" * 22, 2000), Entry("b" * 22, 2000, before=1000)), 900)
    assert ended.read_page(ended.page_claims("https://auth.example.com", page)) == page


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"after": None}, id="no position before"),
        pytest.param({"position": 7}, id="a position that is a number"),
        pytest.param({"more": "no"}, id="a text for whether it goes on"),
        pytest.param({"iat": True}, id="a truth for a time"),
        pytest.param({"ended": {}}, id="an object for the entries"),
        pytest.param({"ended": [["m"]]}, id="an entry without an end"),
        pytest.param({"ended": [["m", 1, 2, 3]]}, id="an entry with too much"),
        pytest.param({"ended": [[1, 1]]}, id="a mark that is a number"),
        pytest.param({"ended": [["m", 1.5]]}, id="a time that is no integer"),
        pytest.param({"ended": ["m"]}, id="an entry that is a text"),
    ],
)
def test_a_page_is_refused_with(changes: dict[str, object]) -> None:
    claims = ended.page_claims("https://auth.example.com", Page("", "f.1", False, (Entry("m", 1),), 900))
    assert ended.read_page(claims).position == "f.1"
    with pytest.raises(EndedError):
        ended.read_page(claims | changes)
