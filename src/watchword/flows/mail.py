"""Mail to people: encrypted in the outbox, because it may hold a one-time link; rendered when it is sent."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from watchword.flows import acting
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.store import outbox
from watchword.store.database import Transaction
from watchword.store.outbox import Outgoing, Sealed
from watchword.store.users import User

PURPOSE = "outbox"
LIFETIME = 86_400


class Message(msgspec.Struct, frozen=True):
    """A mail before it is rendered."""

    to: str
    template: str
    locale: str
    context: dict[str, object]


class Origin(msgspec.Struct, frozen=True):
    """Where a request came from, as a notification describes it."""

    address: str
    device: str
    locale: str = ""  # not known: what the account says of its person counts
    place: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


async def send(runtime: Runtime, message: Message, lifetime: int = LIFETIME) -> None:
    """Put a mail into the outbox; delivery is retried for `lifetime` seconds. Does nothing without a mail server."""
    if (sealed := _ready(runtime, message, lifetime)) is not None:
        await runtime.database.write(outbox.add_mail, sealed)


def _ready(runtime: Runtime, message: Message | None, lifetime: int) -> Sealed | None:
    if message is None or not runtime.settings.mails:
        return None
    mail_id, now = new_id("mail"), runtime.now()
    return Sealed(mail_id, seal(runtime, mail_id, message), now, now + lifetime)


def adding(
    runtime: Runtime, message: Message | None, lifetime: int = LIFETIME
) -> Callable[[Transaction], Awaitable[None]]:
    """Return the write that does what `send` does, inside the transaction of what the mail tells of; it does nothing for None."""
    sealed = _ready(runtime, message, lifetime)

    async def add(tx: Transaction) -> None:
        if sealed is not None:
            await outbox.add_mail(tx, sealed)

    return add


def telling(runtime: Runtime, messages: Mapping[object, Message | None], lifetime: int = LIFETIME) -> Runtime:
    """Return a runtime for one write, by whose outcome a mail is put into the outbox with it, both or neither."""
    if not runtime.settings.mails or not any(messages.values()):
        return runtime
    adds = {outcome: adding(runtime, message, lifetime) for outcome, message in messages.items()}

    async def tell(tx: Transaction, outcome: object) -> None:
        if (add := adds.get(outcome)) is not None:
            await add(tx)

    return acting.runtime_with(runtime, tell)


def seal(runtime: Runtime, mail_id: str, message: Message) -> bytes:
    """Return a mail as the outbox stores it."""
    return runtime.root.seal(PURPOSE, mail_id, _encode(message))


def read(runtime: Runtime, outgoing: Outgoing) -> Message:
    """Open a mail of the outbox; raise StorageUnavailable for a damaged one."""
    return _decode(runtime.root.open_kept(PURPOSE, outgoing.id, outgoing.sealed))


def notice(
    runtime: Runtime, user: User, template: str, origin: Origin, page: str, **more: object
) -> Message | None:
    """Return the mail that notifies the owner of an account at the verified address; None without one."""
    if user.email is None or user.email_verified_at is None:
        return None
    context = {
        "at": runtime.now(),
        "address": origin.address,
        "device": origin.device,
        "place": origin.place,
        "link": runtime.settings.issuer + page,
        **more,
    }
    locale = origin.locale or str(user.attributes.get("locale", ""))
    return Message(user.email, template, locale, context)


async def notify(
    runtime: Runtime, user: User, template: str, origin: Origin, page: str, **more: object
) -> None:
    """Notify the owner of an account of what is no change that could be undone with the mail."""
    message = notice(runtime, user, template, origin, page, **more)
    if message is not None:
        await send(runtime, message)
