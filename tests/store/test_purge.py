"""Every table that grows has an end: day after day of the same work, no table holds more than at first."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.fixtures.postgres import AUDIT_KEY, Store
from tests.store.made import (
    DAY,
    NOW,
    access_token,
    add_token,
    agree_and_grant,
    breaks,
    client,
    count,
    digest,
    key,
    select,
)

from watchword.store import (
    api_tokens,
    browsers,
    client_secrets,
    clients,
    devices,
    factors,
    interactions,
    keys,
    limits,
    links,
    logout_notices,
    outbox,
    redemption,
    schema,
    sessions,
    statuses,
    token_purge,
    token_usage,
    tokens,
    users,
)
from watchword.store.audit import events
from watchword.store.database import Database
from watchword.store.devices import DeviceCode
from watchword.store.grants import Grant
from watchword.store.interactions import Interaction
from watchword.store.redemption import Bought
from watchword.store.sessions import Session
from watchword.store.statuses import StatusListRow, StatusMarks
from watchword.store.upstream_sessions import UpstreamSession
from watchword.store.users import User

# What grows with what an organisation has, and not with time.
STEADY = {
    "facts",
    "users",
    "clients",
    "schema_versions",
    "identities",
    "consents",
    "trust_rules",
    "asserted_people",
    "upstream_accounts",
    "passkeys",
    "totp_keys",
    "recovery_codes",
    "secrets",
}


async def work(database: Database, day: int) -> None:
    """Do what happens on one day."""
    now = NOW + day * DAY
    await tokens.insert_access_token(database, digest(f"t{day}"), access_token(expires_at=now + 600))
    await database.write(tokens.revoke_jti, f"jti {day}", now + 600, client_id="c", actor="a", now=now)
    await database.write(statuses.create_list, f"list {day}", StatusListRow("cl_1", now, now + 600))
    place = StatusMarks(f"list {day}", 7, now, now + 600, (digest("grant"),))
    await database.write(statuses.store_marks, place)
    await database.write(tokens.use_identifier, digest(f"p{day}"), now + 600)
    await database.write(limits.take, f"address {day}", capacity=5, per_second=1, now=float(now))
    await database.write(
        links.create_link,
        digest(f"l{day}"),
        purpose="reset",
        subject=f"person {day}",
        data={},
        expires_at=now + 600,
        now=now,
    )
    await database.write(
        client_secrets.add_secret,
        "cl_1",
        id=f"s{day}",
        digest=digest(f"s{day}"),
        expires_at=None,
        overlap_until=now + 600,
        actor="a",
        now=now,
    )
    await add_token(database, f"tok{day}", created_at=now, expires_at=now + 600)
    await add_token(
        database, f"kid{day}", created_at=now, expires_at=now + 600, parent_id=f"tok{day}", depth=1
    )
    await database.write(
        token_usage.flush_usage, [(f"sec_tok{day}", f"tok{day}", "active", 1, now, now, "10.0.0.1")]
    )
    await database.write(
        api_tokens.rotate_token,
        "lasting",
        secret_id=f"lasting {day}",
        digest=digest(f"lasting {day}"),
        hint="…",
        overlap_until=now + 600,
        actor="a",
        now=now,
    )
    await database.write(
        token_usage.flush_usage, [(f"lasting {day}", "lasting", "active", 1, now, now, "10.0.0.1")]
    )

    await database.write(
        keys.rotate_key, f"key {day}", key(f"key {day + 1}", None),
        activates_at=now, retires_at=now + 2 * DAY, actor="a", now=now,
    )  # fmt: skip
    await grant_something(database, day, now)
    await sign_in(database, f"u{day}", now)


async def sign_in(database: Database, user_id: str, now: int) -> None:
    """Do what happens when a person signs in with a new browser and a code sent by mail."""
    code, email = digest(f"code of {user_id}"), f"{user_id}@example.com"
    keep = factors.keep_email_code
    assert await database.write(keep, user_id, "sign-in", code, email=email, expires_at=now + 600)
    assert await database.write(
        outbox.add_mail, outbox.Sealed(f"mail to {user_id}", b"sealed", now, now + 600)
    )
    await database.write(browsers.note_browser, user_id, digest(f"browser of {user_id}"), now)


async def grant_something(database: Database, day: int, now: int) -> None:
    """Do what happens when a person grants something to a client."""
    email = f"u{day}@example.com"
    user = User(id=f"u{day}", username=f"u{day}", email=email, email_verified_at=now, created_at=now)
    names = {"canonical_username": f"u{day}", "skeleton": f"u{day}", "canonical_email": email}
    await database.write(users.create_user, user, **names, password_hash=None, actor="a")
    session = Session(
        id=f"session {day}", user_id=f"u{day}", created_at=now, authenticated_at=now, last_seen_at=now,
        idle_expires_at=now + 600, expires_at=now + 600, acr="x", amr=("pwd",), user_agent="", address="",
    )  # fmt: skip
    came_from = UpstreamSession("https://hub.example", f"u{day}", f"sid {day}", now)
    await database.write(
        sessions.create_session, session, digest(f"session {day}"), limit=10, actor="a", came_from=came_from
    )
    grant = Grant(
        id=f"grant {day}", client_id="cl_1", user_id=f"u{day}", session_id=f"session {day}", scope="openid a", audience="b", claims="{}",
        created_at=now, started_at=now, last_used_at=now,
    )  # fmt: skip
    code = digest(f"code {day}")
    await agree_and_grant(database, grant, code)
    bought = Bought(b"mark", digest(f"refresh {day}"), expires_at=now + 600)
    assert await redemption.redeem_code(database, code, grant, bought, now)
    interaction = Interaction(id=f"i{day}", client_id="cl_1", request="{}", expires_at=now + 600)
    await database.write(interactions.create_interaction, interaction, digest("browser"))
    await database.write(interactions.push_request, digest(f"pushed {day}"), "cl_1", "{}", now + 60)
    device_code = DeviceCode(
        client_id="cl_1", scope="a", audience="b", address="", user_agent="",
        created_at=now, expires_at=now + 60, poll_interval=5,
    )  # fmt: skip
    name = f"device {day}"
    await database.write(
        devices.create_device_code, device_code, digest=digest(name), user_code=digest(f"user {name}")
    )
    entered = {"browser": digest("browser"), "now": now}
    await database.write(devices.show_device_code, digest(f"user {name}"), user_id=f"u{day}", **entered)
    connected = msgspec.structs.replace(grant, id=f"device grant {day}")
    assert await database.write(devices.approve_device_code, digest(f"user {name}"), connected, **entered)
    await database.write(devices.redeem_device_code, digest(name), "cl_1", Bought(expires_at=now + 600), now)


async def housekeeping(database: Database, day: int) -> None:
    """Do what the server does by itself at the end of a day."""
    now = NOW + (day + 1) * DAY
    steps: list[Callable[[], Awaitable[int]]] = [
        lambda: database.write(sessions.end_expired, now),
        lambda: database.write(logout_notices.give_up_expired, now),
        *(lambda table=table: database.write(limits.purge, table, now) for table in limits.PURGED),
        lambda: database.write(limits.purge_buckets, float(now)),
        lambda: database.write(keys.purge_keys, now),
        lambda: database.write(token_purge.purge_dead_tokens, now),
        lambda: database.write(browsers.purge_browsers, now),
        lambda: database.write(events.purge_events, now, AUDIT_KEY),
    ]
    for step in steps:
        while await step():
            pass


async def sizes(database: Database) -> dict[str, int]:
    named = {table.name for table in schema.tables(schema.newest())}
    return {name: await count(database, name) for name in named - STEADY}


async def test_no_table_grows_with_time(store: Store) -> None:
    database = await store.node()
    told = client(backchannel_logout_uri="https://app.example.com/logout")
    await database.write(clients.create_client, told, actor="a", now=NOW)
    await add_token(database, "lasting", expires_at=None)
    await database.write(keys.create_keys, "ES256", [key("key 0", None)], actor="a", now=NOW)
    after: list[dict[str, int]] = []
    for day in range(8):
        await work(database, day)
        # leaves word to a client
        await database.write(sessions.end_session, f"session {day}", actor="a", now=NOW + day * DAY)
        if day == 0:
            idle = {table for table, size in (await sizes(database)).items() if not size}
            assert not idle, (
                f"{idle}: fill it in `work` and purge it in `housekeeping`, or say in STEADY why it needs neither"
            )
        await housekeeping(database, day)
        after.append(await sizes(database) | {"facts": await count(database, "facts")})
        await store.close()
        database = await store.node()
    for table, size in after[-1].items():
        assert size <= after[3][table], f"{table} grew from {after[3][table]} to {size}"
    found = await database.read(api_tokens.find_token_by_digest, digest("lasting 7"))
    assert found is not None
    assert await breaks(database, AUDIT_KEY) == []
    await store.close()


async def test_a_secret_that_ended_is_forgotten_and_its_uses_still_count(database: Database) -> None:
    await add_token(database, "lasting", expires_at=None, quota=100)
    for day in range(3):
        await work_on_lasting(database, day)
    assert await database.write(token_purge.purge_dead_tokens, NOW + 3 * DAY) == 3
    assert await count(database, "api_token_secrets") == 1
    found = await database.read(api_tokens.find_token_by_digest, digest("lasting 2"))
    assert found is not None
    assert found.used == 6
    rows = await database.read(select, "SELECT first_at, last_at FROM token_usage ORDER BY last_at")
    assert len(rows) == 2
    assert (rows[0]["first_at"], rows[0]["last_at"]) == (NOW, NOW + DAY)


async def work_on_lasting(database: Database, day: int) -> None:
    now = NOW + day * DAY
    await database.write(
        api_tokens.rotate_token,
        "lasting",
        secret_id=f"lasting {day}",
        digest=digest(f"lasting {day}"),
        hint="…",
        overlap_until=now + 600,
        actor="a",
        now=now,
    )
    await database.write(
        token_usage.flush_usage, [(f"lasting {day}", "lasting", "active", day + 1, now, now, "10.0.0.1")]
    )


async def test_a_purge_takes_what_has_ended_and_nothing_else(database: Database) -> None:
    await database.write(clients.create_client, client(), actor="a", now=NOW)
    await add_token(database, "lasting", expires_at=None)
    for day in (0, 15, 30):
        await work(database, day)
    for table in limits.PURGED:
        # a secret ends when the next one was made; a day has two grants, and three identifiers, two of them of a session at a provider
        ended = {"client_secrets": 1, "grants": 4, "used_identifiers": 6}.get(table, 2)
        held = {"grants": 6, "used_identifiers": 9}.get(table, 3)
        assert await database.write(limits.purge, table, NOW) == 0, table
        assert await database.write(limits.purge, table, NOW + 29 * DAY) == ended, table
        assert await count(database, table) == held - ended, table


@pytest.mark.parametrize("apart", [1, 0], ids=["one ended after the other", "all ended in one second"])
async def test_a_purge_goes_in_steps(database: Database, apart: int) -> None:
    for n in range(limits.STEP + 5):
        await database.write(tokens.use_identifier, digest(f"{n}"), NOW + n * apart)
    steps = [await database.write(limits.purge, "used_identifiers", NOW + DAY) for _ in range(3)]
    assert steps == [limits.STEP, 5, 0]


async def test_full_buckets_are_forgotten_in_steps(database: Database) -> None:
    for n in range(limits.STEP + 5):
        await database.write(limits.take, f"address {n}", capacity=5, per_second=1, now=float(NOW))
    steps = [await database.write(limits.purge_buckets, NOW + 1.0) for _ in range(3)]
    assert steps == [limits.STEP, 5, 0]


async def test_a_key_is_forgotten_when_nothing_that_it_signed_can_be_alive(database: Database) -> None:
    made = [key("retired", NOW), key("withdrawn", None), key("current", None)]
    await database.write(keys.create_keys, "ES256", made, actor="a", now=NOW)
    ends = {"activates_at": NOW, "retires_at": NOW + DAY, "actor": "a", "now": NOW}
    await database.write(keys.rotate_key, "current", key("next", None), **ends)
    await database.write(keys.revoke_key, "withdrawn", actor="a", now=NOW)
    assert await database.write(keys.purge_keys, NOW) == 0
    assert await database.write(keys.purge_keys, NOW + 1) == 1
    assert await database.write(keys.purge_keys, NOW + DAY + 1) == 1
    assert {stored.kid for stored in await database.read(keys.list_keys, NOW)} == {"current", "next"}
