"""A row that a broken disk has left unreadable stops nothing but itself: what is done with many rows is done with the others."""

import contextlib
import sqlite3
from functools import partial
from pathlib import Path

import pytest
from tests.fixtures.accounts import another, make
from tests.fixtures.applications import OFFLINE, application, connect
from tests.fixtures.people import Person, letters
from tests.fixtures.relying_party import RelyingParty
from tests.fixtures.servers import Server, open_server
from tests.store.made import count

from watchword import jobs
from watchword.flows import api_tokens as tokens_flow
from watchword.flows import logout_delivery, mail
from watchword.flows import sessions as flow
from watchword.flows.mail import Message
from watchword.store import api_tokens, registrations, sessions, token_purge, user_changes
from watchword.store.audit import events
from watchword.store.database import Transaction

DAY = 86_400
NO_UTF8 = "CAST(x'ff41' AS TEXT)"


def damage(server: Server, *statements: str) -> None:
    """Change rows as a broken disk does: behind the back of whatever holds tables together."""
    with contextlib.closing(sqlite3.connect(server.settings.database, isolation_level=None)) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount == 1, statement


@pytest.mark.parametrize("kept", [NO_UTF8, "x'00'"])
async def test_every_other_token_is_announced(tmp_path: Path, kept: str) -> None:
    async with open_server(tmp_path, mode="development") as server:
        for name in "bad", "sound":
            await make(server, name, f"{name}@example.com")
            await server.token(name=name, owner=name, scope="orders:read", expires_in=30 * DAY)
        damage(server, f"UPDATE api_tokens SET id = {kept} WHERE name = 'bad'")
        server.clock.advance(24 * DAY)
        await jobs.housekeeping(server.runtime)
        assert [to for to, _ in await letters(server)] == ["sound@example.com"]


async def test_every_other_mail_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_server(tmp_path, mode="development") as server:
        for number in range(4):
            context = {"at": 0, "address": "", "device": "", "place": None, "link": "https://a.example/"}
            await mail.send(
                server.runtime, Message(f"{number}@example.com", "password_changed", "en", context)
            )
        first = "(SELECT id FROM outbox WHERE id LIKE 'mail%' ORDER BY id LIMIT 1 OFFSET {})"
        damage(
            server,
            f"UPDATE outbox SET sealed = 'text' WHERE id = {first.format(2)}",
            f"UPDATE outbox SET sealed = x'00' WHERE id = {first.format(1)}",
            f"UPDATE outbox SET id = {NO_UTF8} WHERE id = {first.format(0)}",
        )
        with contextlib.suppress(Exception):  # which the loop of jobs counts as a failure
            await jobs.deliver_mail(server.runtime)
        told = capsys.readouterr().err
        assert told.count("mail.shown") == 1
        assert "what it seals (outbox) is damaged" in told
        assert "master key" not in told, "it has opened everything else"


async def test_every_other_client_is_told_of_a_logout(tmp_path: Path, relying_party: RelyingParty) -> None:
    async with open_server(tmp_path, fetch_allow_loopback=True) as server, another(server) as browser:
        await make(server)
        person = Person(server, browser)
        await person.sign_in()
        for path in "/damaged", "/of-a-damaged-client", "/sound":
            client = await application(server, backchannel_logout_uri=relying_party.base + path)
            await connect(person, client)
        await person.open("/sign-out")
        await person.send({"decision": "sign_out"})
        of = "(SELECT client_id FROM clients WHERE document LIKE '%/damaged\"%')"
        damage(
            server,
            f"UPDATE logout_notices SET session_id = {NO_UTF8} WHERE client_id = {of}",
            "UPDATE clients SET document = '{' WHERE document LIKE '%/of-a-damaged-client\"%'",
        )
        await logout_delivery.deliver_due(server.runtime)
        assert [path for path, _ in relying_party.told] == ["/sound"]
        server.clock.advance(DAY)
        await logout_delivery.deliver_due(server.runtime)
        assert await count(server.runtime.database, "logout_notices") == 0
        untold = await server.runtime.database.read(events.list_events, limit=10, name="logout.undelivered")
        assert len(untold) == 2


@pytest.mark.parametrize("column", ["id", "user_id"])
async def test_every_other_expired_session_is_ended(tmp_path: Path, column: str) -> None:
    async with open_server(tmp_path) as server:
        user = await make(server)
        for _ in range(3):
            await flow.begin(server.runtime, user.id, acr="x", amr=("pwd",), user_agent="", address="")
        damage(
            server,
            f"UPDATE sessions SET {column} = {NO_UTF8} WHERE id = (SELECT id FROM sessions ORDER BY id LIMIT 1)",
        )
        server.clock.advance(30 * DAY)
        assert await server.runtime.database.write(sessions.end_expired, server.runtime.now()) == 3
        ended = await server.runtime.database.read(events.list_events, limit=10, name="session.ended")
        assert len(ended) == (2 if column == "id" else 3)


async def test_every_other_dead_token_is_forgotten(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        for name in "bad", "sound":
            await server.token(name=name, expires_in=DAY)
        damage(server, f"UPDATE api_tokens SET id = {NO_UTF8}, expires_at = 1 WHERE name = 'bad'")
        server.clock.advance(92 * DAY)
        purge = partial(server.runtime.database.write, token_purge.purge_dead_tokens, server.runtime.now())
        await jobs.in_steps(partial(purge, limit=1))  # even where a page holds nothing but damaged rows
        assert await count(server.runtime.database, "api_tokens") == 1


async def test_every_other_secret_that_was_rotated_out_is_forgotten(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        for name in "bad", "sound":
            made = await server.token(name=name)
            await tokens_flow.rotate(server.runtime, made.token.id, overlap=1, actor="test")
        of = "(SELECT id FROM api_tokens WHERE name = 'bad')"
        rotated = f"expires_at IS NOT NULL AND token_id = {of}"
        damage(server, f"UPDATE api_token_secrets SET id = {NO_UTF8}, expires_at = 1 WHERE {rotated}")
        server.clock.advance(DAY)
        purge = partial(server.runtime.database.write, token_purge.purge_dead_tokens, server.runtime.now())
        await jobs.in_steps(partial(purge, limit=1))
        assert await count(server.runtime.database, "api_token_secrets") == 3


async def test_every_other_unused_client_is_forgotten(tmp_path: Path) -> None:
    async with open_server(tmp_path, registration="open", self_registered_unused=DAY) as server:
        for name in "bad id", "bad document", "sound":
            made = await server.http.post(
                "/register", json={"client_name": name, "redirect_uris": ["https://a.example/cb"]}
            )
            assert made.status_code == 201, made.text
        damage(
            server,
            f"UPDATE clients SET client_id = {NO_UTF8}, created_at = 1 WHERE document LIKE '%bad id%'",
            "UPDATE clients SET document = x'00' WHERE document LIKE '%bad document%'",
        )
        server.clock.advance(3 * DAY)
        now = server.runtime.now()
        purge = partial(server.runtime.database.write, registrations.purge_unused_clients, now - DAY)
        await jobs.in_steps(partial(purge, now=now, limit=1))
        assert await count(server.runtime.database, "clients") == 2


async def test_every_other_token_of_an_owner_is_revoked(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        for name in "bad", "sound":
            owner = (await server.token(name=name)).token.owner_id
        damage(server, f"UPDATE api_tokens SET id = {NO_UTF8} WHERE name = 'bad'")
        revoked = await server.runtime.database.write(
            api_tokens.revoke_tokens_of, owner, reason="", actor="test", now=server.runtime.now()
        )
        assert len(revoked) == 1
        assert await live(server, "api_tokens WHERE revoked_at IS NULL") == 0, "the damaged one as well"


async def live(server: Server, rows: str) -> int:
    """Count rows, whatever is in them."""

    async def counted(tx: Transaction) -> int:
        row = await tx.one(f"SELECT COUNT(*) AS number FROM {rows}")
        return int(row["number"]) if row else 0

    return await server.runtime.database.read(counted)


OF_A_PERSON = {
    "a session": f"UPDATE sessions SET id = {NO_UTF8} WHERE id = (SELECT MIN(id) FROM sessions)",
    "a grant": f"UPDATE grants SET id = {NO_UTF8} WHERE id = (SELECT MIN(id) FROM grants)",
    "a grant's session": f"UPDATE grants SET session_id = {NO_UTF8} WHERE id = (SELECT MIN(id) FROM grants)",
    "an identity": (
        f"INSERT INTO identities SELECT {NO_UTF8}, x'00', 'user', id, 'a', '{{}}', 1, 9999999999, NULL, NULL "
        "FROM users WHERE username = 'ada'"
    ),
    "another administrator": (
        "INSERT INTO users (id, username, canonical_username, skeleton, is_admin, created_at) "
        f"VALUES ({NO_UTF8}, 'x', 'x', 'x', 1, 1)"
    ),
}


@pytest.mark.parametrize("what", OF_A_PERSON)
async def test_an_account_is_deleted_with_all_else_whatever_is_damaged(tmp_path: Path, what: str) -> None:
    async with open_server(tmp_path) as server, another(server) as browser:
        user = await make(server, is_admin=what == "another administrator")
        person = Person(server, browser)
        await make(server, "eve", "eve@example.com", is_admin=True)
        await person.sign_in()
        for _ in range(2):
            await connect(person, await application(server), OFFLINE)
        damage(server, OF_A_PERSON[what])
        given = {"actor": "test", "now": server.runtime.now()}
        write = server.runtime.database.write
        assert await write(user_changes.set_disabled, user.id, True, **given) == "changed"
        assert await live(server, "grants WHERE ended_at IS NULL") == 0, "the damaged one as well"
        assert await write(user_changes.delete_user, user.id, **given) == "changed"
        ended = await server.runtime.database.read(events.list_events, limit=20, name="grant.ended")
        assert len(ended) == (1 if what == "a grant" else 2)
