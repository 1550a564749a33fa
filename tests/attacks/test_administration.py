"""Attacks on the admin API: power that nobody gave, fields that nobody may set, cursors and searches that break out."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.fixtures.documents import Documents
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server

from watchword.app.routes import OPERATIONS
from watchword.flows.api_tokens import Issued
from watchword.flows.clients import client_registry
from watchword.flows.users import account_changes, accounts
from watchword.http.operation import BASE
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError

SCOPED = [one for one in OPERATIONS if one.scope is not None]
SCOPES = sorted({str(one.scope) for one in SCOPED})
CLIENT = {"name": "a client", "scope": "orders:read"}
WEB = {
    "name": "a web application",
    "scope": "openid orders:read",
    "grant_types": ["authorization_code"],
    "redirect_uris": ["https://app.example.com/cb"],
}


def bearer(token: Issued | str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token if isinstance(token, str) else token.secret}"}


async def call(
    server: Server, token: Issued | str, method: str, path: str, body: object = None
) -> httpx.Response:
    """Call an operation of the admin API."""
    content = {"json": body} if body is not None else {}
    return await server.http.request(method, BASE + path, headers=bearer(token), **content)  # type: ignore[arg-type] # one keyword


def place(path: str) -> str:
    """Return a path with its parameters filled in."""
    return path.replace("{id}", "x").replace("{kid}", "x").replace("{secret_id}", "x")


@in_turn("operation", SCOPED, ids=lambda one: f"{one.method} {one.path}")
async def test_ap_03_a_token_reaches_nothing_beyond_its_scope(server: Server, operation: Any) -> None:
    body = {} if operation.body is not None else None
    entitled = await server.token(scope=operation.scope)
    allowed = await call(server, entitled, operation.method, place(operation.path), body)
    assert allowed.status_code not in (401, 403)
    others = await server.token(
        scope=" ".join({*SCOPES, "introspect"} - {operation.scope, "watchword:admin"})
    )
    refused = await call(server, others, operation.method, place(operation.path), body)
    assert refused.status_code == 403
    assert f'scope="{operation.scope}"' in refused.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/api%2Fv1/clients", "/api%2fv1%2fclients", "/api/v1%2Fclients"])
async def test_ad_01_an_escaped_slash_separates_nothing(server: Server, path: str) -> None:
    # A proxy that keeps strangers away from /api/v1 sees another path in these; so must the server.
    admin = await server.token(scope="watchword:admin")
    assert (await server.http.get("/api/v1/clients", headers=bearer(admin))).status_code == 200
    assert (await server.http.get(path, headers=bearer(admin))).status_code == 404
    for traversal in ("/assets/..%2F..%2Fapp.py", "/status-lists/..%2Fx", "/api/v1/tokens/..%2Fself"):
        assert (await server.http.get(traversal, headers=bearer(admin))).status_code == 404


async def test_ad_07_a_client_by_document_is_switched_off_like_any_other(
    tmp_path: Path, documents: Documents
) -> None:
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        client_id = documents.describe(f"/{'c' * 500}")  # as long as an address may be
        asked = {
            "client_id": client_id,
            "redirect_uri": "https://app.example.com/cb",
            "response_type": "code",
        }
        asked |= {"scope": "openid", "code_challenge": "A" * 43, "code_challenge_method": "S256"}
        assert (await server.http.get("/authorize", params=asked)).status_code == 303
        admin = await server.token(scope="watchword:admin")
        path = f"/clients/{quote(client_id, safe='')}"
        shown = (await call(server, admin, "GET", path)).json()
        assert (shown["client_id"], shown["origin"]) == (client_id, "document")
        about = f"/events?target={quote(client_id, safe='')}"
        assert [one["name"] for one in (await call(server, admin, "GET", about)).json()["events"]] == [
            "client.created"
        ]
        given = {"name": shown["name"], "token_endpoint_auth_method": "none", "grant_types": []}
        body = {"client": given, "version": shown["version"], "disabled": True}
        assert (await call(server, admin, "PUT", path, body)).status_code == 200
        assert (await server.http.get("/authorize", params=asked)).status_code == 400
        server.clock.advance(90_000)
        assert (await server.http.get("/authorize", params=asked)).status_code == 400, (
            "whatever it says later"
        )


async def test_ap_05_rotating_a_token_gives_no_power_that_the_caller_lacks(server: Server) -> None:
    powerful, plain = await server.token(scope="watchword:admin"), await server.token(scope="orders:read")
    writer = await server.token(scope="watchword:tokens:write")
    rotated = await call(server, writer, "POST", f"/tokens/{plain.token.id}/rotate", {})
    assert rotated.status_code == 200
    refused = await call(server, writer, "POST", f"/tokens/{powerful.token.id}/rotate", {})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    own = await call(server, powerful, "POST", f"/tokens/{powerful.token.id}/rotate", {})
    assert own.status_code == 200


async def test_ap_05_a_new_client_secret_gives_no_power_that_the_caller_lacks(server: Server) -> None:
    powerful, plain = await server.client(scope="watchword:admin"), await server.client()
    writer = await server.token(scope="watchword:clients:write")
    added = await call(server, writer, "POST", f"/clients/{plain.client.client_id}/secrets", {})
    assert added.status_code == 201
    refused = await call(server, writer, "POST", f"/clients/{powerful.client.client_id}/secrets", {})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    brief = {"overlap": 300, "expires_in": 600}
    made = await call(server, writer, "POST", f"/clients/{plain.client.client_id}/secrets", brief)
    now = int(server.clock())
    kept = await client_registry.secrets_of(server.runtime, plain.client.client_id)
    ends = {one.id: one.expires_at for one in kept}
    assert ends.pop(made.json()["client_secret_id"]) == now + 600
    assert set(ends.values()) == {now + 300}


async def test_ap_06_no_kind_of_token_passes_for_another(server: Server) -> None:
    client = await server.client(scope="openid orders:read")
    access = (await server.grant(client, scope="orders:read", resource=server.settings.issuer)).json()
    api_token = await server.token(scope="openid watchword:tokens:read")
    assert (await call(server, api_token, "GET", "/tokens/self")).status_code == 200
    as_api_token = await call(
        server, access["access_token"], "POST", "/tokens/self/narrow", {"expires_in": 60}
    )
    assert (as_api_token.status_code, as_api_token.json()["error"]) == (401, "invalid_token")
    as_access_token = await server.http.get("/userinfo", headers=bearer(api_token))
    assert as_access_token.status_code == 401
    as_secret = await server.http.get("/userinfo", headers=bearer(str(client.client_secret)))
    assert as_secret.status_code == 401


async def test_ap_07_the_beginning_of_a_token_is_worth_nothing(server: Server) -> None:
    token = await server.token(scope="watchword:tokens:read")
    assert (await call(server, token, "GET", "/tokens/self")).status_code == 200
    for kept in (8, 12, 20, 33):
        filler = "1" if token.secret[33] == "0" else "0"
        body = token.secret[4:kept] + filler * (34 - kept)
        forged = f"wwa_{body}{token_format.checksum(body)}"
        assert token_format.kind_of(forged, "ww") == "a", "an honest checksum"
        answer = await call(server, forged, "GET", "/tokens/self")
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_token")


async def test_ap_09_a_new_account_of_the_same_name_has_nothing_of_the_old_one(server: Server) -> None:
    old = await accounts.create(server.runtime, username="robin", password=None, email=None, actor="test")
    token = await server.token(scope="watchword:tokens:read", owner="robin")
    assert (await call(server, token, "GET", "/tokens/self")).status_code == 200
    await account_changes.delete(server.runtime, old, actor="test")
    new = await accounts.create(server.runtime, username="robin", password=None, email=None, actor="test")
    assert new.id != old.id
    assert (await call(server, token, "GET", "/tokens/self")).status_code == 401
    admin = await server.token(scope="watchword:admin")
    listed = await call(server, admin, "GET", "/tokens?owner=robin")
    assert listed.json()["tokens"] == []


async def test_lg_14_an_account_that_is_called_like_a_client_does_not_stand_in_its_way(
    server: Server,
) -> None:
    clerk = await server.token(scope="watchword:users:write")
    client_id = (await server.client()).client.client_id
    token = await server.token(owner=client_id)
    assert (await call(server, clerk, "POST", "/users", {"username": "robin"})).status_code == 201
    refused = await call(server, clerk, "POST", "/users", {"username": client_id})
    assert (refused.status_code, refused.json()["field"]) == (400, "username")
    admin = await server.token(scope="watchword:admin")
    ended = await call(server, admin, "POST", "/tokens/revoke", {"owner": client_id})
    assert ended.json()["ended"] == [token.token.id], "who revokes the tokens of a client revokes those"


@in_turn(
    ("method", "path", "honest", "smuggled"),
    [
        ("POST", "/tokens", {"name": "x", "owner": "reports", "scope": "a"}, {"id": "token_mine"}),
        ("POST", "/tokens", {"name": "x", "owner": "reports", "scope": "a"}, {"created_by": "somebody"}),
        ("POST", "/tokens", {"name": "x", "owner": "reports", "scope": "a"}, {"digest": "00"}),
        ("POST", "/clients", CLIENT, {"client_id": "mine"}),
        ("POST", "/clients", CLIENT, {"origin": "registered"}),
        ("POST", "/clients", CLIENT, {"client_secret": "chosen"}),
        ("POST", "/clients", CLIENT, {"created_at": 0}),
        ("POST", "/users", {"username": "robin"}, {"id": "user_mine"}),
        ("POST", "/users", {"username": "robin"}, {"password_hash": "$argon2id$"}),
        ("POST", "/users", {"username": "robin"}, {"tenant_id": "t"}),
        ("PATCH", "/users/kim", {"display_name": "Kim"}, {"created_at": 0}),
        ("PATCH", "/users/kim", {"display_name": "Kim"}, {"password_hash": "$argon2id$"}),
    ],
)
async def test_ad_02_a_field_that_nobody_may_set_is_refused_and_named(
    server: Server, method: str, path: str, honest: Mapping[str, object], smuggled: Mapping[str, object]
) -> None:
    with contextlib.suppress(OAuthError):  # one for all rows
        await accounts.create(server.runtime, username="kim", password=None, email=None, actor="test")
    admin = await server.token(scope="watchword:admin")
    refused = await call(server, admin, method, path, {**honest, **smuggled})
    assert refused.status_code == 400
    assert refused.json()["field"] == next(iter(smuggled))
    taken = await call(server, admin, method, path, honest)
    assert taken.status_code in (200, 201) or taken.json()["error"] == "conflict", "as it is, in a row before"


async def test_ad_02_nobody_makes_an_administrator_without_being_one(server: Server) -> None:
    await accounts.create(server.runtime, username="kim", password=None, email=None, actor="test")
    writer = await server.token(scope="watchword:users:write")
    assert (await call(server, writer, "PATCH", "/users/kim", {"display_name": "Kim"})).status_code == 200
    refused = await call(server, writer, "PATCH", "/users/kim", {"is_admin": True})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")
    made = await call(server, writer, "POST", "/users", {"username": "boss", "is_admin": True})
    assert made.status_code == 403


LISTS = ("/tokens", "/clients", "/users")


async def fill(server: Server) -> Issued:
    """Make three of everything that is listed and return an administrator's token."""
    for number in range(3):
        await server.token(name=f"token {number}")
        await server.client(name=f"client {number}")
        await accounts.create(
            server.runtime, username=f"person{number}", password=None, email=None, actor="test"
        )
    return await server.token(scope="watchword:admin")


@pytest.mark.parametrize("path", LISTS)
async def test_ad_03_a_forged_cursor_is_refused(server: Server, path: str) -> None:
    admin = await fill(server)
    first = (await call(server, admin, "GET", f"{path}?limit=1")).json()
    cursor = first["next"]
    second = await call(server, admin, "GET", f"{path}?limit=1&cursor={cursor}")
    assert second.status_code == 200
    assert second.json() != first
    foreign = [
        (await call(server, admin, "GET", f"{other}?limit=1")).json()["next"]
        for other in LISTS
        if other != path
    ]
    changed = cursor[:-2] + ("AA" if cursor[-2:] != "AA" else "BB")
    for forged in (*foreign, changed, cursor + "A", "AAAA", "1'%20OR%20'1'='1", "x" * 200):
        refused = await call(server, admin, "GET", f"{path}?limit=1&cursor={forged}")
        assert (refused.status_code, refused.json()["field"]) == (400, "cursor"), forged


@in_turn("path", LISTS)
async def test_ad_03_a_page_is_bounded_and_its_order_fixed(server: Server, path: str) -> None:
    admin = await server.token(scope="watchword:admin")
    assert (await call(server, admin, "GET", f"{path}?limit=2")).status_code == 200
    for query in (
        "limit=0",
        "limit=-1",
        "limit=1000000000",
        "limit=1%3BDROP",
        "limit=1e3",
        "order=id",
        "sort=name;--",
    ):
        refused = await call(server, admin, "GET", f"{path}?{query}")
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), query


async def test_ad_04_a_search_is_text_and_nothing_else(server: Server) -> None:
    admin = await fill(server)
    for path, name in (("/tokens", "token 1"), ("/clients", "client 1"), ("/users", "person1")):

        async def found(search: str, path: str = path) -> httpx.Response:
            return await server.http.get(BASE + path, params={"search": search}, headers=bearer(admin))

        assert len((await found(name)).json()[path[1:]]) == 1
        for search in SEARCHES:
            answer = await found(search)
            assert (answer.status_code, answer.json()[path[1:]]) == (200, []), (path, search)
            long = await found(search * 1_000)
            assert (long.status_code, long.json()["field"]) == (400, "search"), (path, search)


SEARCHES = ("%", "_", "%25%25", "' OR '1'='1", "\\", "*)(uid=*", "(a+)+$", "'; DROP TABLE users; --", "[%]")


@in_turn(
    "change",
    [
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": ["http://app.example.com/cb"]},
        {"redirect_uris": ["https://app.example.com/cb#fragment"]},
        {"redirect_uris": []},
        {"grant_types": ["password"]},
        {"grant_types": ["authorization_code", "implicit"]},
        {"token_endpoint_auth_method": "none", "grant_types": ["client_credentials"], "redirect_uris": []},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "client_secret_jwt"},
        {"security_profile": "fapi2"},
        {"resources": ["not an address"]},
        {"scope": 'a"b'},
        {"access_token_lifetime": -1},
    ],
    ids=str,
)
async def test_ad_05_the_rules_of_registration_hold_for_every_change(
    server: Server, change: Mapping[str, object]
) -> None:
    admin = await server.token(scope="watchword:admin")
    made = await call(server, admin, "POST", "/clients", WEB)
    assert made.status_code == 201
    at_first = await call(server, admin, "POST", "/clients", {**WEB, **change})
    assert at_first.status_code == 400
    where = f"/clients/{made.json()['client_id']}"
    refused = await call(server, admin, "PUT", where, {"client": {**WEB, **change}, "version": 1})
    assert (refused.status_code, refused.json()["error"]) == (400, at_first.json()["error"])
    kept = await call(server, admin, "PUT", where, {"client": {**WEB, "name": "renamed"}, "version": 1})
    assert (kept.status_code, kept.json()["name"]) == (200, "renamed")


async def test_ht_04_the_rightmost_hop_that_no_trusted_proxy_is_counts(tmp_path: Path) -> None:
    async with open_server(tmp_path, trusted_proxies=("127.0.0.1", "10.0.0.0/8")) as server:
        token = await server.token(scope="watchword:tokens:read", addresses=["192.0.2.0/24"])
        for forwarded, accepted in {
            "192.0.2.9": True, "203.0.113.1, 192.0.2.9": True, "192.0.2.9, 203.0.113.1": False, "192.0.2.9, 10.1.2.3": True,
            "192.0.2.9, ::ffff:10.1.2.3": True, "192.0.2.9, 203.0.113.1, 10.1.2.3": False, "192.0.2.9, evil": False,
            "evil, 192.0.2.9": True, "": False, "192.0.2.9:80": True, "192.0.2.9, [2001:db8::1]:80": False,
            "192.0.2.9, [::ffff:10.0.0.1]:80": True,
        }.items():  # fmt: skip
            headers = bearer(token) | {"x-forwarded-for": forwarded}
            answer = await server.http.get(f"{BASE}/tokens/self", headers=headers)
            assert answer.status_code == (200 if accepted else 401), forwarded
        smuggled = bearer(token) | {"x_forwarded_for": "192.0.2.9", "forwarded": "for=192.0.2.9"}
        assert (await server.http.get(f"{BASE}/tokens/self", headers=smuggled)).status_code == 401


async def test_ht_04_without_a_trusted_proxy_the_header_says_nothing(server: Server) -> None:
    token = await server.token(scope="watchword:tokens:read", addresses=["127.0.0.1"])
    headers = bearer(token) | {"x-forwarded-for": "203.0.113.1"}
    assert (await server.http.get(f"{BASE}/tokens/self", headers=headers)).status_code == 200
    elsewhere = await server.token(scope="watchword:tokens:read", addresses=["192.0.2.0/24"])
    headers = bearer(elsewhere) | {"x-forwarded-for": "192.0.2.9"}
    assert (await server.http.get(f"{BASE}/tokens/self", headers=headers)).status_code == 401


PROBES = {
    "accept": "text/html;" + "q=0." * 5_000,
    "accept-language": "de" + "-aaaaaaaa" * 5_000 + ",",
    "content-type": "application/x-www-form-urlencoded;" + ' a="' * 5_000,
    "authorization": "Basic " + "=" * 30_000,
    "cookie": "a=" + ";" * 30_000 + "=" * 30_000,
    "user-agent": "Mozilla/5.0 (" + " (" * 15_000,
    "x-forwarded-for": "1." * 15_000 + "," * 15_000,
    "forwarded": "for=" * 10_000,
    "dpop": "." * 30_000,
    "if-none-match": '"' * 30_000,
    "origin": "https://" + "a." * 15_000,
}


@in_turn("header", PROBES)
async def test_hp_07_a_header_made_to_confuse_a_parser_is_read_or_refused(
    server: Server, header: str
) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    for method, path in (
        ("POST", "/token"),
        ("GET", "/sign-in"),
        ("GET", "/userinfo"),
        ("GET", "/authorize"),
    ):
        headers = {"content-type": "application/x-www-form-urlencoded", header: PROBES[header]}
        answer = await server.http.request(method, path, headers=headers, content=b"grant_type=x")
        assert answer.status_code < 500
    assert (await server.grant(client)).status_code == 200


async def test_power_over_this_server_is_not_had_by_signing_in(server: Server) -> None:
    """Whoever signs in to a client that holds power over this server gets none of it."""
    client = await server.client(
        scope="openid orders:read watchword:admin introspect",
        grant_types=["urn:ietf:params:oauth:grant-type:device_code", "client_credentials"],
    )
    granted = await server.grant(client, scope="watchword:admin")
    assert granted.json()["scope"] == "watchword:admin", "the client itself has it"
    begun = await server.post("/device_authorization", client, scope="openid orders:read")
    assert begun.status_code == 200
    refused = await server.post("/device_authorization", client, scope="openid watchword:admin")
    assert refused.json()["error"] == "invalid_scope"
