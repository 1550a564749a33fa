"""Limits of API tokens: from which addresses, how often, and how many uses in all."""

import asyncio
from types import ModuleType
from typing import Any

import pytest
from tests.fixtures.held_rows import rows_held
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server
from tests.flows.test_api_tokens import DAY, bearer, reason

from watchword.flows import api_tokens, runtime, usage
from watchword.jobs import flush_usage
from watchword.oauth.errors import OAuthError
from watchword.store import faults
from watchword.store.database import StorageUnavailable


@pytest.mark.parametrize(
    ("limit", "stored_as"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:c000:207", "192.0.2.7/32"),
    ],
)
async def test_a_limit_to_ipv4_addresses_may_be_written_as_ipv6(
    server: Server, limit: str, stored_as: str
) -> None:
    token = await server.token(addresses=[limit])
    assert token.token.addresses == (stored_as,)
    for address in ("192.0.2.7", "::ffff:192.0.2.7"):
        assert await reason(server, token, address=address) == "active"
    for address in ("192.0.3.7", "::ffff:192.0.3.7", "::c000:207"):
        assert await reason(server, token, address=address) == "wrong_address"


async def test_a_limit_to_every_ipv4_address_may_be_written_as_ipv6(server: Server) -> None:
    token = await server.token(addresses=["::ffff:0:0/96"])
    assert token.token.addresses == ("0.0.0.0/0",)
    assert await reason(server, token, address="192.0.2.7") == "active"
    assert await reason(server, token, address="2001:db8::7") == "wrong_address"


@pytest.mark.parametrize("limit", ["fe80::7%eth0", "fe80::7%\x1b[2K", "fe80::%1/64"], ids=ascii)
async def test_a_limit_names_no_zone(server: Server, limit: str) -> None:
    """A zone names an interface of one machine: no use would be compared with it."""
    await server.token(addresses=["fe80::/64"])
    with pytest.raises(OAuthError) as refused:
        await server.token(addresses=[limit])
    assert refused.value.field == "addresses"


@in_turn("jkt", ["", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 43 + "\n"], ids=ascii)
async def test_a_token_is_bound_to_what_can_be_a_key(server: Server, jkt: str) -> None:
    assert (await server.token(jkt="A" * 43)).token.jkt == "A" * 43
    with pytest.raises(OAuthError) as refused:
        await server.token(jkt=jkt)
    assert refused.value.field == "jkt"


async def test_a_token_lives_and_its_old_secret_works_as_long_as_is_allowed_and_no_longer(
    server: Server,
) -> None:
    token = await server.token(expires_in=365 * DAY)
    assert token.token.expires_at == int(server.clock()) + 365 * DAY
    with pytest.raises(OAuthError, match="at most"):
        await server.token(expires_in=365 * DAY + 1)
    for overlap in (0, 30 * DAY):
        await api_tokens.rotate(server.runtime, token.token.id, overlap=overlap, actor="test")
    for overlap in (-1, 30 * DAY + 1):
        with pytest.raises(OAuthError, match="overlap"):
            await api_tokens.rotate(server.runtime, token.token.id, overlap=overlap, actor="test")


async def test_a_narrower_token_ends_with_its_parent_unless_it_is_to_end_before(server: Server) -> None:
    parent = (await server.token(expires_in=DAY)).token
    now = int(server.clock())
    for expires_in, ends in ((None, now + DAY), (DAY, now + DAY), (60, now + 60)):
        given = api_tokens.NarrowInput(expires_in=expires_in)
        made = await api_tokens.narrow(server.runtime, parent, given, actor="test")
        assert made.token.expires_at == ends
    with pytest.raises(OAuthError) as refused:
        await api_tokens.narrow(
            server.runtime, parent, api_tokens.NarrowInput(expires_in=DAY + 1), actor="test"
        )
    assert refused.value.field == "expires_in"


async def test_a_quota_ends_after_so_many_uses(server: Server) -> None:
    token = await server.token(quota=3)
    assert [await reason(server, token) for _ in range(4)] == ["active"] * 3 + ["quota_exhausted"]
    await flush_usage(server.runtime)
    assert await reason(server, token) == "quota_exhausted"


async def test_who_uses_a_token_too_often_is_told_to_wait_and_not_that_it_is_bad(server: Server) -> None:
    token = await server.token(rate_limit=1)
    caller = await server.client(scope="introspect", resources=[token.token.resource])
    stranger = await server.client(scope="introspect", resources=["https://other.example.com"])
    assert (await server.http.get("/api/v1/tokens/self", headers=bearer(token))).status_code == 200
    refused = await server.http.get("/api/v1/tokens/self", headers=bearer(token))
    assert (refused.status_code, refused.json()["error"]) == (429, "too_many_requests")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    said = (await server.post("/introspect", caller, token=token.secret)).json()
    assert said == {"active": False, "retry_after": int(refused.headers["retry-after"])}
    assert (await server.post("/introspect", stranger, token=token.secret)).json() == {"active": False}
    elsewhere = {"active": False, "aud": token.token.resource}
    for named in ("https://other.example.com", "https://api.example.com/"):
        said = await server.post("/introspect", caller, token=token.secret, resource=named)
        assert said.json() == elsewhere, (
            "who asks for another API learns whose it is, and not when it may be used"
        )
    server.clock.advance(60)
    assert (await server.http.get("/api/v1/tokens/self", headers=bearer(token))).status_code == 200


@pytest.mark.parametrize("limit", [{"quota": 3}, {"rate_limit": 3}], ids=["quota", "rate"])
async def test_a_limit_counts_the_uses_of_all_secrets_of_a_token(
    server: Server, limit: dict[str, Any]
) -> None:
    token = await server.token(**limit)
    rotated = await api_tokens.rotate(server.runtime, token.token.id, overlap=3600, actor="test")
    assert [await reason(server, one) for one in (token, rotated, token)] == ["active"] * 3
    refused = {await reason(server, one) for one in (token, rotated)}
    assert refused in ({"quota_exhausted"}, {"rate_limited"}), "a second secret would double what is allowed"
    await flush_usage(server.runtime)
    assert {await reason(server, one) for one in (token, rotated)} == refused


@pytest.mark.parametrize("limit", [{"quota": 3}, {"rate_limit": 3}], ids=["quota", "rate"])
async def test_uses_that_cannot_be_written_yet_count_all_the_same(
    server: Server, limit: dict[str, Any]
) -> None:
    token = await server.token(**limit)
    assert [await reason(server, token) for _ in range(2)] == ["active"] * 2
    faults.arm("commit.begun/flush_usage=error")
    try:
        with pytest.raises(StorageUnavailable):
            await server.runtime.usage.flush(server.runtime.database)
    finally:
        faults.arm(None)
    assert await reason(server, token) == "active"
    assert await reason(server, token) in ("quota_exhausted", "rate_limited")


@pytest.mark.parametrize("limit", [{"quota": 4}, {"rate_limit": 4}], ids=["quota", "rate"])
async def test_uses_that_are_being_written_count_once(server: Server, limit: dict[str, Any]) -> None:
    """However long the database takes, as where another node holds what is to be changed."""
    token = await server.token(**limit)
    assert await reason(server, token) == "active"
    await flush_usage(server.runtime)
    assert [await reason(server, token) for _ in range(2)] == ["active"] * 2
    async with rows_held(server, "SELECT secret_id FROM token_usage FOR UPDATE"):
        writing = asyncio.ensure_future(flush_usage(server.runtime))
        await asyncio.sleep(0)  # it begins, and waits for the database
        assert await reason(server, token) == "active"
        assert await reason(server, token) in ("quota_exhausted", "rate_limited")
    await writing
    assert await reason(server, token) in ("quota_exhausted", "rate_limited")
    await flush_usage(server.runtime)
    assert await reason(server, token) in ("quota_exhausted", "rate_limited")


@pytest.mark.parametrize("limit", [{"quota": 3}, {"rate_limit": 3}], ids=["quota", "rate"])
async def test_a_token_that_asks_about_itself_is_used_once_each_time(
    server: Server, limit: dict[str, Any]
) -> None:
    token = await server.token(**limit)
    asked = [
        await server.http.post("/introspect", data={"token": token.secret}, headers=bearer(token))
        for _ in range(4)
    ]
    assert [answer.json()["active"] for answer in asked] == [True, True, True, False]


async def test_a_rate_limit_opens_again_after_a_minute(server: Server) -> None:
    token = await server.token(rate_limit=2)
    assert [await reason(server, token) for _ in range(3)] == ["active", "active", "rate_limited"]
    server.clock.advance(60)
    assert await reason(server, token) == "active"


@pytest.mark.parametrize("limit", [{"quota": 2}, {"rate_limit": 2}], ids=["quota", "rate"])
@pytest.mark.parametrize(("where", "bound"), [(runtime, "MAX_CACHED"), (usage, "MAX_PENDING")])
async def test_a_limited_token_is_not_opened_by_how_many_others_are_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, where: ModuleType, bound: str, limit: dict[str, Any]
) -> None:
    monkeypatch.setattr(where, bound, 2)
    token, others = await server.token(**limit), [await server.token() for _ in range(3)]
    assert [await reason(server, other) for other in others] == ["active"] * 3
    used = [await reason(server, token) for _ in range(3)]
    assert used[:2] == ["active"] * 2
    assert used[2] in ("quota_exhausted", "rate_limited")
    assert [await reason(server, other) for other in others] == ["active"] * 3
    assert await reason(server, token) == used[2]


async def test_a_clock_that_is_set_back_makes_no_minute_longer(server: Server) -> None:
    token = await server.token(rate_limit=2)
    server.clock.advance(30 * DAY)
    assert [await reason(server, token) for _ in range(3)] == ["active", "active", "rate_limited"]
    server.clock.advance(-30 * DAY)
    assert [await reason(server, token) for _ in range(3)] == ["active", "active", "rate_limited"]
    server.clock.advance(60)
    assert await reason(server, token) == "active"


async def test_an_api_whose_own_token_is_used_too_often_is_told_to_wait(server: Server) -> None:
    judge, about = await server.token(scope="introspect", rate_limit=1), await server.token()
    answers = [
        await server.http.post("/introspect", data={"token": about.secret}, headers=bearer(judge))
        for _ in range(2)
    ]
    assert answers[0].json()["active"] is True
    # Not a 401: it would throw a good token away
    assert (answers[1].status_code, answers[1].json()["error"]) == (429, "too_many_requests")
    assert answers[1].headers["retry-after"] == "60"
