"""Pairwise subjects cannot be joined across sectors."""

import msgspec
import pytest

from watchword.oauth import subject
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

KEY = bytes(32)
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
        subject.subject_for(PAIRWISE, "u1", bytes(31) + b"x"),
        subject.subject_for(msgspec.structs.replace(PAIRWISE, sector_identifier="s.example"), "u1", KEY),
    }
    assert len({own, *others}) == 5
    assert len(own) == 43


def test_a_boundary_between_sector_and_person_cannot_be_moved() -> None:
    first = subject.subject_for(msgspec.structs.replace(PAIRWISE, sector_identifier="a"), "bc", KEY)
    assert first != subject.subject_for(msgspec.structs.replace(PAIRWISE, sector_identifier="ab"), "c", KEY)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError):
        subject.subject_for(PAIRWISE, "u1", b"short")


def test_several_hosts_need_a_sector() -> None:
    assert subject.sector_of(PAIRWISE) == "rp.example"
    assert subject.sector_of(with_uris("http://[::1]:80/a", "http://[::1]:90/b")) == "[::1]"
    assert subject.sector_of(with_uris()) == "app"
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        subject.sector_of(with_uris("https://a.example/cb", "https://b.example/cb"))


@pytest.mark.parametrize("document", [None, {}, "https://rp.example/cb", [], ["https://rp.example/cb"]])
def test_a_sector_document_lists_every_address(document: object) -> None:
    subject.check_sector([*PAIRWISE.redirect_uris, "https://more.example"], PAIRWISE.redirect_uris)
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        subject.check_sector(document, PAIRWISE.redirect_uris)
