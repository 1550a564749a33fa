"""What a one-time link lets somebody set up to sign in with: a passkey, a password, or whichever of the two they choose.

An account is also made with another provider, where there is one (`upstream_enrolment`).

A link that an administrator hands over is no proof of a passkey or a second factor that its person has: where it leads to a new
passkey, those are removed before, by a decision of its own.
"""

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import mail, one_time, passkeys
from watchword.flows.mail import Origin
from watchword.flows.runtime import Runtime
from watchword.store import user_changes
from watchword.store.passkeys import MadePasskey
from watchword.store.users import User

NOTHING = (
    "A link sets up a passkey or a password, and sign_in_methods takes neither here (passkeys need an issuer with a domain name): "
    "let people sign in with a provider."
)
FACTORS = (
    "A link does not stand in for the passkeys and second factors of an account: remove what the person has lost first "
    "(`watchword user remove-factors`), then make the link."
)


def taken(runtime: Runtime) -> tuple[str, ...]:
    """Return what a link lets somebody set up here, the strongest first; nothing where people come from providers only."""
    methods = runtime.settings.sign_in_methods
    possible = {"passkey": passkeys.party(runtime) is not None, "password": True}
    return tuple(name for name, can_be in possible.items() if can_be and name in methods)


async def recoverable(runtime: Runtime, user: User) -> tuple[str, ...]:
    """Return what a recovery link lets a person set up: no passkey beside a password where a passkey or second factor is there already,

    because a link stands in for neither (PS-05), and a password spares neither.
    """
    ways = taken(runtime)
    if "password" in ways and await runtime.database.read(user_changes.has_factors, user.id):
        return ("password",)
    return ways


def is_possible(runtime: Runtime) -> bool:
    """Whether a link makes an account here in any way."""
    return bool(taken(runtime) or runtime.settings.upstream)


async def recover(
    runtime: Runtime, user: User, link: str, made: MadePasskey, *, end_all: bool, origin: Origin
) -> bool:
    """Keep a passkey by a recovery link and use it up; False when it is gone. Raise PasskeyRefused."""
    outcome = await runtime.database.write(
        user_changes.recover_by_passkey, one_time.digest(link), made, end_all=end_all, now=runtime.now()
    )
    if outcome == "passkey":
        raise PasskeyRefused("known")
    if outcome != "kept":
        return False
    await mail.notify(runtime, user, "new_factor", origin, "/account/passkeys", change="passkey_added")
    return True
