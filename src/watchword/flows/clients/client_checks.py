"""Checks of client metadata that need the running server: against its settings, and of the sector document (OpenID Connect Core §8.1)."""

from watchword.fetch import FetchError
from watchword.flows import detail_types
from watchword.flows.clients import client_certificates
from watchword.flows.runtime import Runtime
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.oauth import answers, authorization_details, fapi, groups, subject
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError

MAX_BYTES = 64 * 1024


async def check(runtime: Runtime, client: Client, *, read: Client | None = None) -> None:
    """Check a client before it is registered or changed; raise `invalid_client_metadata`.

    `read` is the client as its own document described it before: what its sector document said of these addresses is known then.
    """
    fapi.check_signing(client, runtime.settings.signing_algorithms)
    answers.check(client, runtime.settings.signing_algorithms)
    authorization_details.check_registered(
        client.authorization_details_types, detail_types.of(runtime.settings)
    )
    groups.check(client.groups)
    client_certificates.check_registered(runtime.settings, client)
    if client.sector_identifier_uri is not None and not (read and _same_sector(client, read)):
        await _check_sector(runtime, client, client.sector_identifier_uri)


def _same_sector(client: Client, read: Client) -> bool:
    known = (read.sector_identifier_uri, read.redirect_uris)
    return read.disabled_at is None and known == (client.sector_identifier_uri, client.redirect_uris)


async def _check_sector(runtime: Runtime, client: Client, address: str) -> None:
    try:
        answer = await runtime.fetcher_for(client).get(
            address,
            max_bytes=MAX_BYTES,
            allow_loopback=runtime.settings.fetch_allow_loopback,
            now=runtime.clock(),
        )
        document = loads(answer.body, max_bytes=MAX_BYTES)
    except (FetchError, StrictJSONError) as error:
        raise OAuthError(
            "invalid_client_metadata",
            "The sector_identifier_uri cannot be read.",
            detail=str(error)[:200],
            field="sector_identifier_uri",
        ) from None
    subject.check_sector(document, client.redirect_uris)
