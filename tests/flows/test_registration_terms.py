"""What a client may ask for when it registers itself depends on its grants and on the server; a refusal speaks RFC 7591."""

from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.code_flow import REDIRECT
from tests.fixtures.registering import HONEST, begin, register, server
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server

from watchword.jose import jwk

__all__ = ["server"]

MACHINE: dict[str, Any] = {
    "grant_types": ["client_credentials"],
    "redirect_uris": None,
    "token_endpoint_auth_method": "client_secret_post",
}
CERTIFICATES = {"client_certificate_header": "x-client-cert", "trusted_proxies": ["127.0.0.1"]}


@pytest.mark.parametrize("response_types", [[], ["code"], None])
async def test_a_client_without_the_code_grant_needs_no_response_type(
    tmp_path: Path, response_types: list[str] | None
) -> None:
    async with open_server(
        tmp_path, registration="open", self_registered_grants=["client_credentials"]
    ) as machines:
        answer = await register(machines, **MACHINE, response_types=response_types)
        assert answer.status_code == 201, answer.text
        registered = answer.json()
        assert "response_types" not in registered, "RFC 7591 §2.1: this grant has none"
        form = {name: registered[name] for name in ("client_id", "client_secret")}
        token = await machines.http.post("/token", data=form | {"grant_type": "client_credentials"})
        assert token.status_code == 200


@pytest.mark.parametrize("response_types", [[], ["token"], ["id_token"]])
async def test_the_code_grant_goes_with_its_response_type_alone(
    server: Server, response_types: list[str]
) -> None:
    assert (await register(server)).status_code == 201
    refused = await register(server, response_types=response_types)
    assert (refused.status_code, refused.json()["field"]) == (400, "response_types")


@pytest.mark.parametrize(
    "wish",
    [
        pytest.param(
            {"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "a.example"},
            id="to authenticate by a certificate of an authority",
        ),
        pytest.param(
            {"tls_client_certificate_bound_access_tokens": True}, id="to have its tokens bound to one"
        ),
    ],
)
async def test_nobody_registers_for_certificates_where_none_is_taken(
    server: Server, tmp_path: Path, wish: dict[str, Any]
) -> None:
    refused = await register(server, **wish)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    assert refused.json()["field"] in wish
    assert "tls_client_auth," not in refused.json()["error_description"], "what is not taken is not offered"
    (tmp_path / "other").mkdir()
    async with open_server(tmp_path / "other", registration="open", **CERTIFICATES) as proxied:
        assert (await register(proxied, **wish)).status_code == 201


@pytest.mark.parametrize(
    ("member", "value"),
    [("scope", 'openid "quoted"'), ("client_name", "Your bank\u202e"), ("client_name", " x")],
)
async def test_a_refusal_has_the_code_and_the_member_of_rfc_7591(
    server: Server, member: str, value: str
) -> None:
    assert member in HONEST
    refused = await register(server, **{member: value})
    told = refused.json()
    assert (refused.status_code, told["error"]) == (400, "invalid_client_metadata")
    assert told["field"] == member


@in_turn("member", ["redirect_uris", "post_logout_redirect_uris"])
@in_turn("character", ["\n", "\0", "\x7f"], ids=ascii)
async def test_dc_01_a_control_character_makes_an_invalid_redirect_uri(
    server: Server, member: str, character: str
) -> None:
    """RFC 7591 §3.2.2: a NUL as well, for which the whole document is refused (DC-04)."""
    assert (await register(server, **{member: [REDIRECT]})).status_code == 201
    refused = await register(server, **{member: [REDIRECT, REDIRECT + character]})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri")
    assert refused.json()["field"] == member
    elsewhere = await register(server, client_name="A" + character)
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (400, "invalid_client_metadata")


async def test_the_algorithm_of_assertions_is_registered_where_there_are_assertions(server: Server) -> None:
    keys = {"jwks": {"keys": [jwk.public_document(jwk.generate("ES256"))]}}
    for method, algorithm, told in (
        ("private_key_jwt", "ES256", "ES256"),
        ("private_key_jwt", "HS256", None),
        ("client_secret_basic", "HS256", None),
    ):
        said = {"token_endpoint_auth_method": method, "token_endpoint_auth_signing_alg": algorithm}
        answer = await register(server, **keys, **said)
        assert answer.json().get("token_endpoint_auth_signing_alg") == told
        refused = answer.json().get("error") == "invalid_client_metadata"
        assert refused is (method == "private_key_jwt" and told is None)


async def test_a_key_has_members_of_its_own_but_not_hundreds_of_lists(server: Server) -> None:
    """RFC 7517 §4: unknown members are ignored. Lists in lists take twenty times the memory of their text, for each client of a stranger."""
    key = jwk.public_document(jwk.generate("ES256"))
    known = await register(server, jwks={"keys": [key | {"ext": True, "revoked": {"at": 1}}]})
    assert known.status_code == 201
    refused = await register(server, jwks={"keys": [key | {"n": [[]] * 500}]})
    assert (refused.status_code, refused.json()["field"]) == (400, "jwks")


async def test_schemes_without_an_owner_are_registered_where_the_settings_name_them(
    server: Server, tmp_path: Path
) -> None:
    """RFC 8252 §7.1. Cursor registers these three at once, and says that it is a web application."""
    deep_link = "cursor://anysphere.cursor-mcp/oauth/callback"
    places = [deep_link, "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"]
    for application_type in (None, "native", "web"):
        answer = await register(server, redirect_uris=places, application_type=application_type)
        assert (answer.status_code, answer.json().get("redirect_uris")) == (201, places)
    asked = await begin(server, answer.json()["client_id"], redirect_uri=deep_link)
    page = await server.http.get(asked.headers["location"])
    assert " cursor:;" in page.headers["content-security-policy"], "the browser may be led there"
    for other in ("myapp://cb", "CURSOR://anysphere.cursor-mcp/oauth/callback", "cursorx://a/b", "cursor:x"):
        refused = await register(server, redirect_uris=[*places, other])
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_redirect_uri"), other
    (tmp_path / "own").mkdir()
    async with open_server(tmp_path / "own", registration="open", private_schemes=["myapp"]) as own:
        assert (await register(own, redirect_uris=["myapp://cb"])).status_code == 201
        assert (await register(own, redirect_uris=[deep_link])).status_code == 400
