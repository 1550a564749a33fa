"""API tokens: made once shown, verified with a reason, narrowed without gain, rotated with overlap, revoked for good."""

import asyncio
import time
from typing import Any

import httpx
import pytest
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server
from tests.flows.conftest import Stored

from watchword.flows import api_tokens, token_verification
from watchword.flows.api_tokens import Issued
from watchword.flows.clients import client_registry
from watchword.flows.token_verification import Use
from watchword.jobs import flush_usage, housekeeping
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError
from watchword.store import faults, token_usage
from watchword.store.database import StorageUnavailable

DAY = 86_400


def bearer(token: Issued) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token.secret}"}


async def reason(server: Server, token: Issued, **use: Any) -> str:
    """Return why a token is accepted or refused."""
    return (await token_verification.verify(server.runtime, token.secret, Use(**use))).reason


async def narrow(server: Server, token: Issued, **wanted: Any) -> httpx.Response:
    """Ask for a narrower token with a token."""
    return await server.http.post("/api/v1/tokens/self/narrow", json=wanted, headers=bearer(token))


async def test_a_token_is_stored_only_as_a_hash(server: Server, stored: Stored) -> None:
    token = await server.token()
    assert await reason(server, token) == "active"
    kept = stored()
    assert token.token.id.encode() in kept
    assert token.secret.encode() not in kept, "AP-01"
    assert token.secret[4:34].encode() not in kept


async def test_a_token_tells_its_kind_and_carries_a_checksum(server: Server) -> None:
    token = await server.token()
    assert token_format.kind_of(token.secret, "ww") == "a"
    assert token.secret.startswith("wwa_")
    assert len(token.secret) == 40
    assert await reason(server, token) == "active"
    last = "0" if token.secret[-1] != "0" else "1"
    garbled = Issued(token.token, token.secret[:-1] + last, token.secret_id)
    assert await reason(server, garbled) == "unknown", "AP-02"


@in_turn(
    ("given", "use", "expected"),
    [
        ({}, {}, "active"),
        ({"scope": "a b"}, {"scope": ("a",)}, "active"),
        ({"scope": "a b"}, {"scope": ("c",)}, "wrong_scope"),
        ({"addresses": ["192.0.2.0/24"]}, {"address": "192.0.2.9"}, "active"),
        ({"addresses": ["192.0.2.0/24"]}, {"address": "::ffff:192.0.2.9"}, "active"),
        ({"addresses": ["192.0.2.0/24"]}, {"address": "192.0.3.9"}, "wrong_address"),
        ({"addresses": ["192.0.2.0/24"]}, {}, "wrong_address"),
        ({"path": "/orders"}, {"path": "/orders/7"}, "active"),
        ({"path": "/orders"}, {"path": "/orders-of-others"}, "wrong_path"),
        ({"path": "/orders"}, {}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/..7/.well-known/7..8/..."}, "active"),
        ({"path": "/orders"}, {"path": "/orders/../customers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/./../customers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/%2e%2E/customers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/.%2e/customers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/..%2fcustomers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/..%5ccustomers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/..;a=b/customers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/%2e%2e"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/a%20b;v=1/..c/50%25"}, "active"),
        ({"path": "/orders"}, {"path": "/orders/.."}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders\\..\\customers"}, "wrong_path"),
        ({"path": "/orders"}, {"path": "/orders/..\\customers"}, "wrong_path"),
        ({"resource": "https://api.example.com"}, {"resources": ("https://api.example.com",)}, "active"),
        (
            {"resource": "https://api.example.com"},
            {"resources": ("https://other.example.com",)},
            "wrong_resource",
        ),
        ({"jkt": "A" * 43}, {"jkt": "B" * 43}, "unbound"),
    ],
)
async def test_the_operator_learns_why(server: Server, given: Any, use: Any, expected: str) -> None:
    token = await server.token(**given)
    assert await reason(server, token, **use) == expected


@in_turn(
    "path", ["orders", "/orders?open", "/orders#open", "/a/../b", "/a/%2e%2e/b", "//a", "/a b", "/\u00e9", ""]
)
async def test_a_token_is_not_made_for_a_path_that_no_request_has(server: Server, path: str) -> None:
    assert (await server.token(path="/orders/7;v=1/a..b")).token.path == "/orders/7;v=1/a..b"
    with pytest.raises(OAuthError) as caught:
        await server.token(path=path)
    assert (caught.value.code, caught.value.field) == ("invalid_request", "path")


async def test_a_token_expires_after_90_days_by_default(server: Server) -> None:
    token = await server.token()
    server.clock.advance(90 * DAY - 1)
    assert await reason(server, token) == "active"
    server.clock.advance(1)
    assert await reason(server, token) == "expired"


@in_turn("said", ["never\n", "NEVER", "", "90d", 1.5, True, 0], ids=repr)
async def test_a_life_is_a_number_or_never_and_nothing_else(server: Server, said: object) -> None:
    power = bearer(await server.token("watchword:admin"))

    async def create(expires_in: object) -> httpx.Response:
        wanted = {"name": "ci", "owner": "builds", "scope": "a", "expires_in": expires_in}
        return await server.http.post("/api/v1/tokens", json=wanted, headers=power)

    assert (await create(60)).status_code == 201
    refused = await create(said)
    assert (refused.status_code, refused.json()["field"]) == (400, "expires_in")
    if isinstance(said, str):
        assert refused.json()["error_description"] == "expires_in: Expected one of a whole number, never"


@in_turn("value", ["a\x1b[2Kb", "a\rb", "a\x7fb", "a\x9b2Kb", "\x08"], ids=ascii)
async def test_metadata_hold_no_control_characters(server: Server, value: str) -> None:
    notes = {"team": "billing", "empty": "", "note": " two\n\tlines, Größe 😀\n"}
    assert (await server.token(metadata=notes)).token.metadata == notes
    with pytest.raises(OAuthError) as refused:
        await server.token(metadata={"team": value})
    assert (refused.value.code, refused.value.field) == ("invalid_request", "metadata")


async def test_narrowing_gives_less_for_shorter_and_shows_its_chain(server: Server) -> None:
    token = await server.token(scope="orders:read orders:write")
    made = await narrow(server, token, scope="orders:read", expires_in=300, path="/orders")
    assert made.status_code == 201
    child = made.json()
    assert child["scope"] == "orders:read"
    assert child["expires_at"] == int(server.clock()) + 300
    shown = await server.http.get(
        "/api/v1/tokens/self", headers={"authorization": f"Bearer {child['token']}"}
    )
    assert shown.json()["chain"] == [token.token.id, child["id"]]
    assert shown.json()["parent"] == token.token.id


async def test_a_token_whose_name_would_be_refused_today_is_narrowed_like_any_other(server: Server) -> None:
    token = await server.token()
    renamed = "UPDATE api_tokens SET name = $1 WHERE id = $2"
    await server.runtime.database.write(lambda tx: tx.run(renamed, "pay\u00adroll", token.token.id))
    assert (await narrow(server, token)).json().get("name") == "pay\u00adroll (narrowed)"
    assert (await narrow(server, token, name="for payroll")).json()["name"] == "for payroll"
    assert (await narrow(server, token, name="pay\u00adroll")).status_code == 400


@in_turn(
    ("wanted", "status", "code"),
    [
        ({"scope": "orders:read orders:write orders:delete"}, 403, "invalid_scope"),
        ({"scope": " "}, 400, "invalid_scope"),
        ({"expires_in": 364 * DAY}, 403, "invalid_request"),
        ({"resource": "https://other.example.com"}, 403, "invalid_target"),
        ({"addresses": ["0.0.0.0/0"]}, 403, "invalid_request"),
        ({"addresses": []}, 403, "invalid_request"),
        ({"path": "/"}, 403, "invalid_request"),
        ({"owner": "root"}, 400, "invalid_request"),
        ({"quota": 5}, 400, "invalid_request"),
    ],
    ids=lambda value: str(value),
)
async def test_ap_05_nothing_is_gained_by_narrowing(
    server: Server, wanted: Any, status: int, code: str
) -> None:
    token = await server.token(scope="orders:read", addresses=["127.0.0.0/8"], path="/orders")
    assert (await narrow(server, token, scope="orders:read")).status_code == 201
    refused = await narrow(server, token, **wanted)
    assert (refused.status_code, refused.json()["error"]) == (status, code)


async def test_a_token_is_narrowed_up_to_its_own_end_and_eight_times(server: Server) -> None:
    token = await server.token(expires_in=300)
    assert (await narrow(server, token, expires_in=301)).status_code == 403
    secret, statuses = token.secret, []
    for _ in range(9):
        made = await server.http.post(
            "/api/v1/tokens/self/narrow",
            json={"expires_in": 300},
            headers={"authorization": f"Bearer {secret}"},
        )
        statuses.append(made.status_code)
        secret = made.json().get("token", secret)
    assert statuses == [201] * 8 + [400]


async def test_a_narrower_token_dies_with_its_ancestor(server: Server) -> None:
    token = await server.token(scope="orders:read")
    child = (await narrow(server, token)).json()
    grandchild = await server.http.post(
        "/api/v1/tokens/self/narrow", json={}, headers={"authorization": f"Bearer {child['token']}"}
    )
    alive = Use()
    assert (await token_verification.verify(server.runtime, grandchild.json()["token"], alive)).active
    ended = await api_tokens.revoke(server.runtime, token.token.id, actor="test")
    assert set(ended) == {token.token.id, child["id"], grandchild.json()["id"]}
    for secret in (token.secret, child["token"], grandchild.json()["token"]):
        assert (await token_verification.verify(server.runtime, secret, alive)).reason == "revoked"


async def test_rotation_keeps_the_old_secret_for_the_overlap_and_shows_who_uses_it(server: Server) -> None:
    token = await server.token()
    rotated = await api_tokens.rotate(server.runtime, token.token.id, overlap=3600, actor="test")
    assert await reason(server, token, address="10.2.0.4") == "active"
    assert await reason(server, rotated, address="10.2.0.5") == "active"
    await flush_usage(server.runtime)
    shown = await server.http.get("/api/v1/tokens/self", headers=bearer(rotated))
    used = {secret["hint"]: secret["last_address"] for secret in shown.json()["secrets"]}
    assert used == {token.secret[-4:]: "10.2.0.4", rotated.secret[-4:]: "10.2.0.5"}
    server.clock.advance(3600)
    assert await reason(server, token) == "rotated"
    assert await reason(server, rotated) == "active"


async def test_a_node_that_leaves_the_common_work_to_others_writes_what_it_counted(server: Server) -> None:
    assert not server.settings.jobs
    token = await server.token()
    assert await reason(server, token, address="10.2.0.4") == "active"
    begun = time.monotonic()
    while (await used_from(server, token)) != ["10.2.0.4"]:
        assert time.monotonic() - begun < 20, "and others count with it: quotas, and what is purged as unused"
        await asyncio.sleep(0.05)


@in_turn(
    ("said", "recorded"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::7%eth0", "fe80::7"),
        ("fe80::7%\x1b[2K", "fe80::7"),
        ("\x1b[2Klast used", ""),
        ("192.0.2.7\u202e", ""),
        ("testclient", ""),
    ],
    ids=ascii,
)
async def test_a_holder_who_asks_about_a_token_gets_nothing_but_an_address_recorded(
    server: Server, said: str, recorded: str
) -> None:
    token = await server.token()
    form = {"token": token.secret, "address": said}
    assert (await server.http.post("/introspect", data=form, headers=bearer(token))).json()["active"]
    await flush_usage(server.runtime)
    assert await used_from(server, token) == [recorded]


async def used_from(server: Server, token: Issued) -> list[str | None]:
    """Return from where the secrets of a token were last used, as the database has it."""
    uses = await server.runtime.database.read(token_usage.list_secret_uses, token.token.id)
    return [use.last_address for use in uses]


async def test_all_tokens_of_an_owner_end_at_once(server: Server) -> None:
    mine = [await server.token(owner="reports") for _ in range(3)]
    other = await server.token(owner="billing")
    ended = await api_tokens.revoke_all_of(server.runtime, "application:reports", actor="test")
    assert set(ended) == {token.token.id for token in mine}
    assert [await reason(server, token) for token in mine] == ["revoked"] * 3
    assert await reason(server, other) == "active"


async def test_who_writes_an_owner_wrong_is_told_that_nothing_ended(server: Server) -> None:
    mine = await server.token(owner="reports")
    power = {"authorization": f"Bearer {(await server.token('watchword:admin', owner='root')).secret}"}

    async def revoke(owner: str) -> httpx.Response:
        return await server.http.post("/api/v1/tokens/revoke", json={"owner": owner}, headers=power)

    wrong = await revoke("repotrs")
    assert (wrong.status_code, wrong.json()["field"]) == (404, "owner")
    assert (await revoke("reports")).json()["ended"] == [mine.token.id]
    again = await revoke("application:reports")
    assert (again.status_code, again.json()["ended"]) == (200, []), "what has ended already is no error"


async def test_compromised_is_an_act_of_its_own(server: Server) -> None:
    admin = await server.token(scope="watchword:admin")
    token = await server.token()
    done = await server.http.post(
        f"/api/v1/tokens/{token.token.id}/revoke", json={"reason": "compromised"}, headers=bearer(admin)
    )
    assert done.json() == {"ended": [token.token.id]}
    events = await server.http.get("/api/v1/events", params={"target": token.token.id}, headers=bearer(admin))
    assert [event["name"] for event in events.json()["events"]] == ["token.compromised", "token.created"]


@pytest.mark.parametrize("failing", ["flush_usage", "flush_client_usage"], ids=["tokens", "clients"])
async def test_a_use_counts_once_when_not_everything_can_be_written(server: Server, failing: str) -> None:
    token, client = await server.token(quota=10), await server.client()
    for _ in range(3):
        assert await reason(server, token) == "active"
    assert (await server.grant(client)).status_code == 200
    faults.arm(f"commit.begun/{failing}=error")
    try:
        with pytest.raises(StorageUnavailable):
            await server.runtime.usage.flush(server.runtime.database)
    finally:
        faults.arm(None)
    await server.runtime.usage.flush(server.runtime.database)
    (used,) = await server.runtime.database.read(token_usage.list_secret_uses, token.token.id)
    assert used.outcomes == {"active": 3}
    (secret,) = await client_registry.secrets_of(server.runtime, client.client.client_id)
    assert secret.last_used_at == int(server.clock())


async def test_a_notice_precedes_the_expiry_once(server: Server) -> None:
    admin = await server.token(scope="watchword:admin", expires_in=300 * DAY)
    token = await server.token(expires_in=10 * DAY)
    server.clock.advance(4 * DAY)
    await housekeeping(server.runtime)
    await housekeeping(server.runtime)
    events = await server.http.get("/api/v1/events", params={"name": "token.expiring"}, headers=bearer(admin))
    assert [event["target"] for event in events.json()["events"]] == [token.token.id]


async def test_the_tokens_of_a_disabled_client_are_dead(server: Server) -> None:
    client = await server.client()
    token = await server.token(owner=client.client.client_id)
    assert await reason(server, token) == "active"
    admin = await server.token(scope="watchword:admin")
    url = f"/api/v1/clients/{client.client.client_id}"
    body = {"client": {"name": "a client"}, "version": 1, "disabled": True}
    assert (await server.http.put(url, json=body, headers=bearer(admin))).status_code == 200
    assert await reason(server, token) == "owner_disabled", "AP-04"


async def test_a_token_without_management_scope_cannot_make_another(server: Server) -> None:
    admin = await server.token(scope="watchword:tokens:write")
    plain = await server.token(scope="orders:read")
    wanted = {"name": "x", "owner": "reports", "scope": "orders:read"}
    assert (await server.http.post("/api/v1/tokens", json=wanted, headers=bearer(admin))).status_code == 201
    refused = await server.http.post("/api/v1/tokens", json=wanted, headers=bearer(plain))
    assert refused.status_code == 403, "AP-05"
    assert 'scope="watchword:tokens:write"' in refused.headers["www-authenticate"]


@pytest.mark.parametrize("scope", ["watchword:admin", "watchword:keys:write", "introspect"])
async def test_a_token_gives_no_power_that_it_lacks(server: Server, scope: str) -> None:
    writer = await server.token(scope="watchword:tokens:write")
    wanted = {"name": "x", "owner": "reports", "scope": scope}
    refused = await server.http.post("/api/v1/tokens", json=wanted, headers=bearer(writer))
    assert refused.status_code == 403, "AP-05"
    admin = await server.token(scope="watchword:admin introspect")
    assert (await server.http.post("/api/v1/tokens", json=wanted, headers=bearer(admin))).status_code == 201


async def test_a_token_with_power_outlives_nobody(server: Server) -> None:
    admin = await server.token(scope="watchword:admin", expires_in=DAY)
    wanted = {"name": "x", "owner": "reports", "scope": "watchword:admin"}
    refused = await server.http.post(
        "/api/v1/tokens", json=wanted | {"expires_in": DAY + 1}, headers=bearer(admin)
    )
    assert refused.status_code == 403, "AP-05"
    for asked in ({"expires_in": DAY}, {}):
        kept = await server.http.post("/api/v1/tokens", json=wanted | asked, headers=bearer(admin))
        assert (kept.status_code, kept.json()["expires_at"]) == (201, admin.token.expires_at)
