"""Management of people by operators: look-up, changes, sessions, reset links, removal of second factors.

The same functions serve the command line, the console and the admin API.
"""

from collections.abc import Collection

import msgspec

from watchword.credentials import names
from watchword.credentials.names import NameRefused
from watchword.flows import mail, membership
from watchword.flows.runtime import Runtime
from watchword.flows.sign_in import canonical
from watchword.flows.users import account_changes, accounts, enrolment, recovery
from watchword.oauth import claims, groups
from watchword.oauth.errors import OAuthError
from watchword.store import factors, profile_changes, sessions, user_changes, users
from watchword.store.factors import Enrolled
from watchword.store.profile_changes import Address, Membership
from watchword.store.sessions import Session
from watchword.store.users import User

MAX_ATTRIBUTES, MAX_ATTRIBUTE = 50, 2000
RESET_LIFETIME = 24 * 3600


class Changes(msgspec.Struct, frozen=True):
    """Changes to an account; None leaves a field as it is, an empty name removes it."""

    display_name: str | None = None
    email: str | None = None
    email_verified: bool | None = None
    attributes: dict[str, object] | None = None
    is_admin: bool | None = None
    groups: tuple[str, ...] | None = None


async def find(runtime: Runtime, who: str) -> User:
    """Return an account by identifier, user name or verified address; raise `not_found`."""
    user = await runtime.database.read(users.get_user, who) if who.startswith("user_") else None
    if user is None:
        user = await runtime.database.read(users.find_user, *canonical(who))
    if user is None:
        raise OAuthError("not_found", "There is no such account.", field="user")
    return user


async def factors_of(runtime: Runtime, user: User) -> Enrolled:
    """Return which second factors a person has set up."""
    return await runtime.database.read(factors.enrolled, user.id)


async def change(runtime: Runtime, user: User, changes: Changes, *, actor: str) -> User:
    """Apply all changes to an account or none; raise `invalid_request` naming the field, `not_found`, or `conflict`.

    A new address is told to the owner at the old one; a user name that is an address follows it once it is verified.
    """
    name = display_name(changes.display_name)
    address = _address(user, changes)
    if changes.attributes is not None:
        check_attributes(changes.attributes)
    member_of = None
    if changes.groups is not None:
        in_groups = groups.check(changes.groups)
        member_of = Membership(in_groups, membership.closed_to(runtime.settings, in_groups))
    told = None
    if address is not None:
        told = account_changes.address_changed(
            runtime, user, address.email, account_changes.UNTOLD, verified=address.verified
        )
    outcome: str = await mail.telling(runtime, {"changed": told}).database.write(
        profile_changes.update_profile,
        user.id,
        display_name=name,
        attributes=changes.attributes,
        is_admin=changes.is_admin,
        address=address,
        groups=member_of,
        actor=actor,
        now=runtime.now(),
    )
    if outcome == "other":
        raise OAuthError(
            "conflict", "The address was changed meanwhile: look at it again.", field="email_verified"
        )
    if outcome == "taken":
        raise OAuthError("conflict", "This address belongs to another account.", field="email")
    account_changes.check_outcome(outcome, "is_admin")
    return await find(runtime, user.id)


def display_name(given: str | None) -> str | None:
    """Return a display name as it is stored; raise `invalid_request` for one that cannot be shown."""
    if not given:
        return given
    try:
        return names.display(given)
    except NameRefused as error:
        raise OAuthError("invalid_request", str(error), field="display_name") from None


def check_attributes(attributes: dict[str, object]) -> None:
    """Check claims about a person that an operator states; raise `invalid_request`."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise OAuthError("invalid_request", f"At most {MAX_ATTRIBUTES} attributes.", field="attributes")
    for name, value in attributes.items():
        try:
            claims.check_custom_name(name)  # AD-06
        except OAuthError as error:
            raise OAuthError("invalid_request", error.description, field="attributes") from None
        if len(repr(value)) > MAX_ATTRIBUTE:
            raise OAuthError("invalid_request", "The value of an attribute is too long.", field="attributes")


def _address(user: User, changes: Changes) -> Address | None:
    """Return the new address, or the present one if only its verification changes; None when nothing does."""
    if changes.email is None and changes.email_verified is None:
        return None
    email = user.email if changes.email is None else changes.email
    if not email:
        raise OAuthError("invalid_request", accounts.NO_ADDRESS, field="email")
    try:
        deliverable, unique = names.deliverable_email(email), names.canonical_email(email)
    except NameRefused as error:
        raise OAuthError("invalid_request", str(error), field="email") from None
    is_same = changes.email is None or deliverable == user.email
    if is_same and changes.email_verified is None:
        return None
    return Address(deliverable, unique, verified=bool(changes.email_verified), only=is_same)


async def reset_link(runtime: Runtime, user: User, *, actor: str) -> str:
    """Return a one-time link by which a person sets a password, or a passkey where passwords are not in use; for an operator to pass on.

    It is good for a day. Raises `conflict` when a link cannot do that here.
    """
    ways = enrolment.choices(runtime)
    if not ways:
        raise OAuthError("conflict", enrolment.NOTHING)
    if "password" not in ways and await runtime.database.read(user_changes.has_factors, user.id):
        raise OAuthError("conflict", enrolment.FACTORS)
    return await recovery.hand_over_link(runtime, user, RESET_LIFETIME, actor=actor)


async def remove_factors(runtime: Runtime, user: User, *, actor: str) -> None:
    """Remove every second factor of a person who lost them; the owner is told, where there was one. Raise `not_found` when the account is
    gone."""
    within = mail.telling(runtime, {"changed": account_changes.factors_removed(runtime, user)})
    outcome: str = await within.database.write(
        user_changes.remove_factors, user.id, actor=actor, now=runtime.now()
    )
    account_changes.check_outcome(outcome)


async def live_sessions(
    runtime: Runtime, user_id: str, *, after: str = "", limit: int = 100
) -> list[Session]:
    """Return live sessions, newest first, of one person or of all (an empty identifier)."""
    return await runtime.lists.read(
        sessions.list_sessions, user_id=user_id, now=runtime.now(), after=after, limit=limit
    )


async def names_of(runtime: Runtime, user_ids: Collection[str]) -> dict[str, str]:
    """Return the user names of accounts by identifier; those that are gone are left out."""
    return await runtime.lists.read(users.names_of, list(user_ids))


async def end_session(runtime: Runtime, session_id: str, *, lasting: bool = False, actor: str) -> None:
    """End anybody's session, with `lasting` also the `offline_access` granted in it; raise `not_found` when it is not live."""
    ended = await runtime.database.write(
        sessions.end_session_elsewhere, session_id, lasting=lasting, actor=actor, now=runtime.now()
    )
    if not ended:
        raise OAuthError("not_found", "There is no such live session.")


async def end_sessions(runtime: Runtime, user: User, *, lasting: bool = False, actor: str) -> list[str]:
    """End every session of a person, with `lasting` also all grants to applications; return the sessions that were live."""
    now = runtime.now()
    if lasting:
        return await runtime.database.write(user_changes.end_elsewhere, user.id, but="", actor=actor, now=now)
    return await runtime.database.write(sessions.end_sessions_of, user.id, actor=actor, now=now)
