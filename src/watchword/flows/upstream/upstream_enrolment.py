"""Accepting an invitation, or the owner's link of the first start, with another provider.

Theory of operation. The page behind a live link gives its browser a ticket per provider: the link, encrypted for that browser. The
ticket begins an attempt, which carries the link, encrypted again, through the provider. Nothing is stored before the provider has
answered. Then one transaction creates the account, links the identity and uses up the link.

A browser that is sent here without its own ticket begins an ordinary sign-in at most, and an answer counts only for the browser and
attempt that asked for it. So an identity is linked to the account of an invitation only if its owner pressed the button on the page
that names it.
"""

from watchword.credentials.upstream import Identity
from watchword.flows import one_time
from watchword.flows.databases import start
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts, sign_up
from watchword.oauth.errors import OAuthError
from watchword.store.users import User

PURPOSE = "upstream enrolment"
OWNER = "owner"


def ticket(runtime: Runtime, browser: str, name: str, link: str) -> str:
    """Return the ticket by which a browser accepts a link with a provider; it is worthless in another browser."""
    return runtime.root.seal_text(PURPOSE, f"{browser}\n{name}", link.encode())


async def open_ticket(runtime: Runtime, browser: str, name: str, sent: str) -> str | None:
    """Return the link in a ticket that was made for this browser and provider; None for another's, or when the link is gone."""
    try:
        link = runtime.root.open_text(PURPOSE, f"{browser}\n{name}", sent).decode()
    except ValueError:
        return None
    return link if await is_live(runtime, link) else None


async def is_live(runtime: Runtime, link: str) -> bool:
    """Whether a link is still good for an account."""
    return await for_owner(runtime, link) or await sign_up.read(runtime, link) is not None


async def for_owner(runtime: Runtime, link: str) -> bool:
    """Whether a live link makes the first owner."""
    return await start.peek_setup(runtime, link)


async def accept(runtime: Runtime, link: str, identity: Identity) -> User | None:
    """Create the account that a link allows, linked to a verified identity, and use the link up; None when it is gone.

    Raises `conflict` for a name that is taken, UpstreamRefused for an identity that is linked to another account.
    """
    if await for_owner(runtime, link):
        username, email = _owner_names(identity)
        return await accounts.create_owner(
            runtime,
            link=one_time.digest(link),
            username=username,
            email=email,
            email_verified=email is not None,
            name=identity.name,
            way=identity,
        )
    return await sign_up.accept(runtime, link, way=identity, name=identity.name)


def _owner_names(identity: Identity) -> tuple[str, str | None]:
    """Return the owner's user name and address: the verified address as both, else the provider's user name if it is valid here."""
    if identity.verified_email is not None:
        return identity.verified_email, identity.verified_email
    told = identity.preferred_username or OWNER
    try:
        accounts.check_names(told, None)
    except OAuthError:
        return OWNER, None
    return told, None
