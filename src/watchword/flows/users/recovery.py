"""A forgotten password: the page gives every name the same answer, at once, and the account is looked up afterwards.

Each request goes into the outbox encrypted; the job that sends mail looks the account up and makes the link. So neither the answer nor
its timing reveals whether a name is known (LG-05).
"""

from watchword.flows import mail, one_time
from watchword.flows.mail import Message, Origin
from watchword.flows.runtime import Runtime
from watchword.flows.sign_in import canonical
from watchword.flows.throttle import Throttled, network, stranger, throttle
from watchword.flows.users import accounts
from watchword.store import user_changes, users
from watchword.store.users import User

LIFETIME = 1800  # of a mailed link, in seconds
ASKED = "recover"
ADDRESS_CAPACITY, ADDRESS_PER_SECOND = 20.0, 1 / 60
ACCOUNT_CAPACITY, ACCOUNT_PER_SECOND = 4.0, 1 / 900


async def request(runtime: Runtime, identifier: str, origin: Origin) -> None:
    """Accept a request for a new password; raise Throttled when an address sends too many."""
    await throttle(
        runtime, f"recover address {network(origin.address)}", ADDRESS_CAPACITY, ADDRESS_PER_SECOND
    )
    context: dict[str, object] = {
        "identifier": identifier[:320],
        "at": runtime.now(),
        "address": origin.address,
        "place": origin.place,
    }
    await mail.send(runtime, Message("", ASKED, origin.locale, context), LIFETIME)


async def resolve(runtime: Runtime, message: Message, *, again: bool = False) -> Message | None:
    """Return the mail that answers a request: with a link, or saying that there is no account; None when there is nobody to write to.

    `again` is a retry of a mail that a server did not accept: it is not throttled a second time.
    """
    typed = str(message.context["identifier"])
    name, email = canonical(typed)
    found = await runtime.database.read(users.find_user, name, email)
    try:
        whom = found.id if found else stranger(runtime, email or name)
        if not again:
            await throttle(runtime, f"recover {whom}", ACCOUNT_CAPACITY, ACCOUNT_PER_SECOND)
    except Throttled:
        return None
    shared = {name: message.context.get(name) for name in ("at", "address", "place")}
    if found is None or found.disabled_at is not None:
        return Message(email, "reset_unknown", message.locale, shared) if email and not found else None
    if found.email is None or found.email_verified_at is None:
        return None
    link = await _make_link(runtime, found.id, found.email)
    if link is None:
        return None
    return Message(found.email, "reset", message.locale, {**shared, "link": link, "minutes": LIFETIME // 60})


async def _make_link(runtime: Runtime, user_id: str, email: str) -> str | None:
    """Return a one-time link for an account's password, to be mailed to its verified address; None when that has changed meanwhile."""
    link, now = runtime.new_secret("u"), runtime.now()
    kept = await runtime.database.write(
        user_changes.mail_reset_link,
        one_time.digest(link),
        user_id,
        email,
        expires_at=now + LIFETIME,
        now=now,
    )
    return _address(runtime, link) if kept else None


async def hand_over_link(runtime: Runtime, user: User, lifetime: int, *, actor: str) -> str:
    """Return such a link for an operator to pass on, good for `lifetime` seconds; the audit trail says who made it."""
    link = await one_time.hand_over(
        runtime,
        purpose=user_changes.HANDED_OVER,
        subject=user.id,
        data={},
        lifetime=lifetime,
        actor=actor,
        target=user.id,
        facts={},
    )
    return _address(runtime, link)


def _address(runtime: Runtime, link: str) -> str:
    return f"{runtime.settings.issuer}/reset-password?link={link}"


async def whose(runtime: Runtime, link: str | None) -> User | None:
    """Return the person whose password a live link sets, None when there is none."""
    for purpose in user_changes.RESETS:
        if found := await one_time.peek(runtime, link, purpose):
            user = await runtime.database.read(users.get_user, found.subject)
            return user if user is not None and user.disabled_at is None else None
    return None


async def reset(
    runtime: Runtime, user: User, link: str, password: str, *, end_all: bool, origin: Origin
) -> bool:
    """Set a password by a link, which is used up; False when the link is gone. Raise `invalid_request` naming what is wrong."""
    hashed = await accounts.hash_new_password(runtime, password, user.username, user.email)
    told = mail.notice(runtime, user, "password_changed", origin, "/recover", ended=end_all)
    done: str | None = await mail.telling(runtime, {user.id: told}).database.write(
        user_changes.reset_password, one_time.digest(link), hashed, end_all=end_all, now=runtime.now()
    )
    return done is not None
