"""One-time links: made for a purpose, sent by mail or shown to an operator, checkable offline, stored by digest."""

from collections.abc import Awaitable, Callable

from watchword.flows import mail
from watchword.flows.mail import Message
from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.store import links
from watchword.store.links import Link


async def make(
    runtime: Runtime, *, purpose: str, subject: str, data: dict[str, object], lifetime: int
) -> str:
    """Return the secret of a fresh link; the older one for the same purpose and subject is void. `lifetime` is in seconds."""
    return await _keep(
        runtime, links.create_link, lifetime, None, purpose=purpose, subject=subject, data=data
    )


async def hand_over(
    runtime: Runtime,
    *,
    purpose: str,
    subject: str,
    data: dict[str, object],
    lifetime: int,
    actor: str,
    target: str,
    facts: dict[str, object],
    message: Callable[[str], Message] | None = None,
) -> str:
    """Return a link as `make` does, made by an operator: recorded in the audit trail, with `target` and `facts`.

    The mail that `message` makes of it is sent where the link is kept, and only there.
    """
    told = {"actor": actor, "target": target, "facts": facts}
    return await _keep(
        runtime, links.hand_over_link, lifetime, message, purpose=purpose, subject=subject, data=data, **told
    )


async def _keep(
    runtime: Runtime,
    operation: Callable[..., Awaitable[None]],
    lifetime: int,
    message: Callable[[str], Message] | None,
    **what: object,
) -> str:
    secret, now = runtime.new_secret("u"), runtime.now()
    within = mail.telling(runtime, {None: message(secret) if message else None}, lifetime)
    await within.database.write(operation, digest(secret), expires_at=now + lifetime, now=now, **what)
    return secret


async def peek(runtime: Runtime, secret: str | None, purpose: str) -> Link | None:
    """Return a live link without using it up."""
    if not secret or not token_format.is_well_formed(secret, runtime.settings.brand, "u"):
        return None
    return await runtime.database.read(links.peek_link, digest(secret), purpose, runtime.now())


def digest(secret: str) -> bytes:
    """Return the digest under which a link is stored."""
    return token_format.digest(secret)
