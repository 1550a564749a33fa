"""API tokens: found by their secrets, narrowed, rotated, and ended with everything that came of them (MN-04)."""

import pytest
from tests.fixtures.postgres import AUDIT_KEY, race
from tests.store.made import DAY, NOW, add_token, breaks, client, count, digest, execute, token, user

from watchword.store import api_tokens, clients, token_purge, token_usage, users
from watchword.store.api_tokens import FoundToken
from watchword.store.database import Database, Transaction

Nodes = tuple[Database, Database]


async def find(database: Database, id: str) -> FoundToken | None:
    return await database.read(api_tokens.find_token_by_digest, digest(f"secret of {id}"))


async def revoke(database: Database, id: str) -> list[str]:
    return await database.write(api_tokens.revoke_token, id, reason="test", actor="test", now=NOW)


async def rotate(database: Database, id: str, secret: str, overlap_until: int = NOW + 60) -> bool:
    return await database.write(
        api_tokens.rotate_token,
        id,
        secret_id=secret,
        digest=digest(secret),
        hint="…",
        overlap_until=overlap_until,
        actor="test",
        now=NOW,
    )


async def is_alive(database: Database, id: str) -> bool:
    found = await database.read(api_tokens.get_token, id)
    return found is not None and found.revoked_at is None


async def test_a_token_is_found_by_its_secret_as_it_was_stored(database: Database) -> None:
    made = token(
        addresses=("10.0.0.0/8",),
        path="/orders",
        rate_limit=60,
        quota=1000,
        jkt="abc",
        metadata={"team": "ä"},
    )
    assert (
        await add_token(database, **{name: getattr(made, name) for name in made.__struct_fields__})
        == "created"
    )
    assert await find(database, "tok_1") == FoundToken(made, "sec_tok_1", None, False, 0)
    assert await find(database, "tok_2") is None
    assert await database.read(api_tokens.get_token, "tok_1") == made


@pytest.mark.parametrize(
    ("kind", "owner", "outcome"),
    [
        pytest.param("user", "u_1", "created", id="a person who is there owns tokens"),
        pytest.param("user", "u_2", "owner", id="a person who is not there owns none"),
        pytest.param("user", "u_off", "owner", id="a disabled person gets none"),
        pytest.param("client", "cl_1", "created", id="a client that is there owns tokens"),
        pytest.param("client", "cl_2", "owner", id="a client that is not there owns none"),
        pytest.param("application", "anything", "created", id="a program needs no account"),
    ],
)
async def test_a_token_belongs_to_somebody(database: Database, kind: str, owner: str, outcome: str) -> None:
    for id in ("u_1", "u_off"):
        await database.write(
            users.create_user,
            user(id),
            canonical_username=id,
            skeleton=id,
            canonical_email=None,
            password_hash=None,
            actor="test",
        )
    await database.write(execute, "UPDATE users SET disabled_at = $1 WHERE id = 'u_off'", NOW)
    await database.write(clients.create_client, client(), actor="test", now=NOW)
    assert await add_token(database, owner_kind=kind, owner_id=owner) == outcome
    found = await find(database, "tok_1")
    assert (found is not None) is (outcome == "created")
    assert found is None or not found.owner_disabled


async def test_a_token_knows_when_its_owner_is_disabled_or_gone(database: Database) -> None:
    await database.write(clients.create_client, client(), actor="test", now=NOW)
    await add_token(database, owner_kind="client", owner_id="cl_1")
    await database.write(clients.delete_client, "cl_1", actor="test", now=NOW)
    found = await find(database, "tok_1")
    assert found is not None
    assert found.owner_disabled


async def test_a_parent_that_is_dead_has_no_more_children(database: Database) -> None:
    await add_token(database, "live")
    await add_token(database, "revoked")
    await add_token(database, "expired", created_at=NOW - 10, expires_at=NOW)
    await revoke(database, "revoked")
    outcomes = {
        parent: await add_token(database, f"child of {parent}", parent_id=parent, depth=1)
        for parent in ("live", "revoked", "expired", "unknown")
    }
    assert outcomes == {"live": "created", "revoked": "parent", "expired": "parent", "unknown": "parent"}


async def family(database: Database) -> None:
    """Make a line a → b → c → d, a branch b → e, and a stranger x."""
    for depth, (id, parent) in enumerate((("a", None), ("b", "a"), ("c", "b"), ("d", "c"))):
        assert await add_token(database, id, parent_id=parent, depth=depth) == "created"
    await add_token(database, "e", parent_id="b", depth=2)
    await add_token(database, "x")


@pytest.mark.parametrize(
    ("revoked", "ended"),
    [
        pytest.param("a", "abcde", id="the first one ends the whole line"),
        pytest.param("b", "bcde", id="one in between ends what is below"),
        pytest.param("d", "d", id="the last one ends itself"),
        pytest.param("x", "x", id="a stranger ends nobody else"),
        pytest.param("unknown", "", id="an unknown one ends nothing"),
    ],
)
async def test_revoking_ends_a_token_and_its_descendants(
    database: Database, revoked: str, ended: str
) -> None:
    await family(database)
    assert sorted(await revoke(database, revoked)) == sorted(ended)
    alive = "".join([id for id in "abcdex" if await is_alive(database, id)])
    assert alive == "".join(id for id in "abcdex" if id not in ended)
    assert await revoke(database, revoked) == []


async def test_revoking_reaches_through_a_token_that_was_revoked_before(database: Database) -> None:
    await family(database)
    await database.write(execute, "UPDATE api_tokens SET revoked_at = $1 WHERE id = 'b'", NOW)
    assert sorted(await revoke(database, "a")) == ["a", "c", "d", "e"]


async def test_revoking_the_tokens_of_an_owner_ends_those_narrowed_from_them(database: Database) -> None:
    await add_token(database, "own", owner_id="alice")
    await add_token(database, "narrowed", owner_id="bob", parent_id="own", depth=1)
    await add_token(database, "other", owner_id="bob")
    ended = await database.write(api_tokens.revoke_tokens_of, "alice", reason="r", actor="test", now=NOW)
    assert sorted(ended) == ["narrowed", "own"]
    assert await is_alive(database, "other")


async def test_the_line_of_a_token_is_listed_from_its_beginning(database: Database) -> None:
    await family(database)
    for id, line in (("d", "abcd"), ("e", "abe"), ("a", "a"), ("unknown", "")):
        assert "".join([t.id for t in await database.read(api_tokens.list_chain, id)]) == line


async def test_a_child_made_while_its_ancestor_is_revoked_never_outlives_it(nodes: Nodes) -> None:
    for n in range(10):
        await add_token(nodes[0], f"a{n}")
        await add_token(nodes[0], f"b{n}", parent_id=f"a{n}", depth=1)
    outcomes = await race(
        *(
            call
            for n in range(10)
            for call in (
                add_token(nodes[0], f"c{n}", parent_id=f"b{n}", depth=2),
                revoke(nodes[1], f"a{n}"),
                add_token(nodes[1], f"d{n}", parent_id=f"c{n}", depth=3),
                add_token(nodes[0], f"e{n}", parent_id=f"b{n}", depth=2),
            )
        )
    )
    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    alive = [
        f"{letter}{n}" for letter in "abcde" for n in range(10) if await is_alive(nodes[0], f"{letter}{n}")
    ]
    assert alive == []
    assert await breaks(nodes[0], AUDIT_KEY) == []


async def test_of_several_revocations_at_once_one_ends_the_token(nodes: Nodes) -> None:
    await family(nodes[0])
    outcomes = await race(*(revoke(nodes[n % 2], "abcd"[n % 4]) for n in range(12)))
    assert sorted(id for ended in outcomes for id in ended) == ["a", "b", "c", "d", "e"]


async def test_after_a_rotation_the_older_secret_lives_until_the_overlap_ends(database: Database) -> None:
    await add_token(database)
    assert await rotate(database, "tok_1", "second")
    old = await find(database, "tok_1")
    new = await database.read(api_tokens.find_token_by_digest, digest("second"))
    assert old is not None
    assert new is not None
    assert (old.token, old.secret_expires_at, new.secret_expires_at) == (new.token, NOW + 60, None)
    uses = await database.read(token_usage.list_secret_uses, "tok_1")
    assert {use.id: use.expires_at for use in uses} == {"sec_tok_1": NOW + 60, "second": None}


async def test_of_several_rotations_at_once_one_secret_survives_the_overlap(nodes: Nodes) -> None:
    await add_token(nodes[0])
    assert all(await race(*(rotate(nodes[n % 2], "tok_1", f"s{n}") for n in range(8))))
    uses = await nodes[0].read(token_usage.list_secret_uses, "tok_1")
    assert len([use for use in uses if use.expires_at is None]) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("revoked_at = $1", id="a revoked token is not rotated"),
        pytest.param("expires_at = $1", id="an expired token is not rotated"),
    ],
)
async def test_the_dead_are_not_rotated(database: Database, change: str) -> None:
    await add_token(database)
    assert await rotate(database, "tok_1", "second")
    await database.write(execute, f"UPDATE api_tokens SET {change}", NOW)
    assert await rotate(database, "tok_1", "third") is False
    assert await database.read(api_tokens.find_token_by_digest, digest("third")) is None


async def test_a_revocation_and_a_rotation_at_once_leave_no_token_alive(nodes: Nodes) -> None:
    await add_token(nodes[0])
    await race(*(rotate(nodes[0], "tok_1", f"s{n}") for n in range(4)), revoke(nodes[1], "tok_1"))
    for secret in ("secret of tok_1", "s0", "s1", "s2", "s3"):
        found = await nodes[0].read(api_tokens.find_token_by_digest, digest(secret))
        assert found is None or found.token.revoked_at == NOW


async def listed(database: Database, **asked: str) -> str:
    page = await database.read(
        api_tokens.search_tokens, after="", limit=50, now=NOW, **{"search": "", **asked}
    )
    return "".join(found.id for found, _ in page)


async def test_tokens_are_filtered(database: Database) -> None:
    changed: dict[str, dict[str, object]] = {
        "A": {"name": "10% OFF"},
        "M": {"expires_at": NOW},
        "Z": {"owner_id": "bob"},
        "a": {"name": "100 off"},
        "m": {"expires_at": None},
        "z": {"owner_id": "bob"},
    }
    for id, values in changed.items():
        await add_token(database, id, created_at=NOW - 5, **values)
    await revoke(database, "a")
    for asked, expected in (
        ({}, "zmaZMA"),  # newest first, byte by byte
        ({"owner": "bob"}, "zZ"),
        ({"state": "active"}, "zmZA"),
        ({"state": "expired"}, "M"),
        ({"state": "revoked"}, "a"),
        ({"search": "10%"}, "A"),  # wildcards taken literally
        ({"search": "10"}, "Aa"),
        ({"search": "OFF"}, ""),  # not by a part of the name
        ({"search": "10", "state": "active"}, "A"),
        ({"owner": "bob", "state": "revoked"}, ""),
    ):
        assert await listed(database, **asked) == expected, asked


@pytest.mark.parametrize("search", ["", "CI", f"token_{4:032x}"])
async def test_pages_of_a_search_show_every_token_once(database: Database, search: str) -> None:
    ids = [f"token_{n:032x}" for n in range(9)]
    for n, id in enumerate(ids):
        await add_token(database, id, name=("ci", "Ci job", "ci")[n % 3])
    found: list[str] = []
    place = ""
    while page := await database.read(api_tokens.search_tokens, search=search, after=place, limit=2, now=NOW):
        found, place = found + [one.id for one, _ in page], page[-1][1]
    assert sorted(found) == ([search] if search in ids else ids)


async def test_pages_show_every_token_once(database: Database) -> None:
    ids = [f"{n:03}" for n in range(7)]
    for id in ids:
        await add_token(database, id)
    found: list[str] = []
    while page := await database.read(
        api_tokens.list_tokens, after=found[-1] if found else "", limit=3, now=NOW
    ):
        found += [one.id for one in page]
    assert found == ids[::-1]


async def test_uses_collected_on_several_nodes_add_up_and_count_against_the_quota(nodes: Nodes) -> None:
    for n in range(4):
        await add_token(nodes[0], f"t{n}", quota=1000)
    uses = [(f"sec_t{n}", f"t{n}", "active", 3, NOW, NOW + n, "10.0.0.1") for n in range(4)]
    refused = [("sec_t0", "t0", "address", 5, NOW, NOW, "10.9.9.9")]
    outcomes = await race(
        *(
            nodes[n % 2].write(token_usage.flush_usage, uses[:: 1 if n % 2 else -1] + refused)
            for n in range(10)
        )
    )
    assert outcomes == [None] * 10
    for n in range(4):
        found = await find(nodes[1], f"t{n}")
        assert found is not None
        assert (found.used, type(found.used)) == (30, int)
    use = (await nodes[0].read(token_usage.list_secret_uses, "t0"))[0]
    assert use.outcomes == {"active": 30, "address": 50}
    assert (use.last_used_at, use.last_address) == (NOW, "10.0.0.1")


async def test_the_latest_use_stays_whatever_order_nodes_report_in(database: Database) -> None:
    await add_token(database)
    for at, address in ((NOW + 9, "late"), (NOW + 1, "early")):
        await database.write(token_usage.flush_usage, [("sec_tok_1", "tok_1", "active", 1, at, at, address)])
    use = (await database.read(token_usage.list_secret_uses, "tok_1"))[0]
    assert (use.last_used_at, use.last_address, use.outcomes) == (NOW + 9, "late", {"active": 2})


async def test_each_token_is_announced_once_before_it_expires(nodes: Nodes) -> None:
    for id, expires_at in (("soon", NOW + DAY), ("later", NOW + 30 * DAY), ("over", NOW), ("never", None)):
        await add_token(nodes[0], id, created_at=NOW - 5, expires_at=expires_at)
    outcomes = await race(
        *(nodes[n % 2].write(api_tokens.note_expiring, before=NOW + 7 * DAY, now=NOW) for n in range(4))
    )
    assert [found.id for announced in outcomes for found in announced] == ["soon"]


async def test_many_tokens_are_announced_in_steps_that_hold_nobody_up(database: Database) -> None:
    async def add_many(tx: Transaction) -> None:
        for number in range(api_tokens.STEP + 1):
            made = token(f"tok_{number}", created_at=NOW - 5, expires_at=NOW + DAY)
            given = {"secret_id": made.id, "digest": digest(made.id), "hint": "", "actor": "test"}
            assert await api_tokens.create_token(tx, made, **given) == "created"

    await database.write(add_many)
    rounds = [await database.write(api_tokens.note_expiring, before=NOW + 7 * DAY, now=NOW) for _ in range(3)]
    assert [len(announced) for announced in rounds] == [api_tokens.STEP, 1, 0]


async def test_a_rotated_token_is_announced_again(database: Database) -> None:
    await add_token(database, expires_at=NOW + DAY)
    for _ in range(2):
        announced = await database.write(api_tokens.note_expiring, before=NOW + 7 * DAY, now=NOW)
        assert [found.id for found in announced] == ["tok_1"]
        assert await rotate(database, "tok_1", f"secret after {await count(database, 'api_token_secrets')}")


async def test_dead_tokens_are_forgotten_with_everything_of_theirs_children_first(database: Database) -> None:
    await family(database)
    await add_token(database, "expired", created_at=NOW - 9, expires_at=NOW)
    await database.write(
        token_usage.flush_usage, [(f"sec_{id}", id, "active", 1, NOW, NOW, "") for id in "abcdex"]
    )
    await revoke(database, "a")
    rounds = [await database.write(token_purge.purge_dead_tokens, NOW + 1) for _ in range(5)]
    assert rounds == [3, 1, 1, 1, 0]
    for table in ("api_tokens", "api_token_secrets", "token_usage"):
        assert await count(database, table) == 1, table
    assert await is_alive(database, "x")
