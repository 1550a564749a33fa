"""Clients by metadata document whose sector is described at another address (OpenID Connect Core §8.1)."""

from typing import Any

from tests.fixtures.code_flow import REDIRECT
from tests.fixtures.documents import Documents
from tests.fixtures.servers import Server
from tests.flows.test_client_documents import begin, server

__all__ = ["server"]


async def test_an_outage_of_the_sector_ends_no_client_that_was_read_before(
    server: Server, documents: Documents
) -> None:
    """OpenID Connect Registration §5: the sector is checked when addresses are registered."""
    sector = documents.publish("/sector", [REDIRECT])
    pairwise: dict[str, Any] = {"subject_type": "pairwise", "sector_identifier_uri": sector}
    client_id = documents.describe(**pairwise)
    assert (await begin(server, client_id)).status_code == 303
    documents.publish("/sector", {}, status=503)
    server.clock.advance(301)
    assert (await begin(server, client_id)).status_code == 303
    assert documents.asked["/client"] == 2, "its own document is read again"
    documents.describe(**pairwise, redirect_uris=[REDIRECT, "https://other.example.com/cb"])
    server.clock.advance(301)
    assert (await begin(server, client_id)).status_code == 400, "nobody knows whether these belong to it"
