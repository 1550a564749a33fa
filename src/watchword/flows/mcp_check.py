"""Whether what an MCP server tells its clients fits this server: its protected resource metadata against the settings (RFC 9728).

Fetched as everything that somebody else names, so that this opens no way into the operator's network; `watchword doctor` walks the
rest, from where the clients are.
"""

import msgspec

from watchword.fetch import FetchError, parse_target
from watchword.flows.runtime import Runtime
from watchword.jose import strict_json
from watchword.jose.strict_json import StrictJSONError
from watchword.oauth.claims import SIGN_IN_SCOPES
from watchword.oauth.scopes import is_reserved

WELL_KNOWN = "/.well-known/oauth-protected-resource"
MAX_BYTES = 64 * 1024


class Metadata(msgspec.Struct, frozen=True):
    """The members that decide whether a client finds the way here (RFC 9728 §2)."""

    resource: str
    authorization_servers: list[str] = []
    scopes_supported: list[str] = []


class Finding(msgspec.Struct, frozen=True):
    """What was found: `kind` is one of address, unread, invalid, resource, server, known, scopes; `value` is what it is about."""

    kind: str
    succeeded: bool
    value: str = ""


async def check(runtime: Runtime, url: str) -> list[Finding]:
    """Fetch the metadata of an MCP server by its address and compare it; what is wrong is among the findings."""
    settings = runtime.settings
    try:
        target = parse_target(url)
    except FetchError:
        return [Finding("address", False, url)]
    # §3.1: without a slash that ends it
    path = target.rest[1:] if target.rest[1:2] in ("", "?") else target.rest
    address = f"{target.scheme}://{target.header}{WELL_KNOWN}{path}"  # inserted before path and query
    try:
        answer = await runtime.outbound.get(
            address,
            max_bytes=MAX_BYTES,
            allow_loopback=settings.fetch_allow_loopback,
            now=runtime.clock(),
        )
    except FetchError as error:
        return [Finding("unread", False, f"{address}: {error.reason}")]
    try:
        found = msgspec.convert(strict_json.loads(answer.body, max_bytes=MAX_BYTES), Metadata)
    except (StrictJSONError, msgspec.ValidationError):
        return [Finding("invalid", False, address)]
    described = {*settings.scopes, *SIGN_IN_SCOPES}
    unknown = [one for one in found.scopes_supported if one not in described and not is_reserved(one)]
    return [
        Finding("resource", found.resource == url, found.resource),  # §3.3: compared as strings
        Finding("server", settings.issuer in found.authorization_servers, settings.issuer),
        Finding("known", found.resource in settings.apis, found.resource),
        Finding("scopes", not unknown, " ".join(unknown)),
    ]
