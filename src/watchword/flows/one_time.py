"""One-time links: made for a purpose, sent by mail or shown to an operator, recognised offline, kept by digest."""

from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.store import links
from watchword.store.links import Link


async def make(
    runtime: Runtime, *, purpose: str, subject: str, data: dict[str, object], lifetime: int
) -> str:
    """Return a fresh link's secret; the older one for the same purpose and subject is dead. `lifetime` is in seconds."""
    secret, now = runtime.new_secret("u"), runtime.now()
    await runtime.database.write(
        links.create_link,
        digest(secret),
        purpose=purpose,
        subject=subject,
        data=data,
        expires_at=now + lifetime,
        now=now,
    )
    return secret


async def peek(runtime: Runtime, secret: str | None, purpose: str) -> Link | None:
    """Return a live link without using it up."""
    if not secret or not token_format.is_well_formed(secret, runtime.settings.brand, "u"):
        return None
    return await runtime.database.read(links.peek_link, digest(secret), purpose, runtime.now())


def digest(secret: str) -> bytes:
    """Return under what a link is kept."""
    return token_format.digest(secret)
