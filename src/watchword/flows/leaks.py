"""A credential that others may have is ended by those who run the service, by its text alone.

An API token ends with everything that was narrowed from it, an access token by itself, a refresh token with its whole grant. What a
newer secret has replaced, and what has ended already, is left as it is.
"""

from watchword.flows import api_tokens, examination, refresh_tokens, revocation
from watchword.flows.examination import Finding
from watchword.flows.runtime import Runtime
from watchword.store import grants

# An older token of a living family: whoever has it may have had the others as well.
_OF_A_LIVING_GRANT = ("active", "replaced")
# The secret at hand opens nothing any more, but the token may have a newer one that does.
_HARMLESS = ("unknown", "mistyped", "revoked", "expired", "rotated")


async def end(runtime: Runtime, text: str, *, actor: str) -> tuple[Finding, bool]:
    """End what the text is, if it is an API token, access token or refresh token; return what it was, and whether it was ended now."""
    finding = await examination.examine(runtime, text)
    credential = examination.bare(text)
    if finding.token is not None and finding.reason not in _HARMLESS:
        ended = await api_tokens.revoke(runtime, finding.token.id, reason="compromised", actor=actor)
        return finding, bool(ended)
    if finding.kind == "r" and finding.reason in _OF_A_LIVING_GRANT:
        return finding, await _end_grant(runtime, credential, actor)
    if not finding.active:
        return finding, False
    if finding.kind == "jwt":
        await revocation.end_self_contained(runtime, finding.claims, actor=actor)
    else:
        await revocation.end_opaque(runtime, credential, finding.client_id or "", actor=actor)
    return finding, True


async def _end_grant(runtime: Runtime, credential: str, actor: str) -> bool:
    presented = refresh_tokens.read(runtime, credential)
    found = await refresh_tokens.find(runtime, presented) if presented is not None else None
    if found is None:
        return False
    return await runtime.database.write(
        grants.end_grant, found.grant.id, reason="compromised", actor=actor, now=runtime.now()
    )
