"""Dynamic registration: off unless switched on, gated, never more than policy allows, cleaned up."""

from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.code_flow import REDIRECT, VERIFIER, answer_of, decide, sign_in
from tests.fixtures.registering import bearer, begin, path_of, register, server
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server, together
from tests.flows.conftest import Stored
from tests.flows.test_first_sign_in import PASSWORD

from watchword import jobs
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.users import accounts
from watchword.jose import jwk, jwt

__all__ = ["server"]

DAY = 86_400


async def sign_in_and_agree(
    server: Server, client_id: str, scope: str = "openid", **more: str
) -> dict[str, Any]:
    """Walk the whole flow as a new person would; return the tokens."""
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await begin(server, client_id, scope=scope))
    page = await server.http.get(back.headers["location"])
    assert "A newcomer" in page.text
    code = answer_of(await decide(server, page))["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": VERIFIER,
        "client_id": client_id,
    }
    answer = await server.http.post("/token", data=form | {"redirect_uri": REDIRECT} | more)
    tokens: dict[str, Any] = answer.json()
    return tokens


async def test_a_client_registers_itself_and_gets_tokens(server: Server) -> None:
    metadata = (await server.http.get("/.well-known/openid-configuration")).json()
    assert metadata["registration_endpoint"] == server.settings.issuer + "/register"
    answer = await register(server)
    registered = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert "client_secret" not in registered
    assert registered["scope"] == "openid profile"
    tokens = await sign_in_and_agree(server, registered["client_id"])
    assert tokens["scope"] == "openid"
    assert "refresh_token" in tokens


async def test_a_confidential_client_gets_a_secret_that_works(server: Server) -> None:
    registered = (await register(server, token_endpoint_auth_method="client_secret_post")).json()
    assert registered["client_secret_expires_at"] == 0
    secret = registered["client_secret"]
    tokens = await sign_in_and_agree(server, registered["client_id"], client_secret=secret)
    assert "access_token" in tokens


async def test_members_that_the_server_does_not_use_do_no_harm(server: Server) -> None:
    answer = await register(
        server,
        token_endpoint_auth_method="client_secret_basic",
        token_endpoint_auth_signing_alg="RS256",
        contacts=["ada@example.com"],
        logo_uri="https://app.example.com/logo.png",
        software_id="x",
        software_version="2",
        x_vendor={"a": [1]},
        client_uri=None,
    )
    assert answer.status_code == 201
    assert not {"logo_uri", "token_endpoint_auth_signing_alg"} & answer.json().keys(), "nor answered"
    bare = await server.http.post("/register", json={"redirect_uris": [REDIRECT]})
    assert bare.json()["grant_types"] == ["authorization_code"]
    assert bare.json()["token_endpoint_auth_method"] == "client_secret_basic", "RFC 7591 section 2"


async def test_it_is_off_unless_switched_on(tmp_path: Path) -> None:
    async with open_server(tmp_path) as closed:
        assert (
            "registration_endpoint" not in (await closed.http.get("/.well-known/openid-configuration")).json()
        )
        assert (await register(closed)).status_code == 404


async def test_it_can_be_left_to_holders_of_an_initial_access_token(tmp_path: Path) -> None:
    async with open_server(tmp_path, registration="token") as gated:
        initial = await gated.token(scope="watchword:register")
        assert (await register(gated, initial.secret)).status_code == 201
        refused = await register(gated)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="api"')
        assert refused.json()["error_description"].isascii(), "RFC 7591 §3.2.2"
        other = await gated.token(scope="orders:read")
        assert (await register(gated, other.secret)).status_code == 403
        near = initial.secret[:-1] + ("x" if initial.secret[-1] != "x" else "y")
        assert (await register(gated, near)).status_code == 401


@in_turn(
    ("changes", "error"),
    [
        pytest.param({"redirect_uris": None}, "invalid_client_metadata", id="no redirect URI"),
        pytest.param({"redirect_uris": ["http://app.example.com/cb"]}, "invalid_redirect_uri", id="no TLS"),
        pytest.param({"redirect_uris": ["https://*.example/cb"]}, "invalid_redirect_uri", id="a wildcard"),
        pytest.param({"redirect_uris": ["javascript:alert(1)"]}, "invalid_redirect_uri", id="DC-02 a script"),
        pytest.param({"redirect_uris": [REDIRECT + "#x"]}, "invalid_redirect_uri", id="a fragment"),
        pytest.param(
            {"grant_types": ["client_credentials"]}, "invalid_client_metadata", id="DC-06 own power"
        ),
        pytest.param({"grant_types": ["password"]}, "invalid_client_metadata", id="DC-06 the password grant"),
        pytest.param({"grant_types": ["implicit"]}, "invalid_client_metadata", id="the implicit grant"),
        pytest.param({"response_types": ["token"]}, "invalid_client_metadata", id="the implicit response"),
        pytest.param({"scope": "watchword:admin"}, "invalid_client_metadata", id="DC-06 an admin scope"),
        pytest.param({"scope": "introspect"}, "invalid_client_metadata", id="DC-06 introspection"),
        pytest.param({"scope": 'a"b'}, "invalid_client_metadata", id="a malformed scope"),
        pytest.param(
            {"token_endpoint_auth_method": "zero_proof"}, "invalid_client_metadata", id="a method for others"
        ),
        pytest.param(
            {"token_endpoint_auth_method": "client_secret_jwt"}, "invalid_client_metadata", id="CL-05"
        ),
        pytest.param(
            {"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata", id="no keys"
        ),
        pytest.param(
            {"jwks": {"keys": []}, "jwks_uri": "https://app.example.com/jwks"},
            "invalid_client_metadata",
            id="keys in two ways",
        ),
        pytest.param(
            {"jwks_uri": "http://10.0.0.1/"}, "invalid_client_metadata", id="DC-03 a private jwks_uri"
        ),
        pytest.param({"subject_type": "anonymous"}, "invalid_client_metadata", id="unknown subject types"),
        pytest.param(
            {
                "subject_type": "pairwise",
                "redirect_uris": ["https://a.example.com/cb", "https://b.example.com/cb"],
            },
            "invalid_client_metadata",
            id="pairwise subjects over several hosts without a sector",
        ),
        pytest.param(
            {"subject_type": "pairwise", "sector_identifier_uri": "https://127.0.0.1/sector"},
            "invalid_client_metadata",
            id="SS-01 a private sector_identifier_uri",
        ),
        pytest.param(
            {"id_token_encrypted_response_alg": "RSA1_5", "jwks_uri": "https://a.example.com/keys"},
            "invalid_client_metadata",
            id="outdated encryption",
        ),
        pytest.param(
            {"userinfo_encrypted_response_enc": "A128GCM"},
            "invalid_client_metadata",
            id="content encryption without an algorithm",
        ),
        pytest.param(
            {"userinfo_encrypted_response_alg": "ECDH-ES"},
            "invalid_client_metadata",
            id="encryption without a key",
        ),
        pytest.param(
            {"id_token_signed_response_alg": "none"}, "invalid_client_metadata", id="unsigned ID tokens"
        ),
        pytest.param(
            {"tls_client_auth_subject_dn": "CN=a", "tls_client_auth_san_dns": "a"},
            "invalid_client_metadata",
            id="two subjects of one certificate",
        ),
        pytest.param(
            {"software_statement": "a.b.c"}, "invalid_software_statement", id="a software statement"
        ),
        pytest.param({"client_name": "Bank\u202e"}, "invalid_client_metadata", id="an invisible character"),
        pytest.param({"client_name": "\u3164"}, "invalid_client_metadata", id="a letter that shows nothing"),
        pytest.param({"client_name": "Ba\u2060nk"}, "invalid_client_metadata", id="a hidden joiner"),
        pytest.param({"client_name": "a\x00"}, "invalid_client_metadata", id="NUL"),
        pytest.param({"client_name": 7}, "invalid_client_metadata", id="DC-04 a name that is a number"),
        pytest.param({"redirect_uris": {}}, "invalid_client_metadata", id="DC-04 a list that is none"),
        pytest.param({"redirect_uris": [None]}, "invalid_client_metadata", id="DC-04 null in a list"),
        pytest.param({"jwks": []}, "invalid_client_metadata", id="DC-04 keys that are none"),
        pytest.param(
            {"jwks": {"keys": [{"kty": ["EC"]}]}},
            "invalid_client_metadata",
            id="DC-04 a key of a list of types",
        ),
        pytest.param(
            {"jwks": {"keys": [{"kty": "EC", "crv": {}}]}},
            "invalid_client_metadata",
            id="DC-04 a key on no curve",
        ),
        pytest.param({"redirect_uris": [""]}, "invalid_redirect_uri", id="DC-01 an empty address"),
        pytest.param({"redirect_uris": [REDIRECT + "a" * 2000]}, "invalid_redirect_uri", id="DC-01 too long"),
        pytest.param({"contacts": "ada"}, "invalid_client_metadata", id="DC-04 contacts that are no list"),
        pytest.param({"default_max_age": "x"}, "invalid_client_metadata", id="DC-04 an age that is text"),
        pytest.param({"default_max_age": 10**12}, "invalid_client_metadata", id="DC-04 an age beyond all"),
        pytest.param(
            {"default_acr_values": ["a b"]}, "invalid_client_metadata", id="DC-04 two levels in one"
        ),
        pytest.param({"require_auth_time": 1}, "invalid_client_metadata", id="DC-04 a number for a truth"),
        pytest.param({"logo_uri": "javascript:a()"}, "invalid_client_metadata", id="DC-02 a script as logo"),
        pytest.param({"tos_uri": "javascript:a()"}, "invalid_client_metadata", id="DC-02 a script as terms"),
        pytest.param({"redirect_uris": [REDIRECT] * 60}, "invalid_client_metadata", id="too many addresses"),
    ],
)
async def test_a_client_that_breaks_a_rule_is_not_registered(
    server: Server, changes: dict[str, Any], error: str
) -> None:
    assert (await register(server)).status_code == 201
    refused = await register(server, **changes)
    assert (refused.status_code, refused.json()["error"]) == (400, error)


async def test_a_refusal_names_the_member_that_is_wrong(server: Server) -> None:
    refused = (await register(server, grant_types="authorization_code")).json()
    assert refused["field"] == "grant_types"
    assert refused["error_description"] == "grant_types: Expected array, got str"


@in_turn(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"[" * 100_000,
        b'{"a":1,"a":2}',
        b'{"a":NaN}',
        b'{"client_name":"\\ud800"}',
        b"\xff",
        b"{",
    ],
    ids=[
        "empty",
        "a list",
        "a number",
        "deep",
        "twice the same",
        "NaN",
        "a lone surrogate",
        "no UTF-8",
        "cut",
    ],
)
async def test_dc_04_a_malformed_body_is_refused(server: Server, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    refused = await server.http.post("/register", content=body, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


async def test_dc_04_what_is_no_json_is_refused_in_the_words_of_registration(server: Server) -> None:
    assert (await register(server)).status_code == 201
    refused = await server.http.post("/register", data={"redirect_uris": REDIRECT})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    hidden = await server.http.post("/register", json={"redirect_uris": [REDIRECT + "\0"]})
    assert hidden.json()["error_description"].endswith(": a NUL character."), (
        "what is wrong, without what was sent"
    )


async def test_dc_06_what_a_client_wishes_beyond_policy_is_left_out(server: Server) -> None:
    answer = await register(
        server,
        client_id="admin",
        client_secret="mine",
        registration_access_token="mine",
        trusted=True,
        origin="registered",
        owner="admin",
        require_pkce=False,
        resources=["https://other.example"],
        security_profile="none",
        grant_types=["authorization_code", "client_credentials", "password", "implicit"],
        scope="openid orders:write watchword:admin introspect",
    )
    registered = answer.json()
    assert answer.status_code == 201
    assert registered["client_id"] != "admin"
    assert "client_secret" not in registered
    assert registered["registration_access_token"] != "mine"
    assert registered["grant_types"] == ["authorization_code"]
    assert registered["scope"] == "openid"
    without = await begin(server, registered["client_id"], code_challenge="", code_challenge_method="")
    assert "code=" not in without.headers.get("location", "")
    assert answer_of(without)["error"] == "invalid_request", "PKCE is required of it"


async def test_dc_07_a_newcomer_is_shown_as_one_and_asked_about_every_time(server: Server) -> None:
    registered = (await register(server)).json()
    await sign_in_and_agree(server, registered["client_id"])
    look_alike = (await register(server)).json()
    silent = answer_of(await begin(server, look_alike["client_id"], prompt="none"))
    assert silent["error"] == "consent_required"
    again = await begin(server, look_alike["client_id"])
    assert "app.example.com" in again.text, "the host that gets the answer"


async def test_dc_02_markup_in_a_name_is_text(server: Server) -> None:
    registered = (await register(server, client_name="<script>alert(1)</script>")).json()
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    back = await sign_in(server, await begin(server, registered["client_id"]))
    page = await server.http.get(back.headers["location"])
    assert "<script>alert(1)" not in page.text
    assert "&lt;script&gt;" in page.text


async def test_secrets_are_kept_as_hashes(server: Server, stored: Stored) -> None:
    registered = (await register(server, token_endpoint_auth_method="client_secret_basic")).json()
    kept = stored()
    assert registered["client_id"].encode() in kept
    assert registered["registration_access_token"].encode() not in kept
    assert registered["client_secret"].encode() not in kept


async def test_registrations_are_throttled_and_recorded(tmp_path: Path) -> None:
    async with open_server(tmp_path, registration="open", registrations_per_hour=8) as opened:
        malformed = [await register(opened, client_name=7) for _ in range(9)]
        assert {answer.status_code for answer in malformed} == {400}, (
            "what is refused for its form is not counted"
        )
        answers = [await register(opened) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        assert int(answers[2].headers["retry-after"]) > 0
        opened.clock.advance(1801)
        assert (await register(opened)).status_code == 201
        admin = await opened.token(scope="watchword:admin")
        headers = {"authorization": f"Bearer {admin.secret}"}
        events = (await opened.http.get("/api/v1/events?name=client.created", headers=headers)).json()
        assert len(events["events"]) == 3


async def test_of_twenty_at_once_no_more_than_allowed_get_through(tmp_path: Path) -> None:
    async with open_server(tmp_path, registration="open", registrations_per_hour=20) as opened:
        answers = await together(*(register(opened) for _ in range(20)))
        assert sorted(answer.status_code for answer in answers) == [201] * 5 + [429] * 15


async def test_unused_clients_go_and_one_with_a_live_grant_stays(server: Server) -> None:
    offline = "openid offline_access"
    used, unused, disabled = [(await register(server, scope=offline)).json() for _ in range(3)]
    by_hand = await server.client()
    await sign_in_and_agree(server, used["client_id"], offline)
    await server.runtime.usage.flush(server.runtime.database)
    client = await client_registry.find(server.runtime, disabled["client_id"])
    assert client is not None
    given = client_metadata.to_input(client)
    await client_registry.change(
        server.runtime, client.client_id, given, expected_version=None, disabled=True, actor="test"
    )
    server.clock.advance(29 * DAY)
    await jobs.housekeeping(server.runtime)
    assert await known(server, unused), "not yet"
    server.clock.advance(2 * DAY)
    await jobs.housekeeping(server.runtime)
    assert not await known(server, unused)
    assert await known(server, used), "its grant is alive"
    for client_id in (disabled["client_id"], by_hand.client.client_id):
        assert await client_registry.find(server.runtime, client_id) is not None
    server.clock.advance(200 * DAY)
    await jobs.housekeeping(server.runtime)
    await jobs.housekeeping(server.runtime)
    assert not await known(server, used), "its grant is over"


async def known(server: Server, registered: dict[str, Any]) -> bool:
    """Whether a client still knows itself."""
    return (await server.http.get(path_of(registered), headers=bearer(registered))).status_code == 200


@in_turn(
    "address",
    [
        "https://127.0.0.1/jwks",
        "https://localhost/jwks",
        "https://10.0.0.1/jwks",
        "https://169.254.169.254/jwks",
        "https://[::ffff:10.0.0.1]/jwks",
        "https://2130706433/jwks",
    ],
)
async def test_dc_03_a_jwks_uri_in_a_private_network_is_never_fetched(server: Server, address: str) -> None:
    key = jwk.generate("ES256")
    wanted: dict[str, Any] = {"token_endpoint_auth_method": "private_key_jwt"}
    honest = (await register(server, **wanted, jwks={"keys": [jwk.public_document(key)]})).json()
    hostile = (await register(server, **wanted, jwks_uri=address)).json()
    for registered, status in ((honest, 200), (hostile, 401)):
        client_id, now = registered["client_id"], int(server.clock())
        claims = {"iss": client_id, "sub": client_id, "aud": server.settings.issuer, "jti": client_id}
        form = {
            "token": "x",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(key, claims | {"iat": now, "exp": now + 60}, typ="JWT"),
        }
        assert (await server.http.post("/revoke", data=form)).status_code == status
