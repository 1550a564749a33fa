"""Mail by SMTP: a real server on loopback takes it, refuses it, is away; nothing is lost and nothing is sent twice."""

import asyncio
import contextlib
import email
import ssl
from collections.abc import AsyncIterator
from email.message import Message as Email
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fixtures import certificates
from tests.fixtures.accounts import EMAIL, another, make
from tests.fixtures.people import Person, link_in
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, free_port, open_server

from watchword import jobs, smtp
from watchword.flows.users import sign_up
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.smtp import Letter, MailError


class Mailbox:
    """A mail server that takes what it is given, unless it is told to refuse."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: list[Email] = []
        self.answer = b"250 taken"
        self.pause = 0.0  # seconds before each answer
        self.leave = b"221 bye\r\n"  # with b"-" it keeps silent, with b"" it hangs up once it took a mail
        self.tls: ssl.SSLContext | None = None
        self.over_tls = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while line := await reader.readline():
                command = line[:4].upper()
                await asyncio.sleep(self.pause)
                if command == b"DATA":
                    writer.write(b"354 go on\r\n")
                    data = await reader.readuntil(b"\r\n.\r\n")
                    if self.answer.startswith(b"250"):
                        self.taken.append(email.message_from_bytes(data[:-5]))
                    writer.write(self.answer + b"\r\n")
                    if not self.leave:
                        break
                elif command == b"EHLO" and self.tls is not None:
                    writer.write(b"250-mail.example\r\n250 STARTTLS\r\n")
                elif command == b"STAR" and self.tls is not None:
                    writer.write(b"220 go on\r\n")
                    await writer.start_tls(self.tls)
                    self.over_tls += 1
                elif command == b"QUIT":
                    if self.leave == b"-":
                        await reader.read()
                    writer.write(self.leave)
                    break
                else:
                    writer.write(b"250 mail.example\r\n")
                await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """The mail server."""
    made = Mailbox()
    await made.open()
    yield made
    await made.close()


@pytest_asyncio.fixture
async def server(mailbox: Mailbox, store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application in production, with a mail server on this machine."""
    options = {
        "database": store.address,
        "key_file": str(tmp_path / "key"),
        "smtp_url": f"smtp://127.0.0.1:{mailbox.port}",
        "mail_from": "Northwind <no-reply@example.com>",
    }
    async with open_server(tmp_path, service_name="Northwind", **options) as opened:
        await make(opened)
        yield opened


async def forget_password(server: Server) -> None:
    """Ask for a link."""
    person = Person(server, another(server))
    await person.open("/recover")
    await person.send({"identifier": EMAIL})


async def test_a_mail_is_taken_once_and_says_who_sends_it(server: Server, mailbox: Mailbox) -> None:
    await forget_password(server)
    assert mailbox.taken == [], "the page does not wait for the mail server"
    await jobs.deliver_mail(server.runtime)
    await jobs.deliver_mail(server.runtime)
    assert len(mailbox.taken) == 1
    mail = mailbox.taken[0]
    assert (mail["to"], mail["from"]) == (EMAIL, "Northwind <no-reply@example.com>")
    assert mail["subject"] == "Set a new password for Northwind"
    assert mail["auto-submitted"] == "auto-generated"
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    page = await server.http.get(link_in(body.decode()))
    assert page.status_code == 200, "its link works"


@pytest.mark.parametrize("fault", ["refused for now", "away", "slower in all than a worker has a mail"])
async def test_a_mail_that_is_not_taken_is_tried_again(
    server: Server, mailbox: Mailbox, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await forget_password(server)
    if fault == "away":
        await mailbox.close()
    elif fault == "refused for now":
        mailbox.answer = b"451 later"
    else:
        mailbox.pause = 0.1
        monkeypatch.setattr(smtp, "LONGEST", 0.2)
    await jobs.deliver_mail(server.runtime)
    assert mailbox.taken == []
    if fault == "away":
        await mailbox.open()
    mailbox.answer, mailbox.pause = b"250 taken", 0.0
    monkeypatch.undo()
    await jobs.deliver_mail(server.runtime)
    assert mailbox.taken == [], "not at once"
    server.clock.advance(61)
    await jobs.deliver_mail(server.runtime)
    assert len(mailbox.taken) == 1


@pytest.mark.parametrize("leave", [b"-", b"", b"500 no\r\n", b"nonsense\r\n"])
async def test_a_mail_that_was_taken_is_not_sent_again_for_how_the_server_takes_leave(
    server: Server, mailbox: Mailbox, leave: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "LONGEST", 5.0)  # less than it would wait for the answer
    monkeypatch.setattr(smtp, "GOODBYE", 0.2)
    mailbox.leave = leave
    await forget_password(server)
    await jobs.deliver_mail(server.runtime)
    server.clock.advance(61)
    await jobs.deliver_mail(server.runtime)
    assert len(mailbox.taken) == 1


async def test_wishes_that_a_mail_server_keeps_waiting_are_counted_once_each(
    server: Server, mailbox: Mailbox
) -> None:
    for _ in range(4):  # as many as one account may have at once
        await forget_password(server)
    mailbox.answer = b"451 later"
    for pause in (0, 61, 241):
        server.clock.advance(pause)
        await jobs.deliver_mail(server.runtime)
    assert mailbox.taken == []
    mailbox.answer = b"250 taken"
    server.clock.advance(541)
    await jobs.deliver_mail(server.runtime)
    assert len(mailbox.taken) == 4, "an outage of the mail server loses none"


async def test_a_mail_whose_link_has_run_out_is_not_sent_any_more(server: Server, mailbox: Mailbox) -> None:
    await forget_password(server)
    server.clock.advance(1801)
    await jobs.deliver_mail(server.runtime)
    assert mailbox.taken == []


async def test_an_address_adds_no_headers_and_no_recipients(server: Server, mailbox: Mailbox) -> None:
    for address in ("a@example.com\r\nBcc: eve@example.com", "a@example.com, eve@example.com"):
        with pytest.raises(OAuthError):
            await sign_up.invite(server.runtime, address, is_admin=False, inviter=None, actor="test")
    with pytest.raises(MailError):
        smtp.compose(Letter("a@example.com\r\nBcc: eve@example.com", "s", "b", "no-reply@example.com", 0))
    await sign_up.invite(server.runtime, "grace@example.com", is_admin=False, inviter=None, actor="test")
    await jobs.deliver_mail(server.runtime)
    assert [mail["to"] for mail in mailbox.taken] == ["grace@example.com"]


async def test_elsewhere_than_on_this_machine_mail_goes_over_tls_or_not_at_all(mailbox: Mailbox) -> None:
    letter = Letter("a@example.com", "s", "b", "no-reply@example.com", 0)
    await smtp.send(f"smtp://127.0.0.1:{mailbox.port}", letter)
    assert len(mailbox.taken) == 1
    with pytest.raises(MailError):
        await smtp.send(f"smtps://127.0.0.1:{mailbox.port}", letter)
    assert len(mailbox.taken) == 1


async def test_a_certificate_of_its_own_making_is_good_enough_on_this_machine_alone(
    mailbox: Mailbox, tmp_path: Path
) -> None:
    pair = certificates.make(tmp_path, "mail", names=certificates.LOCALHOST)
    mailbox.tls = certificates.serving(pair)
    letter = Letter("a@example.com", "s", "b", "no-reply@example.com", 0)
    await smtp.send(f"smtp://127.0.0.1:{mailbox.port}", letter)
    assert (len(mailbox.taken), mailbox.over_tls) == (1, 1), "the honest variant"
    with pytest.raises(MailError) as refused:  # an address that is not known to be this machine's
        await smtp.send(f"smtp://0.0.0.0:{mailbox.port}", letter)
    assert "certificate verify failed" in refused.value.reason
    assert len(mailbox.taken) == 1


@pytest.mark.parametrize(
    ("user", "answer", "said"),
    [
        ("", b"", "SMTPConnectError: Error connecting to 127.0.0.1 on port"),
        (
            "me:secret@",
            b"250 taken",
            "SMTPException: The SMTP AUTH extension is not supported by this server.",
        ),
        ("", b"550 there is no ada@example.com", "SMTPDataError 550"),
    ],
    ids=["nobody listens", "no password is wanted", "the server's words"],
)
async def test_why_a_mail_was_not_taken_is_said_in_our_words_alone(
    mailbox: Mailbox, user: str, answer: bytes, said: str
) -> None:
    letter = Letter("ada@example.com", "s", "b", "no-reply@example.com", 0)
    await smtp.send(f"smtp://127.0.0.1:{mailbox.port}", letter)
    mailbox.answer = answer
    port = mailbox.port if answer else free_port()
    with pytest.raises(MailError) as refused:
        await smtp.send(f"smtp://{user}127.0.0.1:{port}", letter)
    assert refused.value.reason.startswith(said)
    assert not any(secret in refused.value.reason for secret in ("ada", "secret"))


async def test_without_a_mail_server_nothing_is_promised(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        await make(server)
        page = await server.http.get("/sign-in")
        assert "Forgot password?" not in page.text
        assert (await server.http.get("/recover")).status_code == 404


@pytest.mark.parametrize(
    "options",
    [
        {"smtp_url": "smtp://x"},
        {"mail_from": "a@example.com"},
        {"smtp_url": "http://x", "mail_from": "a@b.example"},
    ],
)
def test_half_a_configuration_stops_the_start(options: dict[str, str]) -> None:
    from watchword.settings import check

    with pytest.raises(SettingsError):
        check(Settings(**options))
