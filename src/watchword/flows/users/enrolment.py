"""What a person can set up by a one-time link to sign in with: a passkey, a password, or either.

An account can also be created with another provider, where one is configured (`upstream.upstream_enrolment`).

A link from an administrator does not replace an existing passkey or second factor of the person: before it may add a new passkey, an
administrator has to remove those explicitly.
"""

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import mail, one_time, passkeys
from watchword.flows.mail import Origin
from watchword.flows.runtime import Runtime
from watchword.store import user_changes
from watchword.store.passkeys import MadePasskey
from watchword.store.users import User

NOTHING = (
    "A link sets up a passkey or a password, and sign_in_methods allows neither here (passkeys need an issuer with a domain name): "
    "let people sign in with a provider."
)
FACTORS = (
    "A link cannot replace the passkeys and second factors of an account: remove what the person has lost first "
    "(`watchword user remove-factors`), then make the link."
)


def choices(runtime: Runtime) -> tuple[str, ...]:
    """Return what can be set up by a link here, strongest first; nothing where people sign in by providers only."""
    methods = runtime.settings.sign_in_methods
    possible = {"passkey": passkeys.party(runtime) is not None, "password": True}
    return tuple(name for name, can_be in possible.items() if can_be and name in methods)


async def recoverable(runtime: Runtime, user: User) -> tuple[str, ...]:
    """Return what a person can set up by a recovery link: only a password if they have a passkey or second factor.

    A link must not replace those (PS-05); a new password removes none of them.
    """
    ways = choices(runtime)
    if "password" in ways and await runtime.database.read(user_changes.has_factors, user.id):
        return ("password",)
    return ways


def is_possible(runtime: Runtime) -> bool:
    """Whether a link can create an account here at all."""
    return bool(choices(runtime) or runtime.settings.upstream)


async def recover(
    runtime: Runtime, user: User, link: str, made: MadePasskey, *, end_all: bool, origin: Origin
) -> bool:
    """Add a passkey by a recovery link, which is used up; False when the link is gone. Raise PasskeyRefused for a known passkey."""
    changes = {"kept": "passkey_added", "replaced": "password_replaced"}
    page, more = "/account/passkeys", {"ended": end_all}
    told: dict[object, mail.Message | None] = {
        outcome: mail.notice(runtime, user, "new_factor", origin, page, change=change, **more)
        for outcome, change in changes.items()
    }
    outcome: str = await mail.telling(runtime, told).database.write(
        user_changes.recover_by_passkey, one_time.digest(link), made, end_all=end_all, now=runtime.now()
    )
    if outcome == "passkey":
        raise PasskeyRefused("known")
    return outcome in changes
