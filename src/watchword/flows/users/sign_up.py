"""New accounts: the address is verified first, by a mailed link, and becomes the user name, so that no page reveals who has an account.

An invitation is the same link, made by an administrator. The answer to a stranger is the same whether or not the address has an
account: only the owner of the address learns that, by mail (LG-05).
"""

import msgspec

from watchword.credentials import names
from watchword.credentials.names import NameRefused
from watchword.credentials.upstream import Identity
from watchword.flows import mail, one_time
from watchword.flows.mail import Message, Origin
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import Throttled, network, throttle
from watchword.flows.users import account_changes, accounts, enrolment
from watchword.oauth.errors import OAuthError
from watchword.store import new_accounts, users
from watchword.store.links import Link
from watchword.store.passkeys import MadePasskey
from watchword.store.users import User

REGISTER, INVITE = "register", "invite"
REGISTER_LIFETIME, INVITE_LIFETIME = 1800, 72 * 3600
ASKED = "register"
ADDRESS_CAPACITY, ADDRESS_PER_SECOND = 20.0, 1 / 60
MAIL_CAPACITY, MAIL_PER_SECOND = 4.0, 1 / 900


class Invitation(msgspec.Struct, frozen=True):
    """A verified address that has no account yet."""

    email: str
    is_admin: bool
    invited: bool


def is_open(runtime: Runtime) -> bool:
    """Whether anybody can create an account here, without an invitation."""
    settings = runtime.settings
    return settings.sign_up == "open" and settings.mails and bool(enrolment.choices(runtime))


def check_email(email: str) -> str:
    """Return the canonical form of an address; raise `invalid_request`."""
    try:
        return names.canonical_email(email)
    except NameRefused as error:
        raise OAuthError("invalid_request", str(error), field="email") from None


async def request(runtime: Runtime, email: str, origin: Origin) -> None:
    """Accept a request to sign up; raise `invalid_request` for an invalid address, Throttled when there are too many."""
    check_email(email)
    await throttle(
        runtime, f"register address {network(origin.address)}", ADDRESS_CAPACITY, ADDRESS_PER_SECOND
    )
    await mail.send(
        runtime, Message(names.deliverable_email(email), ASKED, origin.locale, {}), REGISTER_LIFETIME
    )


async def resolve(runtime: Runtime, message: Message, *, again: bool = False) -> Message | None:
    """Return the mail that answers a request to sign up; None when too many were sent to the address. `again` as in `recovery`."""
    canonical = check_email(message.to)
    try:
        if not again:
            await throttle(runtime, f"mail to {canonical}", MAIL_CAPACITY, MAIL_PER_SECOND)
    except Throttled:
        return None
    if await runtime.database.read(users.is_email_taken, canonical):
        known: dict[str, object] = {"link": f"{runtime.settings.issuer}/sign-in"}
        return Message(message.to, "already_registered", message.locale, known)
    link = await one_time.make(
        runtime, purpose=REGISTER, subject=canonical, data={"email": message.to}, lifetime=REGISTER_LIFETIME
    )
    context: dict[str, object] = {
        "link": f"{runtime.settings.issuer}/sign-up?link={link}",
        "minutes": REGISTER_LIFETIME // 60,
    }
    return Message(message.to, "verify", message.locale, context)


async def invite(
    runtime: Runtime,
    email: str,
    *,
    is_admin: bool,
    inviter: str | None,
    actor: str,
    by: str | None = None,
    locale: str = "en",
) -> str:
    """Invite somebody by mail and return the link, which an operator may also pass on; raise `invalid_request` or `conflict`.

    An invitation `by` a person (an identifier) is valid only while that person may invite; raises `insufficient_scope` if they may not
    now.
    """
    canonical = check_email(email)
    if not enrolment.is_possible(runtime):
        raise OAuthError("conflict", enrolment.NOTHING, field="email")
    if await runtime.database.read(users.is_email_taken, canonical):
        raise OAuthError("conflict", "This address has an account already.", field="email")
    data: dict[str, object] = {
        "email": names.deliverable_email(email),
        "is_admin": is_admin,
        "actor": actor,
        "by": by,
    }
    if not await _stands(runtime, Link(INVITE, canonical, data, 0)):
        raise OAuthError(
            "insufficient_scope",
            "Only an administrator can invite administrators: the owner of this token is not one.",
            field="is_admin",
        )

    def address(link: str) -> str:
        return f"{runtime.settings.issuer}/sign-up?link={link}"

    def message(link: str) -> Message:
        hours = INVITE_LIFETIME // 3600
        context: dict[str, object] = {"link": address(link), "inviter": inviter, "hours": hours}
        return Message(names.deliverable_email(email), "invite", locale, context)

    link = await one_time.hand_over(
        runtime,
        purpose=INVITE,
        subject=canonical,
        data=data,
        lifetime=INVITE_LIFETIME,
        actor=actor,
        target=account_changes.masked(canonical),
        facts={"admin": is_admin},
        message=message,
    )
    return address(link)


async def read(runtime: Runtime, link: str | None) -> Invitation | None:
    """Return the address that a live link verifies, None when there is no such link."""
    found = await one_time.peek(runtime, link, INVITE)
    if found is not None:
        invitation = Invitation(str(found.data["email"]), bool(found.data.get("is_admin")), True)
        return invitation if await _stands(runtime, found) else None
    found = await one_time.peek(runtime, link, REGISTER)
    if found is None or runtime.settings.sign_up != "open":
        return None
    return Invitation(str(found.data["email"]), False, False)


async def _stands(runtime: Runtime, link: Link) -> bool:
    inviter = new_accounts.inviter_of(link)
    who = await runtime.database.read(users.get_user, inviter) if inviter else None
    return new_accounts.stands(link, who)


async def accept(
    runtime: Runtime,
    link: str,
    *,
    password: str | None = None,
    way: MadePasskey | Identity | None = None,
    name: str | None,
) -> User | None:
    """Create the account of a verified address and use the link up; None when the link is gone.

    The person signs in with the password or by `way`. Raise as `accounts.create_by_link`.
    """
    invitation = await read(runtime, link)
    if invitation is None:
        return None
    purpose = INVITE if invitation.invited else REGISTER
    return await accounts.create_by_link(
        runtime,
        link=one_time.digest(link),
        purpose=purpose,
        email=invitation.email,
        is_admin=invitation.is_admin,
        password=password,
        way=way,
        name=name,
    )
