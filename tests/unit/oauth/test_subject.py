"""Pairwise subjects cannot be joined across sectors."""

import msgspec
import pytest

from watchword.oauth import subject
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

KEY = bytes(64)
PAIRWISE = Client(
    client_id="app",
    name="App",
    token_endpoint_auth_method="none",
    redirect_uris=("https://rp.example/cb", "https://rp.example:8443/other"),
    subject_type="pairwise",
)


def with_uris(*uris: str) -> Client:
    """Return the client with other redirect addresses."""
    return msgspec.structs.replace(PAIRWISE, redirect_uris=uris)


def test_a_public_subject_is_the_identifier() -> None:
    assert subject.subject_for(msgspec.structs.replace(PAIRWISE, subject_type="public"), "u1", b"") == "u1"


def test_a_pairwise_subject_is_stable_within_a_sector_and_different_beyond() -> None:
    own = subject.subject_for(PAIRWISE, "u1", KEY)
    assert own == subject.subject_for(with_uris("https://RP.example/else"), "u1", KEY)
    others = {
        subject.subject_for(with_uris("https://other.example/cb"), "u1", KEY),
        subject.subject_for(PAIRWISE, "u2", KEY),
        subject.subject_for(PAIRWISE, "u1", bytes(63) + b"x"),
        subject.subject_for(
            msgspec.structs.replace(PAIRWISE, sector_identifier_uri="https://S.example/sector.json"),
            "u1",
            KEY,
        ),
    }
    assert len({own, *others}) == 5
    assert "u1" not in own
    assert len(own) <= 255, "OpenID Connect Core §2"


def test_the_server_alone_turns_a_pairwise_subject_back() -> None:
    own = subject.subject_for(PAIRWISE, "u1", KEY)
    assert subject.identifier_in(own, subject.PERSON, KEY) == "u1"
    for name, key in (
        (own, bytes(63) + b"x"),
        (own[:-2] + ("AA" if own[-2:] != "AA" else "BB"), KEY),
        ("u1", KEY),
        ("", KEY),
        ("é" * 500, KEY),
    ):
        assert subject.identifier_in(name, subject.PERSON, key) is None
    assert subject.identifier_in(own, subject.SESSION, KEY) is None


def test_sessions_cannot_be_joined_across_clients() -> None:
    other = msgspec.structs.replace(PAIRWISE, client_id="other")
    own = subject.session_for(PAIRWISE, "s1", KEY)
    assert subject.identifier_in(own, subject.SESSION, KEY) == "s1"
    assert len({own, subject.session_for(other, "s1", KEY), "s1"}) == 3
    public = msgspec.structs.replace(PAIRWISE, subject_type="public")
    assert subject.identifier_in(subject.session_for(public, "s1", KEY), subject.SESSION, KEY) == "s1"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError):
        subject.subject_for(PAIRWISE, "u1", b"short")


def test_several_hosts_need_a_sector() -> None:
    assert subject.sector_of(PAIRWISE) == "rp.example"
    assert (
        subject.sector_of(with_uris("https://[2001:db8::1]:80/a", "https://[2001:db8::1]/b"))
        == "[2001:db8::1]"
    )
    assert subject.sector_of(with_uris()) == "app"
    assert subject.sector_of(with_uris("http://127.0.0.1/cb", "http://localhost/cb")) == "app"
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        subject.sector_of(with_uris("https://a.example/cb", "https://b.example/cb"))


@pytest.mark.parametrize("document", [None, {}, "https://rp.example/cb", [], ["https://rp.example/cb"]])
def test_a_sector_document_lists_every_address(document: object) -> None:
    subject.check_sector([*PAIRWISE.redirect_uris, "https://more.example"], PAIRWISE.redirect_uris)
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        subject.check_sector(document, PAIRWISE.redirect_uris)
