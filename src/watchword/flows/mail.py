"""Mail to people: encrypted in the outbox, because it may hold a one-time link; rendered when it is sent."""

import os

import msgspec

from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.store import outbox
from watchword.store.outbox import Outgoing
from watchword.store.users import User
from watchword.telemetry import log

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
    if not runtime.settings.mails:
        return
    mail_id, now = new_id("mail"), runtime.now()
    sealed = seal(runtime, mail_id, message)
    if not await runtime.database.write(outbox.add_mail, mail_id, sealed, expires_at=now + lifetime, now=now):
        log.error("mail.outbox_full")


def seal(runtime: Runtime, mail_id: str, message: Message) -> bytes:
    """Return a mail as the outbox stores it."""
    return runtime.root.seal(PURPOSE, mail_id, _encode(message), os.urandom(12))


def read(runtime: Runtime, outgoing: Outgoing) -> Message:
    """Open a mail of the outbox."""
    return _decode(runtime.root.open(PURPOSE, outgoing.id, outgoing.sealed))


async def notify(
    runtime: Runtime, user: User, template: str, origin: Origin, page: str, **more: object
) -> None:
    """Notify the owner of an account at the verified address; does nothing without one."""
    if user.email is None or user.email_verified_at is None:
        return
    context = {
        "at": runtime.now(),
        "address": origin.address,
        "device": origin.device,
        "place": origin.place,
        "link": runtime.settings.issuer + page,
        **more,
    }
    locale = origin.locale or str(user.attributes.get("locale", ""))
    await send(runtime, Message(user.email, template, locale, context))
