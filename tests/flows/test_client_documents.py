"""Clients by metadata document: what a stranger may say of itself, what it can make this server do, and what it cannot."""

import asyncio
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.fixtures.code_flow import REDIRECT, VERIFIER, answer_of, decide, sign_in
from tests.fixtures.documents import Documents
from tests.fixtures.rows import in_turn
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server, together
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.users import accounts
from watchword.jose import jwk, jwt
from watchword.oauth import pkce

server = server_with(fetch_allow_loopback=True)


def asked_by(client_id: str, **changes: str) -> dict[str, str]:
    """Return the parameters of an authorization request."""
    return {
        "client_id": client_id,
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "openid",
        "state": "s",
        "code_challenge": pkce.challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    } | changes


async def begin(server: Server, client_id: str, **changes: str) -> httpx.Response:
    """Send an authorization request."""
    return await server.http.get("/authorize", params=asked_by(client_id, **changes))


async def consent_of(server: Server, client_id: str) -> httpx.Response:
    """Walk up to the consent page as a new person."""
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await begin(server, client_id))
    return await server.http.get(back.headers["location"])


async def redeem(server: Server, client_id: str, code: str, **more: str) -> httpx.Response:
    """Redeem a code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "redirect_uri": REDIRECT,
    }
    return await server.http.post("/token", data=form | {"client_id": client_id} | more)


async def test_a_client_that_nobody_registered_gets_tokens_and_is_shown_as_what_it_is(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe()
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["client_id_metadata_document_supported"] is True
    assert "none" in metadata["token_endpoint_auth_methods_supported"]
    page = await consent_of(server, client_id)
    assert client_id.split("/")[2] in page.text, "the host that publishes the document"
    assert "A wandering client" in page.text
    answer = answer_of(await decide(server, page))
    tokens = (await redeem(server, client_id, answer["code"])).json()
    assert tokens["scope"] == "openid"
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client_id}
    assert (await server.http.post("/token", data=form)).status_code == 200
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    assert (await server.http.get("/userinfo", headers=headers)).status_code == 200
    assert documents.asked["/client"] == 1, "a fresh reading is not read again"


async def test_a_consent_to_such_a_client_is_asked_for_every_time(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe()
    await decide(server, await consent_of(server, client_id))
    answer = answer_of(await begin(server, client_id, prompt="none"))
    assert answer["error"] == "consent_required"


async def test_private_key_jwt_is_checked_with_the_documents_keys(
    server: Server, documents: Documents
) -> None:
    key = jwk.generate("ES256")
    jwks = {"keys": [jwk.public_document(key)]}
    client_id = documents.describe(token_endpoint_auth_method="private_key_jwt", jwks=jwks)
    answer = answer_of(await decide(server, await consent_of(server, client_id)))
    assert (await redeem(server, client_id, answer["code"])).json()["error"] == "invalid_client"
    now = int(server.clock())
    claims = {"iss": client_id, "sub": client_id, "aud": server.settings.issuer, "jti": os.urandom(8).hex()}
    assertion = jwt.encode(key, claims | {"iat": now, "exp": now + 60}, typ="JWT")
    proof = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    assert (await redeem(server, client_id, answer["code"], **proof)).status_code == 200


SECRET_KEY = {"keys": [{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}


@in_turn(
    "changes",
    [
        pytest.param({"client_id": "https://other.example/client"}, id="client_id is another address"),
        pytest.param({"client_id": None}, id="client_id is missing"),
        pytest.param({"client_secret": "x"}, id="a secret"),
        pytest.param({"client_secret_expires_at": 0}, id="a secret's expiry"),
        pytest.param({"token_endpoint_auth_method": "client_secret_basic"}, id="client_secret_basic"),
        pytest.param({"token_endpoint_auth_method": "client_secret_jwt"}, id="client_secret_jwt"),
        pytest.param({"token_endpoint_auth_method": "tls_client_auth"}, id="tls_client_auth"),
        pytest.param({"token_endpoint_auth_method": "private_key_jwt"}, id="private_key_jwt without keys"),
        pytest.param(
            {"token_endpoint_auth_method": "private_key_jwt", "jwks": SECRET_KEY}, id="a symmetric key"
        ),
        pytest.param({"redirect_uris": []}, id="no redirect URI"),
        pytest.param({"redirect_uris": ["http://app.example.com/cb"]}, id="a redirect URI without TLS"),
        pytest.param({"redirect_uris": ["javascript:alert(1)"]}, id="a redirect URI that is a script"),
        pytest.param({"redirect_uris": REDIRECT}, id="redirect_uris is no list"),
        pytest.param({"response_types": ["token"]}, id="the implicit flow"),
        pytest.param({"grant_types": ["client_credentials"]}, id="a grant that policy does not allow"),
        pytest.param({"scope": "watchword:admin introspect"}, id="scopes over this server"),
        pytest.param({"client_name": "Bank\u202e"}, id="a name with invisible characters"),
        pytest.param({"client_name": "\u3164"}, id="a name that shows nothing"),
        pytest.param({"client_name": "a" + "\u0301" * 10}, id="a name with a pile of marks"),
        pytest.param({"software_statement": "e30.e30."}, id="a software statement"),
    ],
)
async def test_a_document_that_breaks_a_rule_makes_no_client(
    server: Server, documents: Documents, changes: dict[str, Any]
) -> None:
    assert (await begin(server, documents.describe("/honest"))).status_code == 303
    # Each has an address of its own and its time: one that was refused is not read again at once, nor a host asked too often.
    path = f"/bad/{len(documents.published)}"
    documents.describe(path, **changes)
    server.clock.advance(2)
    shown = await begin(server, documents.base + path)
    assert shown.status_code == 400
    assert "location" not in shown.headers
    assert documents.asked[path] == 1
    assert await client_registry.find(server.runtime, documents.base + path) is None


BIG = b'{"client_name": "' + b"a" * 5_000_000 + b'"}'


@pytest.mark.parametrize(
    ("document", "headers", "status"),
    [
        pytest.param(BIG, ("content-type: application/json",), 200, id="MC-50 five megabytes"),
        pytest.param(b"", ("location: http://127.0.0.1/other",), 302, id="MC-50 a redirect"),
        pytest.param(b"<html>", ("content-type: text/html",), 200, id="a page"),
        pytest.param(b"[" * 100_000, ("content-type: application/json",), 200, id="deep JSON"),
        pytest.param(b'{"a": NaN}', ("content-type: application/json",), 200, id="NaN"),
        pytest.param(b"\xff\xfe", ("content-type: application/json",), 200, id="not UTF-8"),
        pytest.param(b"[]", ("content-type: application/json",), 200, id="not an object"),
        pytest.param(b"{}", ("content-type: application/json",), 404, id="not found"),
        pytest.param(
            b"{}", ("content-type: application/json", "content-encoding: gzip"), 200, id="compressed"
        ),
    ],
)
async def test_mc_50_what_is_no_document_makes_no_client_and_is_not_asked_for_again_at_once(
    server: Server, documents: Documents, document: bytes, headers: tuple[str, ...], status: int
) -> None:
    assert (await begin(server, documents.describe("/honest"))).status_code == 303
    client_id = documents.publish("/bad", document, *headers, status=status)
    for _ in range(3):
        assert (await begin(server, client_id)).status_code == 400
    assert documents.asked == {"/honest": 1, "/bad": 1}


async def test_mc_02_no_address_that_is_private_or_malformed_is_ever_fetched(tmp_path: Path) -> None:
    async with open_server(tmp_path) as closed:
        registered = await closed.client(redirect_uris=[REDIRECT], grant_types=["authorization_code"])
        honest = await begin(closed, registered.client.client_id, scope="orders:read")
        assert honest.status_code == 303
        for client_id in NO_DOCUMENTS:
            shown = await begin(closed, client_id)
            assert shown.status_code == 400, client_id
            assert "location" not in shown.headers
            assert not closed.runtime.strangers.under_way


NO_DOCUMENTS = (
    "https://127.0.0.1/client", "https://localhost/client", "https://[::1]/client", "https://10.0.0.1/client",
    "https://169.254.169.254/latest/meta-data", "https://2130706433/client", "https://0x7f.1/client",
    "https://example.com:22/client", "http://example.com/client", "file:///etc/passwd", "https://user@example.com/client",
    "https://example.com", "https://example.com/", "https://example.com/a/../b", "https://example.com/%2e%2e/b",
    "https://example.com/client?x=1", "https://example.com/client#x", "https://EXAMPLE.com/client",
    "https://example.com/client\r\n", "https://example.com/\u2025", "http://[", "https://" + "a" * 3000,
)  # fmt: skip


async def test_every_refusal_reads_the_same_so_that_nobody_learns_what_is_where(
    server: Server, documents: Documents
) -> None:
    # The links that change the language lead back to the request itself.
    pages = [
        re.sub(r"<nav.*?</nav>", "", (await begin(server, client_id)).text, flags=re.DOTALL)
        for client_id in (
            documents.base + "/nothing",
            documents.publish("/page", b"<html>", "content-type: text/html"),
            documents.describe("/bad", client_id="https://other.example/x"),
            "https://10.0.0.1/client",
            "unknown",
        )
    ]
    assert len(set(pages)) == 1


async def test_twenty_requests_at_once_fetch_once(server: Server, documents: Documents) -> None:
    documents.gate = asyncio.Event()
    client_id = documents.describe()

    async def open_gate() -> None:
        while not documents.asked["/client"]:
            await asyncio.sleep(0)
        assert documents.gate is not None
        documents.gate.set()

    answers = await together(*(begin(server, client_id) for _ in range(20)), open_gate())
    assert {answer.status_code for answer in answers[:20]} == {303}
    assert documents.asked["/client"] == 1


async def test_many_addresses_of_one_host_are_not_fetched_without_end(
    server: Server, documents: Documents
) -> None:
    for number in range(40):
        await begin(server, f"{documents.base}/client-{number}")
    assert 0 < documents.asked.total() <= 20


@pytest.mark.parametrize(
    ("header", "kept_for"),
    [
        ("cache-control: max-age=3600", 3600),
        ("cache-control: max-age=9999999", 86_400),
        ("cache-control: no-store", 300),
        ("x-nothing: 1", 300),
    ],
)
async def test_a_document_is_kept_as_its_server_says_within_bounds(
    server: Server, documents: Documents, header: str, kept_for: int
) -> None:
    client_id = documents.describe("/client", header)
    await begin(server, client_id)
    server.clock.advance(kept_for - 1)
    await begin(server, client_id)
    assert documents.asked["/client"] == 1
    server.clock.advance(1)
    await begin(server, client_id)
    assert documents.asked["/client"] == 2


async def test_a_change_of_the_document_counts_once_it_is_read(server: Server, documents: Documents) -> None:
    client_id = documents.describe()
    assert (await begin(server, client_id)).status_code == 303
    documents.describe(redirect_uris=["https://moved.example.com/cb"])
    server.clock.advance(301)
    assert (await begin(server, client_id)).status_code == 400
    assert (await begin(server, client_id, redirect_uri="https://moved.example.com/cb")).status_code == 303


async def test_a_server_in_trouble_is_forgiven_for_a_day_and_a_withdrawn_document_is_not(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe()
    assert (await begin(server, client_id)).status_code == 303
    documents.publish("/client", b"", status=503)
    server.clock.advance(400)
    assert (await begin(server, client_id)).status_code == 303, "as last read"
    server.clock.advance(86_400)
    assert (await begin(server, client_id)).status_code == 400, "but not for ever"
    documents.describe()
    server.clock.advance(60)
    assert (await begin(server, client_id)).status_code == 303
    documents.publish("/client", b"", status=404)
    server.clock.advance(400)
    assert (await begin(server, client_id)).status_code == 400, "withdrawn"
    documents.publish("/client", b"", status=503)
    server.clock.advance(60)
    assert (await begin(server, client_id)).status_code == 400, "and not forgiven for what comes after that"
    documents.describe()
    server.clock.advance(60)
    assert (await begin(server, client_id)).status_code == 303


async def test_a_document_is_kept_no_longer_because_the_clock_was_set_back(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe()
    assert (await begin(server, client_id)).status_code == 303
    documents.describe(redirect_uris=["https://moved.example.com/cb"])
    server.clock.advance(-30 * 86_400)
    moved = await begin(server, client_id, redirect_uri="https://moved.example.com/cb")
    assert moved.status_code == 303


async def test_an_administrator_can_disable_such_a_client(server: Server, documents: Documents) -> None:
    client_id = documents.describe()
    page = await consent_of(server, client_id)
    code = answer_of(await decide(server, page))["code"]
    client = await client_registry.find(server.runtime, client_id)
    assert client is not None
    await client_registry.change(
        server.runtime,
        client_id,
        client_metadata.to_input(client),
        expected_version=None,
        disabled=True,
        actor="test",
    )
    assert (await redeem(server, client_id, code)).json()["error"] == "invalid_client"
    server.clock.advance(301)
    assert (await begin(server, client_id)).status_code == 400, "whatever the document says now"


async def test_it_can_be_switched_off_or_left_to_chosen_hosts(tmp_path: Path, documents: Documents) -> None:
    client_id = documents.describe()
    for folder, options, status in (
        ("on", {}, 303),
        ("off", {"client_documents": False}, 400),
        ("other", {"client_document_hosts": ("apps.example.com",)}, 400),
        ("chosen", {"client_document_hosts": ("127.0.0.1",)}, 303),
    ):
        (tmp_path / folder).mkdir()
        async with open_server(tmp_path / folder, fetch_allow_loopback=True, **options) as opened:
            assert (await begin(opened, client_id)).status_code == status, folder
            metadata = (await opened.http.get("/.well-known/oauth-authorization-server")).json()
            assert metadata["client_id_metadata_document_supported"] is (folder != "off")
    assert documents.asked["/client"] == 2


async def test_what_it_may_ask_for_is_the_operators_choice(tmp_path: Path, documents: Documents) -> None:
    client_id = documents.describe(scope="orders:read orders:write watchword:admin")
    options: dict[str, Any] = {
        "self_registered_scopes": ("openid", "orders:read"),
        "self_registered_resources": ("https://mcp.example.com/mcp",),
    }
    async with open_server(tmp_path, fetch_allow_loopback=True, **options) as opened:
        allowed = {"scope": "orders:read", "resource": "https://mcp.example.com/mcp"}
        assert "/sign-in" in (await begin(opened, client_id, **allowed)).headers["location"]
        wider = answer_of(await begin(opened, client_id, **allowed | {"scope": "orders:write"}))
        assert wider["error"] == "invalid_scope"
        other = answer_of(await begin(opened, client_id, **allowed | {"resource": "https://other.example"}))
        assert other["error"] == "invalid_target"


async def test_a_client_that_an_operator_registered_under_an_address_is_that_client(
    server: Server, documents: Documents
) -> None:
    client_id = documents.describe("/billing", client_name="Somebody else")
    given = client_metadata.ClientInput(name="Billing", scope="orders:read")
    made = await client_registry.register(server.runtime, given, client_id=client_id, actor="test")
    form, proof = {"grant_type": "client_credentials"}, (quote(client_id, safe=""), made.client_secret or "")
    answer = await server.http.post("/token", data=form, auth=proof)
    assert answer.status_code == 200, answer.text
    assert documents.asked["/billing"] == 0, "what its address says does not count"
