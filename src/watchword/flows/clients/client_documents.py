"""draft-ietf-oauth-client-id-metadata-document: clients whose identifier is the address of their metadata document.

Theory of operation. A document is fetched when a client is first seen, and again when its last good reading is no longer fresh.
Readings are stored in the database, so that every node knows them, administrators can see and disable such clients, and verifying a
token never fetches anything. Freshness is what the document's server says, at least five minutes and at most a day. While a document
cannot be reached, its last reading is used for another day; one that is invalid or gone ends the client's requests at once, even if it
cannot be reached after that. Failures are remembered in `flows.outbound`; to the caller they all look the same: the client is not known.
"""

import re

from watchword.fetch import MAX_KEPT, FetchError
from watchword.flows.clients import client_checks, client_registry, stated_clients
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import take
from watchword.jose.strict_json import StrictJSONError, loads
from watchword.networks import is_loopback
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store import document_clients
from watchword.store.document_clients import Reading
from watchword.telemetry import log

METHODS = ("none", "private_key_jwt")
MAX_BYTES = 16 * 1024
MIN_FRESH = 300
STALE = 86_400

# §3: https, a path, no fragment, no user information, no dot segments; a query is refused as well ("SHOULD NOT").
_CLIENT_ID = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)(?::[1-9][0-9]{0,4})?"
    r"/(?!\.{1,2}(?:/|$))[A-Za-z0-9\-._~!$&'()*+,;=:@%/]{1,500}"
)
_DOTS = re.compile(r"/\.{1,2}(?:/|$)|%2[eEfF]|%5[cC]|%[01]|%7[fF]")


async def find(runtime: Runtime, client_id: str) -> Client | None:
    """Return a client by its identifier, fetching its document when that is due; None when there is no such client.

    An operator may have registered a client under an address; nothing is fetched for it.
    """
    registered = await client_registry.find(runtime, client_id)
    is_address = client_id.startswith(("https://", "http://"))
    if not is_address or (registered is not None and registered.origin != "document"):
        return registered
    if not is_allowed(runtime.settings, client_id):
        return None
    known = await _last_reading(runtime, client_id)
    if known is not None and 0 < known.fresh_until - runtime.now() <= MAX_KEPT:
        return known.client
    return await _read_again(runtime, client_id, known)


def is_allowed(settings: Settings, client_id: str) -> bool:
    """Whether an address may be a client's identifier here (§3, and the server's settings); no other is ever fetched."""
    match = _CLIENT_ID.fullmatch(client_id)
    if not settings.client_documents or match is None or _DOTS.search(client_id):
        return False
    if match["scheme"] == "http" and not (settings.fetch_allow_loopback and is_loopback(match["host"])):
        return False
    return not settings.client_document_hosts or match["host"] in settings.client_document_hosts


async def _last_reading(runtime: Runtime, client_id: str) -> Reading | None:
    version = runtime.database.version()
    cached = runtime.cache.get(("document", client_id))
    if cached is not None and cached[0] == version:
        known: Reading = cached[1]
        return known
    found = await runtime.database.read(document_clients.find_reading, client_id)
    if found is not None:
        runtime.remember(("document", client_id), version, found)
    return found


async def _read_again(runtime: Runtime, client_id: str, known: Reading | None) -> Client | None:
    settings, now = runtime.settings, runtime.now()
    before = known.client if known is not None else None
    try:
        answer = await runtime.strangers.get(
            client_id, max_bytes=MAX_BYTES, allow_loopback=settings.fetch_allow_loopback, now=runtime.clock()
        )
        client = check_document(settings, client_id, answer.body, before)
        await client_checks.check(runtime, client, read=before)
    except FetchError as error:
        log.info("client_document.unread", client=client_id, reason=error.reason)
        if error.is_outage:
            # A clock that was set back makes nothing last longer.
            is_usable = known is not None and -STALE < known.fresh_until - now < MAX_KEPT + STALE
            return known.client if known is not None and is_usable else None
        await _withdraw(runtime, client_id, known)
        return None
    except OAuthError as error:
        await _withdraw(runtime, client_id, known)
        runtime.strangers.fail(client_id, "not valid", runtime.clock())
        log.info("client_document.refused", client=client_id, reason=error.description, detail=error.detail)
        return None
    if known is None and not await _may_be_new(runtime):
        runtime.strangers.fail(client_id, "too many clients", runtime.clock())
        log.warning("client_document.too_many", client=client_id)
        return None
    fresh_until = now + max(answer.max_age, MIN_FRESH)
    kept = await runtime.database.write(
        document_clients.keep_reading, client, known=before, fresh_until=fresh_until, now=now
    )
    return kept.client if kept is not None else None


async def _withdraw(runtime: Runtime, client_id: str, known: Reading | None) -> None:
    """Invalidate the last reading of a document, also for the case that its server cannot be reached from now on."""
    if known is not None and known.fresh_until:
        await runtime.database.write(document_clients.withdraw_reading, client_id)


async def _may_be_new(runtime: Runtime) -> bool:
    """Whether one more client of this kind may be stored now: anybody with a domain can make up any number of them."""
    per_hour = runtime.settings.registrations_per_hour
    return not await take(runtime, "client documents", per_hour, per_hour / 3600)


def check_document(settings: Settings, client_id: str, body: bytes, known: Client | None = None) -> Client:
    """Return the client that a document describes, fetched from its identifier, with what an operator said of it; raise OAuthError."""
    try:
        document = loads(body, max_bytes=MAX_BYTES)
    except StrictJSONError as error:
        raise OAuthError(
            "invalid_client_metadata", "The document is not valid JSON.", detail=str(error)
        ) from None
    if not isinstance(document, dict) or document.get("client_id") != client_id:  # §4.1: "MUST match"
        raise OAuthError("invalid_client_metadata", "The client_id in the document is not its address.")
    if "client_secret" in document or "client_secret_expires_at" in document:  # §4.1
        raise OAuthError("invalid_client_metadata", "The document holds a client secret.")
    host = client_id.split("/")[2]
    return stated_clients.read(
        settings, document, client_id, origin="document", methods=METHODS, fallback_name=host, known=known
    )
