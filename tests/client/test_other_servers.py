"""Servers of other makes: what they answer within the rules, or a little beside them, and what stands between them and us."""

from pathlib import Path

import pytest
from tests.client.conftest import Foreign

from watchword.client import (
    FileStore,
    MemoryStore,
    PublicClient,
    RefreshToken,
    TokenSource,
)
from watchword.client.store import Store
from watchword.testing.clock import Clock

LIFE = 60  # seconds that the issuer's tokens live
API = "https://api.example.com"


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_a_refresh_token_for_which_no_other_was_given_is_used_again(
    foreign: Foreign, tmp_path: Path, kept: str
) -> None:
    """RFC 6749 §6: a new one may be given; most servers give none to a client with a secret."""
    clock = Clock()
    store: Store = FileStore(tmp_path / "token.json") if kept == "file" else MemoryStore()
    source = TokenSource(
        foreign.issuer, PublicClient("a"), RefreshToken("first"), api=API, clock=clock, store=store
    )
    assert source.token() == "token-1"
    clock.advance(LIFE)
    assert source.token() == "token-2"
    foreign.answer = {
        "access_token": "token",
        "token_type": "Bearer",
        "expires_in": LIFE,
        "refresh_token": "next",
    }
    clock.advance(LIFE)
    assert source.token() == "token"
    foreign.answer = None
    clock.advance(LIFE)
    assert source.token() == "token-4"
    assert [form["refresh_token"] for form in foreign.forms] == ["first", "first", "first", "next"]
