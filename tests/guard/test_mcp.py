"""MCP servers behind the guard, asked by the MCP SDK's own client over loopback: discovery, tokens, scopes, refusals."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from fastmcp import FastMCP
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from tests.fixtures.live import Browser, Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.mcp_memory import Memory
from tests.fixtures.servers import free_port
from tests.guard.mcp_calls import CALL, call, connected, credentials_of, machine, token_for
from tests.guard.mcp_servers import by_fastmcp, by_sdk_hooks, by_wrapping

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.guard import Guard
from watchword.guard.asgi import Scope, Send
from watchword.guard.fastmcp import WatchwordAuth
from watchword.guard.mcp import McpGuard, metadata, metadata_address
from watchword.http_server.exchange import Application

ROOT = Path(__file__).resolve().parents[2]
CALLBACK = "http://localhost:7777/callback"
Make = Callable[[str, str], Application]


@pytest.fixture(params=[by_wrapping, by_sdk_hooks, by_fastmcp], ids=["wrapped", "SDK hooks", "FastMCP"])
def mcp_server(request: pytest.FixtureRequest, live: Live) -> Iterator[str]:
    """The address of an MCP server of each kind, guarded by the live server."""
    port = free_port()
    resource = f"http://localhost:{port}/mcp"
    make = cast(Make, request.param)
    with LoopbackServer(make(live.issuer, resource), port=port):
        yield resource


async def test_a_client_finds_its_way_from_the_challenge_to_a_tool_call(live: Live, mcp_server: str) -> None:
    client = machine(live, mcp_server)
    async with connected(mcp_server, credentials_of(live, mcp_server, client)) as session:
        result = await session.call_tool("forecast", {"city": "Paris"})
    assert result.content[0].text == f"Sunny in Paris, {client.client.client_id}."  # type: ignore[union-attr]  # a text


async def test_a_person_signs_in_and_calls_a_tool(live: Live, mcp_server: str) -> None:
    ada = live.user("ada")
    registered = live.client(
        redirect_uris=[CALLBACK],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
        scope="weather:read offline_access",  # the SDK asks for the latter wherever a server has it
        resources=[mcp_server],
    )
    known = OAuthClientInformationFull(
        client_id=registered.client.client_id,
        redirect_uris=[CALLBACK],  # type: ignore[list-item]  # the model parses it
        token_endpoint_auth_method="none",
        issuer=live.issuer,
    )
    ended: list[str] = []

    async def redirect(address: str) -> None:
        assert parse_qs(urlsplit(address).query)["resource"] == [mcp_server]
        ended.append(Browser(live.issuer).visit(address))

    async def callback() -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in parse_qs(urlsplit(ended[0]).query).items()}
        assert "code" in answer, answer
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    wanted = OAuthClientMetadata(redirect_uris=[CALLBACK], token_endpoint_auth_method="none")  # type: ignore[list-item]  # the model parses it
    provider = OAuthClientProvider(mcp_server, wanted, Memory(known), redirect, callback)
    async with connected(mcp_server, provider) as session:
        result = await session.call_tool("forecast", {"city": "Oslo"})
    assert result.content[0].text == f"Sunny in Oslo, {ada.id}."  # type: ignore[union-attr]  # a text


def test_without_a_token_the_challenge_leads_to_the_issuer(live: Live, mcp_server: str) -> None:
    refused = call(mcp_server)
    assert refused.status_code == 401
    challenge = refused.headers["www-authenticate"]
    address = metadata_address(mcp_server)
    assert f'resource_metadata="{address}"' in challenge
    assert address.endswith("/.well-known/oauth-protected-resource/mcp"), "RFC 9728 §3.1"
    document = httpx.get(address).json()
    assert document["resource"] == mcp_server, "RFC 9728 §3.3: letter by letter"
    assert document["authorization_servers"] == [live.issuer], "MC-52: only us, letter by letter"
    assert document["scopes_supported"] == ["weather:read"]


def test_tokens_that_are_not_for_this_server_are_refused(live: Live, mcp_server: str) -> None:
    client = live.client(scope="weather:read other", resources=[mcp_server, "https://other.example.com"])
    good = token_for(live, client, mcp_server)
    assert call(mcp_server, good).status_code not in (401, 403)
    elsewhere = token_for(live, client, "https://other.example.com")
    assert call(mcp_server, elsewhere).status_code == 401, "MC-51: a token is good for its audience only"
    assert call(mcp_server, good[:-4] + "AAAA").status_code == 401
    assert call(mcp_server, **{"mcp-session-id": "1"}).status_code == 401, "MC-53: a session is no credential"
    assert httpx.post(f"{mcp_server}?access_token={good}", json=CALL).status_code == 401
    narrow = call(mcp_server, token_for(live, client, mcp_server, "other"))
    assert narrow.status_code == 403
    assert 'error="insufficient_scope"' in narrow.headers["www-authenticate"]
    assert "resource_metadata=" in narrow.headers["www-authenticate"]


def test_a_wrapped_server_names_all_scopes_whatever_was_wrong(live: Live) -> None:
    resource = "http://localhost:9/mcp"

    async def inner(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("nobody gets this far")

    app = McpGuard(inner, live.issuer, resource=resource, scopes=("a", "b"))  # type: ignore[arg-type]  # never called
    with LoopbackServer(app) as server:  # type: ignore[arg-type]  # plain ASGI
        address = f"http://localhost:{server.port}/mcp"
        for token in (None, "garbage"):
            assert 'scope="a b"' in call(address, token).headers["www-authenticate"]
        preflight = httpx.options(f"http://localhost:{server.port}/.well-known/oauth-protected-resource/mcp")
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
        assert "content-length" not in preflight.headers, "RFC 9110 section 8.6"
        there = httpx.get(f"http://localhost:{server.port}/.well-known/oauth-protected-resource/mcp")
        assert there.headers["access-control-allow-origin"] == "*", "else no script could read it"
        head = httpx.head(f"http://localhost:{server.port}/.well-known/oauth-protected-resource/mcp")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == there.headers["content-length"], "RFC 9110 section 8.6"
        wrong = httpx.post(f"http://localhost:{server.port}/.well-known/oauth-protected-resource/mcp")
        assert wrong.status_code == 405


def test_an_issuer_out_of_reach_never_looks_like_a_bad_token() -> None:
    resource = f"http://localhost:{free_port()}/mcp"
    token = "e30.e30.e30"
    for make in (by_wrapping, by_sdk_hooks, by_fastmcp):
        with LoopbackServer(
            cast(Make, make)(f"http://localhost:{free_port()}", resource), port=urlsplit(resource).port or 0
        ):
            opaque = call(resource, "x" * 40)
            assert opaque.status_code >= 500, make
            assert call(resource, token).status_code in (401, 500, 503)


def test_a_token_that_is_used_too_often_never_looks_like_a_bad_one(live: Live, mcp_server: str) -> None:
    given = TokenInput(name="a script", scope="weather:read", resource=mcp_server, rate_limit=2)
    owner = ("user", live.user("ada").id)
    made = live.run(api_tokens.create(live.runtime, given, owner=owner, actor="test"))
    answers = [call(mcp_server, made.secret).status_code for _ in range(4)]
    assert not {401, 403, 429, 500, 503}.intersection(answers[:2])
    assert {429, 500, 503}.issuperset(answers[2:]), "a client throws a token away when it reads 401"


@pytest.mark.parametrize(
    ("resource", "address"),
    [
        ("https://api.example.com/mcp", "https://api.example.com/.well-known/oauth-protected-resource/mcp"),
        ("https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"),
        ("https://api.example.com/", "https://api.example.com/.well-known/oauth-protected-resource"),
        ("https://a.example:8443/x/mcp", "https://a.example:8443/.well-known/oauth-protected-resource/x/mcp"),
    ],
)
def test_the_metadata_is_where_rfc_9728_puts_it(resource: str, address: str) -> None:
    assert metadata_address(resource) == address


def test_the_metadata_leaves_out_what_has_no_value() -> None:
    assert set(json.loads(metadata("https://a.example/mcp", ("https://b.example",)))) == {
        "resource",
        "authorization_servers",
        "bearer_methods_supported",
    }


@pytest.mark.parametrize(
    "resource",
    [
        "https://a.example/mcp/",
        "https://a.example/mcp#x",
        "https://a.example/mcp?x=1",
        "http://a.example/mcp",
        "a/mcp",
        "https://A.example/mcp",
        "https://a.example:443/mcp",
        "HTTPS://a.example/mcp",
    ],
)
def test_a_resource_that_clients_could_not_name_is_refused_at_start(resource: str) -> None:
    async def inner(_scope: object, _receive: object, _send: object) -> None: ...

    with pytest.raises(ValueError, match=r"resource|https"):
        McpGuard(inner, "https://auth.example.com", resource=resource)  # type: ignore[arg-type]  # never called


def test_a_guard_for_another_audience_is_refused_at_start() -> None:
    async def inner(_scope: object, _receive: object, _send: object) -> None: ...

    with pytest.raises(ValueError, match="audience"):
        McpGuard(inner, Guard("https://auth.example.com"), resource="https://a.example/mcp")  # type: ignore[arg-type]  # never called


def test_two_servers_of_fastmcp_do_not_share_what_accepts_the_tokens_of_one() -> None:
    auth = WatchwordAuth("https://auth.example.com", base_url="https://api.example.com")
    for _ in range(2):
        assert FastMCP("weather", auth=auth).http_app(path="/weather")
    with pytest.raises(
        ValueError, match=r"is for 'https://api\.example\.com/weather': make another one for .*/traffic"
    ):
        FastMCP("traffic", auth=auth).http_app(path="/traffic")


@pytest.mark.parametrize("host", ["localhost", "api.example.com"])
@pytest.mark.parametrize("name", ["mcp_server", "fastmcp_server"])
def test_the_examples_answer_a_call_with_a_token(
    live: Live, name: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    port = free_port()
    here = f"http://localhost:{port}"
    origin = here if host == "localhost" else f"https://{host}"  # as behind a proxy that ends TLS
    for variable, value in {
        "WATCHWORD_URL": live.issuer,
        "MCP_URL": f"{origin}/mcp",
        "MCP_BASE_URL": origin,
    }.items():
        monkeypatch.setenv(variable, value)
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    token = token_for(live, machine(live, f"{origin}/mcp"), f"{origin}/mcp")
    with LoopbackServer(example.app, port=port):
        assert call(f"{here}/mcp", host=urlsplit(origin).netloc).status_code == 401
        answered = call(f"{here}/mcp", token, host=urlsplit(origin).netloc)
        assert answered.status_code not in (401, 403, 421, 500), answered.text


PREFLIGHT = {"origin": "https://a.example", "access-control-request-method": "POST"}


@pytest.mark.parametrize("headers", [{}, {"origin": "https://a.example"}, PREFLIGHT])
def test_without_a_token_no_method_reaches_the_server(live: Live, headers: dict[str, str]) -> None:
    reached: list[str] = []

    async def inner(scope: Scope, _receive: object, send: Send) -> None:
        reached.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    port = free_port()
    resource = f"http://localhost:{port}/mcp"
    token = token_for(live, machine(live, resource), resource)
    with LoopbackServer(McpGuard(inner, live.issuer, resource=resource), port=port):  # type: ignore[arg-type]  # plain ASGI
        assert (
            httpx.options(resource, headers={"authorization": f"Bearer {token}", **headers}).status_code
            == 200
        )
        assert reached == ["OPTIONS"]
        assert httpx.options(resource, headers=headers).status_code == 401
        assert reached == ["OPTIONS"]


def test_the_plain_guard_needs_no_sdk() -> None:
    program = "import sys, watchword.guard.mcp; print([m for m in ('mcp', 'fastmcp', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
