"""Second factors: setting them up, checking a code, and which of them a sign-in still needs.

A TOTP code works once (LG-09, RFC 6238 §5.2), and so does a recovery code; a code by mail allows a few attempts. Only somebody who has
given the first factor gets here. Attempts are counted by account, over all pending sign-ins (MF-02), and separately for each browser
that the person was signed in with before: so somebody who knows the password and guesses codes does not lock the owner out, and the
owner is told of it.
"""

import os
from collections.abc import Awaitable, Callable, Collection

from watchword.credentials import email_code, methods, recovery_codes, totp
from watchword.credentials.methods import AAL2, LEVELS, Method
from watchword.credentials.recovery_codes import RecoveryCodeRefused
from watchword.flows import mail, sessions
from watchword.flows.mail import Message, Origin
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import Source, Throttled, throttle
from watchword.settings import Settings
from watchword.store import attempts, browsers
from watchword.store import factors as store
from watchword.store.attempts import Bucket
from watchword.store.database import Transaction
from watchword.store.factors import Enrolled
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.telemetry import count

KEY_PURPOSE, SETUP_PURPOSE = "totp", "totp set-up"
SETUP_LIFETIME = 900
SIGN_IN = "sign-in"
# By account: ten attempts at once, then one every ten minutes; six mails at once, then one every ten minutes.
CAPACITY, PER_SECOND = 10.0, 1 / 600
WARNING = (1.0, 1 / 86_400)
MAIL_CAPACITY, MAIL_PER_SECOND = 6.0, 1 / 600
# What is offered first.
ORDER = ("passkey", "totp", "email_code", "recovery_code")

# Uses a proof up, in the transaction of what it was given for: where the database fails, the person can send the same code again.
Spend = Callable[[Transaction], Awaitable[None]]
Checked = tuple[Method, Spend]


class FactorRefused(Exception):
    """A code that was not accepted; `problem` names a text of the pages."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def usable(settings: Settings, have: Enrolled) -> tuple[str, ...]:
    """Return which second factors a person can use here, strongest first; recovery codes only together with another."""
    found = {
        "passkey": have.passkeys > 0,
        "totp": have.totp,
        "email_code": have.email_code and settings.mails,
        "recovery_code": have.recovery_codes > 0,
    }
    allowed = tuple(name for name in ORDER if found[name] and name in settings.second_factors)
    return () if allowed == ("recovery_code",) else allowed


def is_required(settings: Settings, user: User) -> bool:
    """Whether policy demands a second factor of a person."""
    wanted = settings.second_factor_required
    return wanted == "always" or (wanted == "administrators" and user.is_admin)


def demanded(settings: Settings, user: User, have: Enrolled) -> tuple[str, ...]:
    """Return the second factors of which one is demanded after a password; having a passkey alone demands none."""
    offered = usable(settings, have)
    switched_on = not {"totp", "email_code"}.isdisjoint(offered)
    return offered if switched_on or is_required(settings, user) else ()


def still_needed(used: Collection[Method], offered: tuple[str, ...], trusted: bool) -> tuple[str, ...]:
    """Return the second factors of which one is still needed after the methods used; none in a trusted browser."""
    acr, _amr = methods.assurance(used)
    if trusted or LEVELS.index(acr) >= LEVELS.index(AAL2):
        return ()
    return offered


# What a session must hold when somebody with second factors changes how the account is protected (MF-06).
SECOND = frozenset(
    {Method.PASSKEY, Method.PASSKEY_VERIFIED, Method.TOTP, Method.RECOVERY_CODE, Method.EMAIL_CODE}
)


def holds_second(amr: Collection[str], *, by_mail: bool = True) -> bool:
    """Whether the methods recorded for a session include a second factor; codes by mail count only with `by_mail`."""
    counted = SECOND if by_mail else SECOND - {Method.EMAIL_CODE}
    return not counted.isdisjoint(methods.methods_of(amr))


def confirming(settings: Settings, user: User, have: Enrolled) -> tuple[str, ...]:
    """Return the second factors that confirm a change: no code by mail for an administrator who has set up another.

    The mailbox also resets the password, so its reader alone would control the whole service (MF-06).
    """
    found = usable(settings, have)
    if user.is_admin and not {"passkey", "totp"}.isdisjoint(found):
        return tuple(name for name in found if name != "email_code")
    return found


async def admit(runtime: Runtime, user: User, method: str, source: Source, origin: Origin) -> Bucket:
    """Count one attempt at a second factor and return its bucket; raise Throttled, after warning the owner when the browser is unknown."""
    known = await runtime.database.read(browsers.is_known, user.id, source.browser)
    name = f"second factor {user.id}{f' {source.browser.hex()[:32]}' if known else ''}"
    bucket = Bucket(name, CAPACITY, PER_SECOND)
    try:
        await throttle(runtime, bucket.name, bucket.capacity, bucket.per_second)
    except Throttled:
        count("sign_ins", method, "throttled")
        if not known:
            await _warn(runtime, user, origin)
        raise
    return bucket


async def note_refused(runtime: Runtime, user: User, method: str, address: str) -> None:
    """Record a second factor that was not accepted."""
    count("sign_ins", method, "refused")
    await runtime.database.write(attempts.note_factor_refused, user.id, method, address, now=runtime.now())


async def _warn(runtime: Runtime, user: User, origin: Origin) -> None:
    try:
        await throttle(runtime, f"second factor warning {user.id}", *WARNING)
    except Throttled:
        return
    await mail.notify(runtime, user, "second_factor_guessed", origin, "/account/password")


async def check_totp(runtime: Runtime, user_id: str, code: str) -> Checked:
    """Check a code of an authenticator application; raise FactorRefused."""
    found = await runtime.database.read(store.find_totp, user_id)
    if found is None:
        raise FactorRefused("code_wrong")
    key = runtime.root.open_kept(KEY_PURPOSE, user_id, found.sealed_key)
    now = runtime.now()
    step = totp.verify(key, code, now=now)
    if step is None:
        raise FactorRefused("code_wrong")
    if step <= found.last_step:
        raise FactorRefused("code_used")

    async def spend(tx: Transaction) -> None:
        if not await store.use_totp_step(tx, user_id, step, now):
            raise FactorRefused("code_used")

    return Method.TOTP, spend


async def check_recovery_code(runtime: Runtime, user_id: str, code: str) -> Checked:
    """Check a recovery code; raise FactorRefused."""
    try:
        digest = recovery_codes.digest(code)
    except RecoveryCodeRefused:
        raise FactorRefused("code_wrong") from None
    if not await runtime.database.read(store.has_recovery_code, user_id, digest):
        raise FactorRefused("code_wrong")
    now = runtime.now()

    async def spend(tx: Transaction) -> None:
        if not await store.use_recovery_code(tx, user_id, digest, now):
            raise FactorRefused("code_wrong")

    return Method.RECOVERY_CODE, spend


async def send_email_code(runtime: Runtime, user: User, origin: Origin, *, again: bool) -> bool:
    """Send a code to a person's verified address; without `again` only if no live one was sent. Return whether one was; raise Throttled."""
    if user.email is None or user.email_verified_at is None:
        return False
    now = runtime.now()
    if not again and await runtime.database.read(store.has_live_email_code, user.id, SIGN_IN, now):
        return False
    await throttle(runtime, f"mail to {user.id}", MAIL_CAPACITY, MAIL_PER_SECOND)
    code = email_code.generate(os.urandom(email_code.RANDOM_BYTES))
    digest = _email_digest(runtime, user.id, code)
    until = now + email_code.LIFETIME
    context: dict[str, object] = {
        "code": email_code.grouped(code),
        "minutes": email_code.LIFETIME // 60,
        "at": now,
        "address": origin.address,
        "place": origin.place,
    }
    message = Message(user.email, "code", origin.locale, context)
    within = mail.telling(runtime, {True: message}, email_code.LIFETIME)
    sent: bool = await within.database.write(
        store.keep_email_code, user.id, SIGN_IN, digest, email=user.email, expires_at=until
    )
    return sent  # False with another address meanwhile


def _email_digest(runtime: Runtime, user_id: str, code: str) -> bytes:
    return email_code.digest(runtime.root.derive("email codes"), code, purpose=SIGN_IN, subject=user_id)


async def check_email_code(runtime: Runtime, user_id: str, code: str) -> Checked:
    """Check a code that was sent by mail; raise FactorRefused."""
    presented, now = _email_digest(runtime, user_id, code), runtime.now()
    challenge = await runtime.database.write(store.try_email_code, user_id, SIGN_IN)
    outcome = email_code.decide(challenge, presented, now)
    if outcome != "accepted":
        problems = {"wrong": "code_wrong", "used": "code_used"}
        raise FactorRefused(problems.get(outcome, "code_expired"))

    async def spend(tx: Transaction) -> None:
        if not await store.use_email_code(tx, user_id, SIGN_IN, presented, now):
            raise FactorRefused("code_used")

    return Method.EMAIL_CODE, spend


CHECKS = {"totp": check_totp, "recovery_code": check_recovery_code, "email_code": check_email_code}


def begin_totp(runtime: Runtime, user: User) -> tuple[bytes, str]:
    """Return a new key and its sealed form for the set-up page; nothing is stored until a code of it was correct."""
    key, moment = totp.secret_from(os.urandom(totp.SECRET_BYTES)), runtime.now().to_bytes(8, "big")
    return key, runtime.root.seal(SETUP_PURPOSE, user.id, moment + key).hex()


def open_totp(runtime: Runtime, user: User, sealed: str) -> bytes | None:
    """Return the key of a set-up form, or None when it is another person's, made up, or too old."""
    try:
        opened = runtime.root.open(SETUP_PURPOSE, user.id, bytes.fromhex(sealed))
    except ValueError:
        return None
    return opened[8:] if runtime.is_young(int.from_bytes(opened[:8], "big"), SETUP_LIFETIME) else None


async def confirm_totp(
    runtime: Runtime, session: Session, key: bytes, code: str, *, within: Runtime | None = None
) -> None:
    """Store the key of an authenticator application if its code is correct; raise FactorRefused, Throttled, or as `sessions.act`.

    `within` is a runtime for that one write, as `account_changes.changing` returns it.
    """
    who, now = session.user_id, runtime.now()
    await throttle(runtime, f"confirm second factor {who}", CAPACITY, PER_SECOND)
    step = totp.verify(key, code, now=now)
    if step is None:
        raise FactorRefused("code_wrong")
    sealed = runtime.root.seal(KEY_PURPOSE, who, key)
    more = {"step": step, "actor": who, "now": now}
    if not await sessions.act(within or runtime, session, store.add_totp, who, sealed, **more):
        raise FactorRefused("code_used")


async def remove_totp(runtime: Runtime, session: Session) -> bool:
    """Remove a person's authenticator application; return whether there was one. Raise as `sessions.act`."""
    who = session.user_id
    return await sessions.act(runtime, session, store.remove_totp, who, actor=who, now=runtime.now())


async def set_email_code(runtime: Runtime, session: Session, on: bool) -> bool:
    """Switch codes by mail on or off; return False without a verified address. Raise as `sessions.act`."""
    who = session.user_id
    return await sessions.act(runtime, session, store.set_email_code, who, on, actor=who, now=runtime.now())


async def make_recovery_codes(runtime: Runtime, session: Session) -> tuple[str, ...]:
    """Return a new set of recovery codes, shown only now; the old set is void. Raise as `sessions.act`."""
    codes = recovery_codes.generate(os.urandom(recovery_codes.RANDOM_BYTES))
    digests = [recovery_codes.digest(code) for code in codes]
    who, now = session.user_id, runtime.now()
    await sessions.act(runtime, session, store.replace_recovery_codes, who, digests, actor=who, now=now)
    return codes
