"""Reports of tokens and sessions that were sent over unencrypted HTTP: recorded once a day, and ended at once if the settings say so.

Possession of a token is enough to report it, as it is enough to use it. The reporter learns nothing about it. A secret that a newer one
has replaced does nothing here either: whoever has it must not end the token whose secret they no longer know.
"""

from watchword.flows import api_tokens, introspection, revocation, sessions, token_notices, token_verification
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.oauth import token_format
from watchword.store import tokens

ACTOR = "guard"


async def report(runtime: Runtime, token: str) -> None:
    """Record that a token was exposed; anything that is not an active token of this server is ignored."""
    if token_format.kind_of(token, runtime.settings.brand) == "a":
        await _api_token(runtime, token)
        return
    answer = await introspection.introspect(runtime, token, Use())
    if not answer.active:
        return
    await _note(runtime, str(answer.claims["jti"]))
    if runtime.settings.exposed_tokens == "revoke":
        if token.count(".") == 2:
            await revocation.end_self_contained(runtime, answer.claims, actor=ACTOR)
        else:
            await revocation.end_opaque(runtime, token, str(answer.claims["client_id"]), actor=ACTOR)


async def report_session(runtime: Runtime, cookie: str) -> None:
    """Record that the cookie of a session was exposed; one of no live session is ignored."""
    visitor = await sessions.visitor(runtime, cookie)
    if visitor is None:
        return
    await _note(runtime, visitor[0].id, "session.exposed")
    if runtime.settings.exposed_tokens == "revoke":
        await sessions.end(runtime, visitor[0], actor=ACTOR)


async def _api_token(runtime: Runtime, token: str) -> None:
    found = await token_verification.lookup(runtime, token)
    if found is None:
        return
    # The token's limits do not matter: it is exposed even on a path where it does not work.
    if token_verification.decide(runtime, found, Use(), runtime.now()) in token_verification.SPENT:
        return
    is_first = await _note(runtime, found.token.id)
    if runtime.settings.exposed_tokens == "revoke":
        await api_tokens.revoke(runtime, found.token.id, reason=api_tokens.COMPROMISED, actor=ACTOR)
    elif is_first:
        await token_notices.tell_leaked(runtime, [found.token.id], "exposed")


async def _note(runtime: Runtime, target: str, event: str = "token.exposed") -> bool:
    digest = token_format.digest(f"exposed {target}")
    return await runtime.database.write(
        tokens.note_exposed, digest, event, target, actor=ACTOR, now=runtime.now()
    )
