"""Changes to an account: password, e-mail address, disabling and deletion; its owner is told of each by mail."""

from watchword.credentials import names
from watchword.credentials.names import NameRefused
from watchword.flows import accounts, mail, one_time, sessions, sign_in
from watchword.flows.mail import Message, Origin
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import throttle
from watchword.oauth.errors import OAuthError
from watchword.store import links, user_changes, users
from watchword.store.sessions import Session
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
) -> None:
    """Change one's own password in a session, which goes on.

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
    changed = await sessions.act(runtime, session, user_changes.change_own_password, user.id, hashed, **more)
    if not changed:  # it was changed meanwhile, so the old password was not proven after all
        raise PasswordWrong
    await mail.notify(runtime, user, "password_changed", origin, "/recover", ended=end_others)


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
    if not await runtime.database.write(
        user_changes.request_email_change,
        one_time.digest(link),
        user.id,
        session_id,
        names.deliverable_email(email),
        expires_at=now + VERIFY_LIFETIME,
        now=now,
    ):
        return False
    context: dict[str, object] = {
        "link": f"{runtime.settings.issuer}/verify-email?link={link}",
        "minutes": VERIFY_LIFETIME // 60,
    }
    await mail.send(
        runtime, Message(names.deliverable_email(email), "verify", origin.locale, context), VERIFY_LIFETIME
    )
    return True


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
    outcome = await runtime.database.write(
        user_changes.verify_email,
        one_time.digest(link),
        user.id,
        email,
        names.canonical_email(email),
        runtime.now(),
    )
    if outcome == "changed":
        await tell_address_changed(runtime, user, email, origin, verified=True)
    return outcome


async def tell_address_changed(
    runtime: Runtime, user: User, email: str, origin: Origin, *, verified: bool
) -> None:
    """Tell the owner at the address that the account had before this one, and whether a verified one is the user name now.

    Whoever did not want the change needs an operator: from now on a reset link goes to the new address.
    """
    if user.email is None or names.canonical_email(user.email) == names.canonical_email(email):
        return
    renamed = verified and "@" in user.username
    new = {"new_email": masked(email), "renamed": renamed, "link": _help_page(runtime)}
    await mail.notify(runtime, user, "email_changed", origin, "", **new)


def masked(email: str) -> str:
    """Return an address so that its owner recognises it but others do not learn it: `m…a@example.com`."""
    local, _, domain = email.rpartition("@")
    return f"{local[:1]}…{local[-1:] if len(local) > 2 else ''}@{domain}"


async def pending_email(runtime: Runtime, user_id: str) -> str | None:
    """Return the address that still waits for its confirmation."""
    found = await runtime.database.read(links.find_live_link, user_id, VERIFY, runtime.now())
    return str(found.data.get("email")) if found else None


async def tell_factors_removed(runtime: Runtime, user: User) -> None:
    """Tell the owner that somebody with the right to do so removed the second factors."""
    await mail.notify(
        runtime, user, "new_factor", UNTOLD, "/account/second_factors", change="factors_removed"
    )


async def set_disabled(runtime: Runtime, user: User, disabled: bool, *, actor: str) -> None:
    """Switch an account off, of which its owner is told, or on; raise `not_found`, or `conflict` for the last administrator."""
    check_outcome(
        await runtime.database.write(
            user_changes.set_disabled, user.id, disabled, actor=actor, now=runtime.now()
        )
    )
    if disabled and user.disabled_at is None:
        await _tell_ended(runtime, user, "disabled", UNTOLD)


async def delete(
    runtime: Runtime, user: User, *, actor: str, session: Session | None = None, origin: Origin = UNTOLD
) -> None:
    """Delete an account with everything that was issued for it; its owner is told. `session` and `origin` are given when the owner asks.

    Raises `not_found`, `conflict` for the last administrator, or as `sessions.act`.
    """
    more = {"actor": actor, "now": runtime.now()}
    check_outcome(await sessions.act(runtime, session, user_changes.delete_user, user.id, **more))
    await _tell_ended(runtime, user, "deleted", origin)


async def _tell_ended(runtime: Runtime, user: User, change: str, origin: Origin) -> None:
    await mail.notify(runtime, user, "account_ended", origin, "", change=change, link=_help_page(runtime))


def _help_page(runtime: Runtime) -> str:
    return runtime.settings.help_url or runtime.settings.issuer


def check_outcome(outcome: str, field: str | None = None) -> None:
    """Raise the error for an outcome of a change: `not_found` for "unknown", `conflict` for "last" (administrator)."""
    if outcome == "unknown":
        raise OAuthError("not_found", "There is no such account.")
    if outcome == "last":
        raise OAuthError("conflict", "This is the last administrator: make another one first.", field=field)
