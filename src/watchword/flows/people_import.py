"""People of another product: their accounts are read from its export and created here, with the passwords that they have.

All of an export is checked before anything is stored. An account whose name or address exists here is left alone, so that an import that
was interrupted can be repeated.
"""

from collections.abc import Iterable

import msgspec

from watchword.credentials import password as passwords
from watchword.credentials.password import HashRefused
from watchword.flows import accounts, people
from watchword.flows.runtime import Runtime
from watchword.jose import strict_json
from watchword.jose.strict_json import StrictJSONError
from watchword.oauth.errors import OAuthError
from watchword.store import new_accounts
from watchword.store.new_accounts import Unique
from watchword.store.users import User

MAX_LINE = 64 * 1024  # bytes
AT_ONCE = 100  # in one transaction: others wait for it some milliseconds
BOM = b"\xef\xbb\xbf"


class Exported(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One person as a line of JSON says it; the user name is the address unless it is given."""

    username: str | None = None
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    attributes: dict[str, object] = {}
    password_hash: str | None = None
    disabled: bool = False


class Ready(msgspec.Struct, frozen=True):
    """An account that can be created, and the line that it is from."""

    line: int
    user: User
    unique: Unique


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line that cannot be an account, and why."""

    line: int
    error: str
    error_description: str
    field: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What an import did: how many accounts it created, and the lines of those whose name or address is taken."""

    created: int
    existing: list[int]


def read(runtime: Runtime, lines: Iterable[bytes]) -> tuple[list[Ready], list[Refusal]]:
    """Check the lines of an export, one JSON object each; empty ones count and are nothing."""
    ready, refused = [], []
    for number, line in enumerate(lines, 1):
        try:
            if text := (line.removeprefix(BOM) if number == 1 else line).strip():
                ready.append(_account(runtime, number, text))
        except OAuthError as error:
            refused.append(Refusal(number, error.code, error.description, error.field))
    return ready, refused


def _account(runtime: Runtime, line: int, text: bytes) -> Ready:
    """Return the account of a line; raise `invalid_request` with what to change, which never repeats the hash."""
    if len(text) > MAX_LINE:
        raise OAuthError("invalid_request", f"A line has at most {MAX_LINE} bytes.")
    try:
        said = msgspec.convert(strict_json.loads(text, max_bytes=MAX_LINE), Exported)
    except msgspec.ValidationError as error:
        raise OAuthError("invalid_request", str(error)) from None
    except StrictJSONError as error:
        raise OAuthError("invalid_request", f"This is not a JSON object ({error}).") from None
    email = said.email or None
    username = said.username or email
    if username is None:
        raise OAuthError("invalid_request", "A person needs a username or an email.", field="username")
    if "@" in username and not said.email_verified:
        raise OAuthError(
            "invalid_request",
            "An address is a user name once it is verified: give email_verified, or another username.",
            field="username",
        )
    unique = accounts.check_names(username, email, own_address=said.email_verified)
    people.check_attributes(said.attributes)
    made = accounts.new_user(runtime, username, email, email_verified=said.email_verified, is_admin=False)
    user = msgspec.structs.replace(
        made,
        display_name=people.display_name(said.display_name) or None,
        attributes=said.attributes,
        disabled_at=made.created_at if said.disabled else None,
    )
    return Ready(line, user, accounts.unique_of(unique, _hash(said.password_hash)))


def _hash(exported: str | None) -> str | None:
    try:
        return passwords.adopt(exported) if exported else None
    except HashRefused as error:
        raise OAuthError("invalid_request", str(error), field="password_hash") from None


async def store(runtime: Runtime, ready: list[Ready], *, actor: str) -> Outcome:
    """Create the accounts, in the order of their lines, a hundred in one transaction."""
    existing: list[int] = []
    for begin in range(0, len(ready), AT_ONCE):
        some = ready[begin : begin + AT_ONCE]
        accounts = [(one.user, one.unique) for one in some]
        made = await runtime.database.write(new_accounts.create_imported, accounts, actor=actor)
        existing += [one.line for one, created in zip(some, made, strict=True) if not created]
    return Outcome(len(ready) - len(existing), existing)
