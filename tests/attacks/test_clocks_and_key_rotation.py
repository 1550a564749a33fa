"""CK, KR: nodes whose clocks differ or jump, and keys that rotate while they serve."""

import base64
import json
import time

import pytest
from tests.attacks.pairs import Pair, is_dead, knows, lateness, pair
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.servers import Server, together

from watchword.flows.even_clock import EvenClock
from watchword.flows.keyring import JWKS_MAX_AGE
from watchword.jobs import housekeeping_by_a_sound_clock
from watchword.jose import jwk, jwt
from watchword.store import faults, keys
from watchword.store.database import StorageUnavailable, Transaction

__all__ = ["pair"]


@pytest.mark.parametrize(
    "ahead", [3600, -3600, -600, 30 * 86_400], ids=["1 h on", "1 h back", "10 min back", "30 d on"]
)
async def test_ck_01_a_clock_that_jumps_gives_nothing_life_and_breaks_nothing(pair: Pair, ahead: int) -> None:
    a, b = pair
    client = await a.client(access_token_format="opaque", scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    dead, alive = [(await a.grant(client)).json()["access_token"] for _ in range(2)]
    assert (await a.post("/revoke", client, token=dead)).status_code == 200
    a.clock.advance(ahead)
    for server in pair:
        await lateness(lambda s=server: is_dead(s, client, dead))  # type: ignore[misc]  # bound at once
    assert (await b.post("/introspect", client, token=alive)).json()["active"] is True, (
        "the other clock is right"
    )
    if ahead > 0:
        assert await is_dead(a, client, alive), "what has expired stays so"
    a.clock.advance(-ahead)
    assert await is_dead(a, client, dead)
    for path in ("/readyz", "/.well-known/jwks.json", "/.well-known/openid-configuration"):
        assert (await a.http.get(path)).status_code == 200
    assert (await a.grant(client)).status_code == 200


@pytest.mark.parametrize("token_format", ["opaque", "jwt"])
async def test_ck_01_what_a_clock_ahead_issued_waits_for_its_time(pair: Pair, token_format: str) -> None:
    a, b = pair
    client = await a.client(access_token_format=token_format, scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    a.clock.advance(3600)
    token = (await a.grant(client)).json()["access_token"]
    assert not await is_dead(a, client, token), "where it was issued it is good"
    assert await is_dead(b, client, token), "or it would live for an hour too long"
    a.clock.advance(-3600)
    assert await is_dead(a, client, token)
    for server in pair:
        server.clock.advance(3600)
        assert not await is_dead(server, client, token), "its time has come"
        server.clock.advance(600)
        assert await is_dead(server, client, token)


@pytest.mark.parametrize("token_format", ["opaque", "jwt"])
@pytest.mark.parametrize("off", [30 * 86_400, -3600], ids=["30 d ahead", "1 h behind"])
async def test_ck_01_what_a_node_revokes_whose_clock_is_off_is_revoked(
    pair: Pair, off: int, token_format: str
) -> None:
    a, b = pair
    client = await b.client(access_token_format=token_format, scope="introspect")
    await lateness(lambda: knows(a, client.client.client_id))
    token = (await b.grant(client)).json()["access_token"]
    assert not await is_dead(b, client, token)
    a.clock.advance(off)
    assert (await a.post("/revoke", client, token=token)).status_code == 200
    await lateness(lambda: is_dead(b, client, token))


@pytest.mark.parametrize("token_format", ["opaque", "jwt"])
async def test_ck_01_a_clock_that_jumped_purges_nothing(pair: Pair, token_format: str) -> None:
    a, b = pair
    client = await a.client(access_token_format=token_format, scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    dead, alive = [(await a.grant(client)).json()["access_token"] for _ in range(2)]
    assert (await a.post("/revoke", client, token=dead)).status_code == 200
    passed = 0.0
    even = EvenClock(a.clock, lambda: passed)
    assert await even.doubt(a.runtime.database) == ""
    for jump in (30 * 86_400, -30 * 86_400):
        a.clock.advance(jump)
        await housekeeping_by_a_sound_clock(a.runtime, even)
        passed += 60
        a.clock.advance(60)
    for server in pair:
        server.clock.now = b.clock.now
        await lateness(lambda s=server: is_dead(s, client, dead))  # type: ignore[misc]  # bound at once
        assert not await is_dead(server, client, alive)


async def test_ck_01_a_clock_is_believed_again_after_an_even_hour(pair: Pair) -> None:
    a, _ = pair
    passed = 0.0
    even = EvenClock(a.clock, lambda: passed)
    a.clock.advance(-120)
    assert "jumped" in await even.doubt(a.runtime.database)
    for _ in range(60):
        assert await even.doubt(a.runtime.database)
        passed += 60
        a.clock.advance(60)
    a.clock.now = time.time()
    # A minute is the difference that clocks may have.
    even = EvenClock(a.clock, lambda: passed)
    assert await even.doubt(a.runtime.database) == ""
    a.clock.advance(50)
    assert await even.doubt(a.runtime.database) == ""


async def test_ck_01_a_node_that_started_with_a_clock_ahead_of_the_database_purges_nothing(
    pair: Pair,
) -> None:
    a, _ = pair
    a.clock.advance(86_400)
    even = EvenClock(a.clock)
    assert "ahead of the database's" in await even.doubt(a.runtime.database)


async def test_ck_01_a_code_used_before_a_step_back_stays_used(pair: Pair) -> None:
    a, _ = pair
    client = await register(a)
    answer = await obtain_code(a, client)
    assert (await redeem(a, client, answer["code"])).status_code == 200
    for server in pair:
        server.clock.advance(-600)
        assert (await redeem(server, client, answer["code"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("apart", [5, -5, 30, -30], ids=lambda apart: f"{apart} s apart")
async def test_ck_02_nodes_whose_clocks_differ_work_together(pair: Pair, apart: int) -> None:
    a, b = pair
    b.clock.advance(apart)
    client = await register(a)
    answer = await obtain_code(a, client)
    await lateness(lambda: knows(b, client.client.client_id))
    tokens = (await redeem(b, client, answer["code"])).json()
    assert tokens["token_type"] == "Bearer", tokens
    published = jwk.parse_set((await a.http.get("/.well-known/jwks.json")).json())
    claims = jwt.decode(
        tokens["id_token"], published, algorithms=("ES256",), typ="JWT", issuer=a.settings.issuer,
        audience=client.client.client_id, now=int(b.clock()),
    )  # fmt: skip
    assert abs(int(str(claims["iat"])) - a.clock()) <= abs(apart) + 1
    refreshed = await refresh(a, client, tokens["refresh_token"])
    assert refreshed.status_code == 200, "a family is no older on a node whose clock is behind"


async def test_ck_02_a_code_is_not_good_for_longer_than_its_minute_and_the_difference(pair: Pair) -> None:
    a, b = pair
    client = await register(a)
    answer = await obtain_code(a, client)
    await lateness(lambda: knows(b, client.client.client_id))
    b.clock.advance(61)
    assert (await redeem(b, client, answer["code"])).json()["error"] == "invalid_grant"


async def test_kr_01_while_keys_rotate_every_token_verifies_on_every_node(pair: Pair) -> None:
    a, b = pair
    client = await a.client(scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    published = {key["kid"] for key in (await b.http.get("/.well-known/jwks.json")).json()["keys"]}
    for _ in range(3):
        assert await a.runtime.keyring.rotate("ES256", actor="test")
        for server in pair:
            for _ in range(2):
                token = (await server.grant(client)).json()["access_token"]
                assert jwt_kid(token) in published, "a key signs only once it was published for long"
                for verifier in pair:
                    asked = await verifier.post("/introspect", client, token=token)
                    assert asked.json()["active"] is True
        for server in pair:
            server.clock.advance(301)
        more = len(published) + 1
        await lateness(lambda more=more: has_keys(b, more))  # type: ignore[misc]  # bound at once
        published = {key["kid"] for key in (await b.http.get("/.well-known/jwks.json")).json()["keys"]}


def jwt_kid(token: str) -> str:
    """Return which key a token says that it was signed with."""
    return str(json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"])


async def has_keys(server: Server, number: int) -> bool:
    """Whether a node publishes that many keys."""
    return len((await server.http.get("/.well-known/jwks.json")).json()["keys"]) >= number


async def test_kr_01_a_rotation_by_a_clock_far_ahead_puts_off_no_other(pair: Pair) -> None:
    a, _ = pair
    keyring = a.runtime.keyring
    before = (await keyring.signing_key("ES256")).kid
    a.clock.advance(365 * 86_400)
    assert await keyring.rotate("ES256", actor="test")
    a.clock.advance(-365 * 86_400)
    assert (await keyring.signing_key("ES256")).kid == before
    assert await keyring.rotate_due() == ["ES256"], "the key that signs has an end"
    a.clock.advance(JWKS_MAX_AGE)
    assert (await keyring.signing_key("ES256")).kid != before
    assert await keyring.rotate_due() == []


async def test_kr_01_of_keys_that_are_promoted_in_one_second_the_last_signs(pair: Pair) -> None:
    a, _ = pair
    keyring = a.runtime.keyring
    for _ in range(5):
        assert await keyring.rotate("ES256", actor="test")
    a.clock.advance(JWKS_MAX_AGE)
    states = [state for key, state in await keyring.states() if key.algorithm == "ES256"]
    assert sorted(states) == ["current", "next", *["retiring"] * 5]
    assert await keyring.rotate_due() == []


async def test_kr_02_two_nodes_that_rotate_at_once_make_one_new_key(pair: Pair) -> None:
    a, b = pair
    before = len(await a.runtime.database.read(keys.list_keys, a.runtime.now()))
    outcomes = await together(*(server.runtime.keyring.rotate("ES256", actor="test") for server in pair))
    assert outcomes.count(True) >= 1
    after = await a.runtime.database.read(keys.list_keys, a.runtime.now())
    assert len(after) == before + outcomes.count(True)
    client = await a.client(scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    for server in pair:
        server.clock.advance(301)
    for server in pair:
        token = (await server.grant(client)).json()["access_token"]
        assert all([(await one.post("/introspect", client, token=token)).json()["active"] for one in pair])


async def test_kr_03_a_node_that_does_nothing_but_issue_signs_by_no_withdrawn_key(pair: Pair) -> None:
    a, b = pair
    client = await a.client()
    await lateness(lambda: knows(b, client.client.client_id))
    withdrawn = jwt_kid((await b.grant(client)).json()["access_token"])
    assert jwt_kid((await b.grant(client)).json()["access_token"]) == withdrawn, "while it is good, it signs"
    assert await a.runtime.keyring.revoke(withdrawn, actor="test")

    async def is_given_up() -> bool:
        return jwt_kid((await b.grant(client)).json()["access_token"]) != withdrawn

    await lateness(is_given_up)


async def test_kr_01_a_node_that_does_nothing_but_revoke_knows_every_key(pair: Pair) -> None:
    a, b = pair
    client = await a.client(scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    for _ in range(2):  # what signs then was not there when the other node started
        for server in pair:
            server.clock.advance(301)
        assert await a.runtime.keyring.rotate("ES256", actor="test")
    token = (await a.grant(client)).json()["access_token"]
    assert not await is_dead(a, client, token)

    async def is_revoked() -> bool:
        assert (await b.post("/revoke", client, token=token)).status_code == 200
        return await is_dead(a, client, token)

    await lateness(is_revoked)


async def test_kr_03_a_key_that_cannot_be_read_keeps_no_withdrawn_one_alive(pair: Pair) -> None:
    a, b = pair
    client = await a.client(scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    token = (await a.grant(client)).json()["access_token"]
    assert not await is_dead(b, client, token)

    async def withdraw_and_damage(tx: Transaction) -> None:
        await keys.revoke_key(tx, jwt_kid(token), actor="test", now=a.runtime.now())
        columns = "algorithm, public_jwk, created_at, activates_at, retires_at"
        await tx.run(
            f"INSERT INTO signing_keys (kid, sealed_private, {columns}) "
            f"SELECT 'new ' || kid, $1, {columns} FROM signing_keys WHERE activates_at IS NULL",
            b"damaged by a disk",
        )

    await a.runtime.database.write(withdraw_and_damage)

    async def is_refused() -> bool:
        return (await b.post("/introspect", client, token=token)).status_code == 503

    await lateness(is_refused)
    assert await is_refused(), "and not only for whoever is the first to ask"
    assert (await b.grant(client)).status_code == 503


@pytest.mark.parametrize("is_announced", [False, True], ids=["another waits", "another takes over soon"])
async def test_kr_03_a_withdrawal_that_breaks_off_has_withdrawn_the_key_or_changed_nothing(
    pair: Pair, is_announced: bool
) -> None:
    a, _ = pair
    for at_commit in range(1, 9):
        a.clock.advance(86_400)
        if is_announced:
            assert await a.runtime.keyring.rotate("ES256", actor="test")
        kid = (await a.runtime.keyring.signing_key("ES256")).kid
        assert kid is not None
        before = await _states(a)
        faults.arm(f"commit.done=error@{at_commit}")
        try:
            await a.runtime.keyring.revoke(kid, actor="test")
            has_failed = False
        except (OSError, StorageUnavailable):
            has_failed = True
        finally:
            faults.arm(None)
        await a.runtime.keyring.reload()
        after = await _states(a)
        if after != before:
            assert kid not in after
            assert sorted(after.values()).count("current") == 1
        if not has_failed:
            assert at_commit > 1, "it wrote something"
            return
    pytest.fail("it never came to its end")


async def _states(server: Server) -> dict[str, str]:
    found = await server.runtime.keyring.states()
    return {key.kid: state for key, state in found if key.algorithm == "ES256"}
