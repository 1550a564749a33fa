"""People of another product: their accounts are read from its export and created here, with the passwords that they have.

The whole export is checked before anything is stored. Then it is read again, so that only the accounts of one transaction are in
memory, however long the export is. An account whose name or address exists here is left alone, so an interrupted import can be
repeated. Whether a name only looks like an existing one is found when it is stored; then only that line is refused.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import msgspec

from watchword.credentials import password as passwords
from watchword.credentials.password import HashRefused
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts, people
from watchword.jose import strict_json
from watchword.jose.strict_json import StrictJSONError
from watchword.oauth import groups
from watchword.oauth.errors import OAuthError
from watchword.store import new_accounts
from watchword.store.new_accounts import Unique
from watchword.store.users import User

MAX_LINE = 64 * 1024  # bytes, with what ends it
AT_ONCE = 100  # in one transaction: others wait for it some milliseconds
ALIKE = "Another account has a name that looks like this one: give one that people can tell from it."
BOM = b"\xef\xbb\xbf"


class Exported(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One person as a line of JSON says it; the user name is the address unless it is given."""

    username: str | None = None
    email: str | None = None
    email_verified: bool = False
    display_name: str | None = None
    attributes: dict[str, object] = {}
    groups: tuple[str, ...] = ()
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


class Imported(msgspec.Struct, frozen=True):
    """What an import did: how many accounts it created, the lines of those whose name or address is taken, and those that are refused."""

    created: int
    existing: list[int]
    refused: list[Refusal]


def read(runtime: Runtime, lines: Iterable[bytes]) -> Iterator[Ready | Refusal]:
    """Check the lines of an export, one JSON object each; empty ones count and are nothing."""
    for number, line in enumerate(lines, 1):
        try:
            if text := (line.removeprefix(BOM) if number == 1 else line).strip():
                yield _account(runtime, number, text, len(line))
        except OAuthError as error:
            yield Refusal(number, error.code, error.description, error.field)


def _account(runtime: Runtime, line: int, text: bytes, length: int) -> Ready:
    """Return the account of a line; raise `invalid_request` with what to change, which never repeats the hash."""
    if length > MAX_LINE:
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
    if said.email_verified and not email:
        raise OAuthError(
            "invalid_request", "There is no email that could be verified.", field="email_verified"
        )
    if "@" in username and not said.email_verified:
        raise OAuthError(
            "invalid_request",
            "An address is a user name once it is verified: give email_verified, or another username.",
            field="username",
        )
    unique = accounts.check_names(username, email, own_address=said.email_verified)
    people.check_attributes(said.attributes)
    made = accounts.new_user(
        runtime,
        username,
        email,
        email_verified=said.email_verified,
        groups=groups.check(said.groups),
        display_name=people.display_name(said.display_name) or None,
    )
    disabled_at = made.created_at if said.disabled else None
    user = msgspec.structs.replace(made, attributes=said.attributes, disabled_at=disabled_at)
    return Ready(line, user, accounts.unique_of(unique, _hash(said.password_hash)))


def _hash(exported: str | None) -> str | None:
    try:
        return passwords.adopt(exported) if exported else None
    except HashRefused as error:
        raise OAuthError("invalid_request", str(error), field="password_hash") from None


async def run(
    runtime: Runtime,
    lines: Callable[[], Iterable[bytes]],
    *,
    check: bool = False,
    keep_going: bool = False,
    actor: str,
) -> tuple[Imported, bool]:
    """Create the accounts of an export, in the order of its lines; nothing with `check`, or where a line can't be unless told to go on.

    Returns with it whether anything was to be stored. `lines` opens the file, a second time where everything is checked first; raises
    `conflict` when it is not the same then.
    """
    refused: list[Refusal] = []
    if not keep_going or check:
        refused += [one for one in read(runtime, lines()) if isinstance(one, Refusal)]
        if refused or check:
            return Imported(0, [], refused), False

    def ready() -> Iterator[Ready]:
        for one in read(runtime, lines()):
            if isinstance(one, Ready):
                yield one
            elif keep_going:
                refused.append(one)
            else:
                raise OAuthError("conflict", "The export was changed while it was read: import it again.")

    return await _store(runtime, ready(), refused, actor), True


async def _store(runtime: Runtime, ready: Iterator[Ready], refused: list[Refusal], actor: str) -> Imported:
    created = 0
    existing: list[int] = []
    while some := list(islice(ready, AT_ONCE)):
        accounts = [(one.user, one.unique) for one in some]
        made = await runtime.database.write(new_accounts.create_imported, accounts, actor=actor)
        created += made.count("created")
        existing += [one.line for one, outcome in zip(some, made, strict=True) if outcome == "existing"]
        alike = [one.line for one, outcome in zip(some, made, strict=True) if outcome == "alike"]
        refused += [Refusal(line, "conflict", ALIKE, "username") for line in alike]
    return Imported(created, existing, sorted(refused, key=lambda one: one.line))
