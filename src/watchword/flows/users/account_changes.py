"""Changes to an account: password, e-mail address, disabling and deletion; its owner is told of each by mail."""

from watchword.credentials import names
from watchword.credentials.methods import Method
from watchword.credentials.names import NameRefused
from watchword.flows import acting, mail, one_time, sessions, sign_in
from watchword.flows.mail import Message, Origin
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import throttle
from watchword.flows.users import accounts
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError
from watchword.store import links, user_changes, users
from watchword.store.conditions import in_session
from watchword.store.database import Transaction
from watchword.store.sessions import Session, elevate_session, renew_session
from watchword.store.users import User

VERIFY, VERIFY_LIFETIME = "verify_email", 1800
# Mail about an administrator's action does not say where the administrator was.
UNTOLD = Origin("", "")
MAIL_CAPACITY, MAIL_PER_SECOND = 6.0, 1 / 600


class PasswordWrong(Exception):
    """The given current password is wrong."""


async def change_password(
    runtime: Runtime,
    user: User,
    *,
    old: str | None,
    new: str,
    session: Session,
    end_others: bool,
    origin: Origin,
) -> str:
    """Change one's own password in a session, which goes on, and return its new cookie's value.

    Raise PasswordWrong, Throttled, `invalid_request` naming what is wrong with the new one, or as `sessions.act`.
    """
    found = await runtime.database.read(users.find_password, user.id)
    if found is not None and not await sign_in.confirm_password(runtime, user, old or ""):
        raise PasswordWrong
    if found is not None and old == new:
        raise OAuthError(
            "invalid_request", "This is the password you have now.", detail="same", field="password"
        )
    hashed = await accounts.hash_new_password(runtime, new, user.username, user.email)
    more = {"known": found, "but": session.id if end_others else None, "now": runtime.now()}
    told = mail.notice(runtime, user, "password_changed", origin, "/recover", ended=end_others)
    within, cookie = changing(runtime, session, True, told)
    changed = await sessions.act(within, session, user_changes.change_own_password, user.id, hashed, **more)
    if not changed:  # it was changed meanwhile, so the old password was not proven after all
        raise PasswordWrong
    return cookie


def changing(
    runtime: Runtime,
    session: Session,
    done: object,
    told: Message | None,
    *,
    end_others: bool = False,
    proved: Method | None = None,
) -> tuple[Runtime, str]:
    """Return a runtime for one change of credentials that somebody makes in a session, and the value of the session's new cookie (SE-01).

    In the transaction of the change, if its outcome is `done`, the mail about it is put into the outbox, the session gets the cookie (a
    copy of the old one is dead, SE-02) and the level of what was `proved` with the change, and with `end_others` every other session ends
    with what applications were granted in it (LG-16).
    """
    secret, now, who = runtime.new_secret("n"), runtime.now(), session.user_id
    tell, digest = mail.adding(runtime, told), token_format.digest(secret)

    async def then(tx: Transaction, outcome: object) -> None:
        if outcome != done:
            return
        if end_others:
            more = {"but": session.id, "actor": who, "now": now}
            await in_session(tx, session.id, who, now, user_changes.end_elsewhere, who, **more)
        if proved is None:
            await renew_session(tx, session.id, digest, actor=who, now=now)
        else:
            raised = sessions.raised_by(session, proved, now)
            await elevate_session(tx, session.id, digest, **raised, limits=None, actor=who, now=now)
        await tell(tx)

    return acting.runtime_with(runtime, then, ends=end_others), secret


async def request_email(runtime: Runtime, user: User, session_id: str, email: str, origin: Origin) -> bool:
    """Send a link that confirms an address as long as the session lives; False when it has ended.

    Raise `invalid_request` for what is no address, Throttled for too many.
    """
    try:
        canonical = names.canonical_email(email)
    except NameRefused as error:
        raise OAuthError("invalid_request", str(error), field="email") from None
    for whom in (f"mail to {user.id}", f"mail to {canonical}"):
        await throttle(runtime, whom, MAIL_CAPACITY, MAIL_PER_SECOND)
    link, now = runtime.new_secret("u"), runtime.now()
    context: dict[str, object] = {
        "link": f"{runtime.settings.issuer}/verify-email?link={link}",
        "minutes": VERIFY_LIFETIME // 60,
    }
    message = Message(names.deliverable_email(email), "verify", origin.locale, context)
    sent: bool = await mail.telling(runtime, {True: message}, VERIFY_LIFETIME).database.write(
        user_changes.request_email_change,
        one_time.digest(link),
        user.id,
        session_id,
        names.deliverable_email(email),
        expires_at=now + VERIFY_LIFETIME,
        now=now,
    )
    return sent


async def wish_of_link(runtime: Runtime, link: str | None) -> tuple[User, str] | None:
    """Return the account and the address that a live link confirms for it, None when there is no such link or account."""
    found = await one_time.peek(runtime, link, VERIFY)
    user = await runtime.database.read(users.get_user, found.subject) if found else None
    if found is None or user is None or user.disabled_at is not None:
        return None
    return user, str(found.data.get("email"))


async def confirm_email(runtime: Runtime, link: str, origin: Origin) -> str:
    """Set the address that a link confirms: "changed", "taken", "unknown" or "gone"."""
    wish = await wish_of_link(runtime, link)
    if wish is None:
        return "gone"
    user, email = wish
    told = address_changed(runtime, user, email, origin, verified=True)
    outcome: str = await mail.telling(runtime, {"changed": told}).database.write(
        user_changes.verify_email,
        one_time.digest(link),
        user.id,
        email,
        names.canonical_email(email),
        runtime.now(),
    )
    return outcome


def address_changed(
    runtime: Runtime, user: User, email: str, origin: Origin, *, verified: bool
) -> Message | None:
    """Return the mail to the address that the account had before this one; it says whether a verified one is the user name now.

    Whoever did not want the change needs an operator: from now on a reset link goes to the new address.
    """
    if user.email is None or names.canonical_email(user.email) == names.canonical_email(email):
        return None
    renamed = verified and "@" in user.username
    new = {"new_email": masked(email), "renamed": renamed, "link": _help_page(runtime)}
    return mail.notice(runtime, user, "email_changed", origin, "", **new)


def masked(email: str) -> str:
    """Return an address so that its owner recognises it but others do not learn it: `m…a@example.com`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…{local[-1:] if len(local) > 2 else ''}@{domain}"


async def pending_email(runtime: Runtime, user_id: str) -> str | None:
    """Return the address that still waits for its confirmation."""
    found = await runtime.database.read(links.find_live_link, user_id, VERIFY, runtime.now())
    return str(found.data.get("email")) if found else None


def factors_removed(runtime: Runtime, user: User) -> Message | None:
    """Return the mail to the owner whose second factors somebody with the right to do so removed."""
    page = "/account/second_factors"
    return mail.notice(runtime, user, "new_factor", UNTOLD, page, change="factors_removed")


async def set_disabled(runtime: Runtime, user: User, disabled: bool, *, actor: str) -> None:
    """Switch an account off, of which its owner is told, or on; raise `not_found`, or `conflict` for the last administrator."""
    is_news = disabled and user.disabled_at is None
    told = _ended(runtime, user, "disabled", UNTOLD) if is_news else None
    check_outcome(
        await mail.telling(runtime, {"changed": told}).database.write(
            user_changes.set_disabled, user.id, disabled, actor=actor, now=runtime.now()
        )
    )


async def delete(
    runtime: Runtime, user: User, *, actor: str, session: Session | None = None, origin: Origin = UNTOLD
) -> None:
    """Delete an account with everything that was issued for it; its owner is told. `session` and `origin` are given when the owner asks.

    Raises `not_found`, `conflict` for the last administrator, or as `sessions.act`.
    """
    more = {"actor": actor, "now": runtime.now()}
    within = mail.telling(runtime, {"changed": _ended(runtime, user, "deleted", origin)})
    check_outcome(await sessions.act(within, session, user_changes.delete_user, user.id, **more))


def _ended(runtime: Runtime, user: User, change: str, origin: Origin) -> Message | None:
    return mail.notice(runtime, user, "account_ended", origin, "", change=change, link=_help_page(runtime))


def _help_page(runtime: Runtime) -> str:
    return runtime.settings.help_url or runtime.settings.issuer


def check_outcome(outcome: str, field: str | None = None) -> None:
    """Raise the error for an outcome of a change: `not_found` for "unknown", `conflict` for "last" (administrator)."""
    if outcome == "unknown":
        raise OAuthError("not_found", "There is no such account.")
    if outcome == "last":
        raise OAuthError("conflict", "This is the last administrator: make another one first.", field=field)
