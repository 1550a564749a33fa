"""People are told of their API tokens by mail: when they end soon, and when others may have one."""

import contextlib
from pathlib import Path

import pytest
from tests.fixtures.accounts import EMAIL, make, user_of
from tests.fixtures.people import letters
from tests.fixtures.servers import Server, open_server

from watchword import jobs
from watchword.flows import api_tokens, token_notices, token_verification
from watchword.store import faults, user_changes
from watchword.store.database import StorageUnavailable, Transaction

DAY = 86_400


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def narrowed(server: Server, secret: str, name: str = "job") -> str:
    """Return a token that a holder has narrowed from its own."""
    body = {"name": name, "scope": "orders:read"}
    made = await server.http.post("/api/v1/tokens/self/narrow", json=body, headers=bearer(secret))
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


async def test_the_owner_is_told_once_of_what_ends_soon(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        await make(server, "eve", "eve@example.com")
        for name, owner, days in (
            ("nightly", "ada", 30),
            ("weekly", "ada", 31),
            ("yearly", "ada", 90),
            ("trial", "ada", 7),
            ("reports", "reports", 30),
            ("hers", "eve", 30),
        ):
            made = await server.token(name=name, owner=owner, scope="orders:read", expires_in=days * DAY)
            if name == "nightly":
                await narrowed(server, made.secret)
                hint = made.secret[-4:]
        await jobs.housekeeping(server.runtime)
        assert await letters(server) == [], "a token that was made to live that shortly is no news"
        server.clock.advance(24 * DAY + 1)
        await jobs.housekeeping(server.runtime)
        await jobs.housekeeping(server.runtime)
        told = await letters(server)
        assert sorted(to for to, _ in told) == [EMAIL, "eve@example.com"]
        text = dict(told)[EMAIL]
        named = {
            name
            for name in ("nightly", "weekly", "yearly", "trial", "reports", "hers", "job")
            if name in text
        }
        assert named == {"nightly", "weekly"}
        assert f"wwa_…{hint}" in text
        assert f"{server.runtime.settings.issuer}/account/tokens" in text


@pytest.mark.parametrize("step", ["and_then", "add_mail"])
async def test_whoever_could_not_be_told_because_the_database_failed_is_told_the_next_time(
    tmp_path: Path, step: str
) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        await server.token(name="nightly", owner="ada", scope="orders:read", expires_in=30 * DAY)
        server.clock.advance(24 * DAY)
        faults.arm(f"commit.begun/{step}=error")
        try:
            with contextlib.suppress(StorageUnavailable):
                await jobs.housekeeping(server.runtime)
        finally:
            faults.arm(None)
        await jobs.housekeeping(server.runtime)
        assert [to for to, _ in await letters(server)] == [EMAIL]


DAMAGES = {
    "a token": "UPDATE api_tokens SET name = CAST(x'ff41' AS TEXT) WHERE owner_id = $1",
    "a document": "UPDATE users SET attributes = 'none' WHERE id = $1",
    "a text": "UPDATE users SET display_name = CAST(x'ff41' AS TEXT) WHERE id = $1",
    "a text of a secret": "UPDATE api_token_secrets SET hint = CAST(x'ff41' AS TEXT) WHERE token_id IN (SELECT id FROM api_tokens WHERE owner_id = $1)",
}


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_is_damaged_of_one_person_keeps_nobody_else_from_being_told(
    tmp_path: Path, what: str
) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server, "eve", "eve@example.com")
        eve = await user_of(server, "eve")
        for name in (await make(server)).username, "eve":
            await server.token(name="nightly", owner=name, scope="orders:read", expires_in=30 * DAY)

        async def damage(tx: Transaction) -> None:
            await tx.run(DAMAGES[what], eve.id)

        await server.runtime.database.write(damage)
        server.clock.advance(24 * DAY)
        await jobs.housekeeping(server.runtime)
        assert [to for to, _ in await letters(server)] == [EMAIL]


async def test_nobody_is_told_without_a_confirmed_address_or_an_account_that_is_on(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        for name in ("ada", "bob", "cyd"):
            user = await make(server, name, f"{name}@example.com")
            await server.token(name="nightly", owner=name, scope="orders:read", expires_in=30 * DAY)
            now = server.runtime.now()
            if name == "bob":
                await server.runtime.database.write(
                    user_changes.set_email, user.id, "bob@example.org", "bob@example.org",
                    verified=False, actor="test", now=now,
                )  # fmt: skip
            elif name == "cyd":
                await server.runtime.database.write(
                    user_changes.set_disabled, user.id, True, actor="test", now=now
                )
        server.clock.advance(24 * DAY)
        await jobs.housekeeping(server.runtime)
        assert [to for to, _ in await letters(server)] == ["ada@example.com"]


async def test_one_mail_names_some_and_counts_the_rest(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        for n in range(22):
            await server.token(name=f"script {n}", owner="ada", scope="orders:read", expires_in=30 * DAY)
        server.clock.advance(24 * DAY)
        await jobs.housekeeping(server.runtime)
        ((_, text),) = await letters(server)
        assert text.count("script ") == 20
        assert "and 2 more" in text


@pytest.mark.parametrize(
    "way", ["by the console's rule", "by its holder", "with all of its owner", "by a report"]
)
async def test_the_owner_is_told_when_others_may_have_a_token(tmp_path: Path, way: str) -> None:
    async with open_server(tmp_path, mode="development", exposed_tokens="revoke") as server:
        await make(server)
        made = await server.token(name="nightly", owner="ada", scope="orders:read")
        await narrowed(server, made.secret)
        admin = bearer((await server.token(scope="watchword:admin")).secret)
        api = "/api/v1/tokens"
        if way == "by the console's rule":
            sent = await server.http.post(f"{api}/leaked", json={"token": made.secret}, headers=admin)
        elif way == "by its holder":
            reason = {"reason": "compromised"}
            sent = await server.http.post(f"{api}/self/revoke", json=reason, headers=bearer(made.secret))
        elif way == "with all of its owner":
            all_of = {"owner": "ada", "reason": "compromised"}
            sent = await server.http.post(f"{api}/revoke", json=all_of, headers=admin)
        else:
            sent = await server.http.post("/exposed", data={"token": made.secret})
        assert sent.status_code == 200, sent.text
        ((to, text),) = await letters(server)
        assert to == EMAIL
        assert "It was revoked at once" in text
        assert "nightly" in text
        for name in ("job", "(narrowed)"):
            assert name not in text, "it goes without saying of what was narrowed from it"
        assert made.secret not in text


async def test_a_token_that_was_only_exposed_is_told_of_once_a_day(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        made = await server.token(name="nightly", owner="ada", scope="orders:read")
        for _ in range(3):
            assert (await server.http.post("/exposed", data={"token": made.secret})).status_code == 200
        ((_, text),) = await letters(server)
        assert "It still works" in text


@pytest.mark.parametrize("revoked", [True, False], ids=["revoked", "only exposed"])
async def test_a_holder_cannot_send_the_owner_what_it_likes_nor_as_often_as_it_likes(
    tmp_path: Path, revoked: bool
) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        made = await server.token(name="nightly", owner="ada", scope="orders:read")
        for _ in range(3):
            secret = await narrowed(
                server, await narrowed(server, made.secret), "Pay at https://evil.example"
            )
            if revoked:
                reason = {"reason": "compromised"}
                sent = await server.http.post(
                    "/api/v1/tokens/self/revoke", json=reason, headers=bearer(secret)
                )
            else:
                sent = await server.http.post("/exposed", data={"token": secret})
            assert sent.status_code == 200, sent.text
        ((_, text),) = await letters(server)
        assert "nightly (narrowed)" in text
        assert f"wwa_…{secret[-4:]}" not in text, "the first of them"
        assert "evil.example" not in text
        server.clock.advance(DAY)
        await server.http.post("/exposed", data={"token": await narrowed(server, made.secret)})
        assert len(await letters(server)) == 2, "another day"


async def test_of_several_narrowed_tokens_that_ended_at_once_each_is_told_of(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        await make(server)
        made = await server.token(name="nightly", owner="ada", scope="orders:read")
        secrets = [await narrowed(server, made.secret) for _ in range(2)]
        found = [await token_verification.lookup(server.runtime, secret) for secret in secrets]
        ids = [one.token.id for one in found if one is not None]
        await token_notices.tell_leaked(server.runtime, ids, "revoked", by="ops")
        ((_, text),) = await letters(server)
        assert text.count("nightly (narrowed)") == 2
        assert all(f"wwa_…{secret[-4:]}" in text for secret in secrets)


async def test_what_owners_did_themselves_or_what_did_not_leak_is_no_news(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        user = await make(server)
        for reason, actor in (("revoked", "ops"), ("compromised", user.id)):
            made = await server.token(name="nightly", owner="ada", scope="orders:read")
            await api_tokens.revoke(server.runtime, made.token.id, reason=reason, actor=actor)
        assert await letters(server) == []
        made = await server.token(name="nightly", owner="ada", scope="orders:read")
        await api_tokens.revoke(server.runtime, made.token.id, reason="compromised", actor="ops")
        assert len(await letters(server)) == 1, "the honest variant"
