"""RFC 5321: sending a mail through the operator's server, over TLS.

Owns the connection: `smtps://` speaks TLS from the start, `smtp://` requires STARTTLS. A server on this machine may do without, or have
a self-signed certificate, as a freshly installed one does: nobody can listen in between. What a mail says and when it is retried is
decided elsewhere.
"""

import asyncio
import contextlib
from datetime import UTC, datetime
from email.utils import format_datetime, make_msgid
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from watchword.networks import is_loopback

if TYPE_CHECKING:
    from email.message import EmailMessage

TIMEOUT = 20.0
# Seconds for a whole mail: less than the minute after which another worker would claim it and send it again.
LONGEST = 45.0
GOODBYE = 2.0


class MailError(Exception):
    """The server did not take the mail; `reason` names no content."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Letter(msgspec.Struct, frozen=True):
    """One mail to one address; `sent_at` in Unix seconds."""

    to: str
    subject: str
    body: str
    sender: str
    sent_at: int


def compose(letter: Letter) -> "EmailMessage":
    """Return the message; raise MailError when an address cannot be one (a line break would add headers)."""
    # Imported with the first mail: a server that only issues tokens never needs it.
    from email.message import EmailMessage

    message = EmailMessage()
    try:
        message["From"] = letter.sender
        message["To"] = letter.to
        message["Subject"] = letter.subject
    except ValueError:
        raise MailError("an address or the subject cannot be written into a header") from None
    message["Date"] = format_datetime(datetime.fromtimestamp(letter.sent_at, UTC))
    message["Message-ID"] = make_msgid(domain=letter.sender.rpartition("@")[2].rstrip("> ") or "localhost")
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 §5: automatic responders must not answer it
    message.set_content(letter.body)
    return message


async def send(url: str, letter: Letter) -> None:
    """Hand a mail to the server of an `smtp://` or `smtps://` address; raise MailError."""
    import aiosmtplib  # as above

    parts = urlsplit(url)
    host, secure = parts.hostname or "localhost", parts.scheme == "smtps"
    here = is_loopback(host)
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    server = aiosmtplib.SMTP(
        hostname=host,
        port=parts.port or (465 if secure else 587),
        username=user,
        password=password,
        use_tls=secure,
        start_tls=False if secure else (None if here else True),
        validate_certs=not here,
        timeout=TIMEOUT,
    )
    try:
        async with asyncio.timeout(LONGEST):
            await server.connect()
            await server.send_message(compose(letter))
    except (aiosmtplib.SMTPException, OSError) as error:
        raise MailError(_reason(error)) from None
    else:  # the mail was accepted: an error while closing must not cause another attempt
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await server.quit(timeout=GOODBYE)
    finally:
        server.close()


def _reason(error: Exception) -> str:
    """Return what failed in this machine's words: those of the server may name who the mail is for."""
    import aiosmtplib  # as above

    kind = type(error).__name__
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{kind} {error.code}"
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return kind
    return f"{kind}: {error}"[:200]
