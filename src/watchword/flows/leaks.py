"""Operators revoke a leaked credential by its text alone.

An API token is revoked with everything narrowed from it, an access token with those exchanged for it, a refresh token with its
whole grant. An API token's secret that was replaced by a newer one, and what has ended already, stay as they are.
"""

from watchword.flows import api_tokens, examination, revocation
from watchword.flows.examination import Finding
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import SPENT
from watchword.store import grants

# By the clock of a guard or another node an access token may still be valid after its expiry, or become so (F-10).
_LIVING = ("active", "expired", "too_early")


async def end(runtime: Runtime, text: str, *, actor: str) -> tuple[Finding, bool]:
    """End what the text is, if it is an API token, access token or refresh token; return what it was, and whether it was ended now."""
    finding = await examination.examine(runtime, text)
    if finding.token is not None and finding.reason not in SPENT:
        ended = await api_tokens.revoke(runtime, finding.token.id, reason=api_tokens.COMPROMISED, actor=actor)
        return finding, bool(ended)
    if finding.grant_id is not None:
        # Whatever the token's state: access tokens outlive an expired family, and whoever has an old one may have had others.
        return finding, await _end_grant(runtime, finding.grant_id, actor)
    if finding.name == "access_jwt" and finding.reason in _LIVING:
        return finding, await revocation.end_self_contained(runtime, finding.claims, actor=actor)
    if finding.name == "o" and finding.reason in _LIVING:
        credential, client_id = examination.bare(text), finding.client_id or ""
        return finding, await revocation.end_opaque(runtime, credential, client_id, actor=actor)
    return finding, False


async def _end_grant(runtime: Runtime, grant_id: str, actor: str) -> bool:
    return await runtime.database.write(
        grants.end_grant, grant_id, reason="compromised", actor=actor, now=runtime.now()
    )
