"""`watchword doctor` at MCP servers: from the first refusal to the issuer, and what is wrong on the way by its name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from starlette.middleware.cors import CORSMiddleware
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port
from tests.guard.mcp_servers import by_fastmcp, by_sdk_hooks, by_wrapping

from watchword.client.doctor import Report, examine
from watchword.http_server.exchange import Application


def broken(report: Report) -> set[str]:
    """Return the names of what is broken."""
    return {finding.code for finding in report.findings if finding.level == "broken"}


def names(report: Report) -> set[str]:
    """Return the names of everything that is not right."""
    return {finding.code for finding in report.findings if finding.level != "ok"}


@pytest.fixture(params=[by_wrapping, by_sdk_hooks, by_fastmcp], ids=["wrapped", "SDK hooks", "FastMCP"])
def mcp_server(request: pytest.FixtureRequest, live: Live) -> Iterator[str]:
    """An MCP server of each kind."""
    port = free_port()
    resource = f"http://localhost:{port}/mcp"
    with LoopbackServer(cast(Any, request.param)(live.issuer, resource), port=port):
        yield resource


def test_a_sound_mcp_server_is_walked_to_its_issuer(live: Live, mcp_server: str) -> None:
    report = examine(mcp_server)
    assert report.kind == "MCP server"
    assert broken(report) == set(), report
    reached = {finding.code: finding.at for finding in report.findings if finding.level == "ok"}
    assert reached["resource"].endswith("/.well-known/oauth-protected-resource/mcp")
    assert reached["issuer"] == live.issuer


@dataclass(slots=True)
class Server:
    """An MCP server that answers as it is told."""

    status: int = 401
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    documents: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["path"].startswith("/.well-known/"):
            query = scope["query_string"].decode()
            found = self.documents.get(f"{scope['path']}?{query}" if query else scope["path"])
            status, headers, body = (200 if found is not None else 404), [], json.dumps(found).encode()
        else:
            status, headers, body = self.status, self.headers, b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


INSERTED = "/.well-known/oauth-protected-resource/mcp"


@pytest.mark.parametrize(
    ("server", "code"),
    [
        pytest.param(Server(200), "not-guarded", id="no guard"),
        pytest.param(Server(404), "not-mcp", id="nothing"),
        pytest.param(Server(307, [(b"location", b"/mcp/")]), "redirect-on-post", id="a redirect of the call"),
        pytest.param(Server(401), "challenge", id="no challenge"),
        pytest.param(Server(401, [(b"www-authenticate", b"Bearer")]), "resource-metadata", id="no hint"),
        pytest.param(Server(401, [(b"www-authenticate", b"Bearer")]), "scope", id="no scope"),
        pytest.param(
            Server(401, [(b"www-authenticate", b"Bearer")]), "no-resource-metadata", id="no metadata"
        ),
        pytest.param(
            Server(
                401,
                [(b"www-authenticate", b"Bearer")],
                {INSERTED: {"resource": "https://other.example.com/mcp", "authorization_servers": []}},
            ),
            "resource",
            id="metadata of another server (MC-52)",
        ),
        pytest.param(
            Server(401, [(b"www-authenticate", b"Bearer")], {INSERTED: {"resource": "x"}}),
            "content-type",
            id="metadata that do not say that they are JSON",
        ),
        pytest.param(
            Server(
                401, [(b"www-authenticate", b"Bearer")], {INSERTED: {"authorization_servers": ["http://["]}}
            ),
            "no-authorization-server",
            id="no authorization server",
        ),
        pytest.param(
            Server(
                401,
                [(b"www-authenticate", b"Bearer")],
                {INSERTED: {"authorization_servers": ["http://localhost:1"]}},
            ),
            "no-metadata",
            id="an authorization server that does not answer",
        ),
    ],
)
def test_it_finds_at_an_mcp_server(server: Server, code: str) -> None:
    with LoopbackServer(cast(Application, server)) as loopback:
        report = examine(f"http://localhost:{loopback.port}/mcp")
    assert report.kind == "MCP server"
    assert code in names(report)


def test_what_stands_in_the_place_of_a_resources_metadata_is_told() -> None:
    server = Server(401, [(b"www-authenticate", b"Bearer")], {INSERTED: []})
    with LoopbackServer(cast(Application, server)) as loopback:
        found = {one.at: one.message for one in examine(f"http://localhost:{loopback.port}/mcp").findings}
        at = f"http://localhost:{loopback.port}{INSERTED}"
    assert found[at] == "no metadata here: 200 without a JSON object"


def test_the_address_that_a_call_is_redirected_to_is_named_whole() -> None:
    with LoopbackServer(cast(Application, Server(307, [(b"location", b"/mcp/")]))) as loopback:
        url = f"http://localhost:{loopback.port}/mcp"
        (found,) = [found for found in examine(url).findings if found.code == "redirect-on-post"]
    assert f"in the client: {url}/;" in found.change


def test_a_challenge_for_tokens_may_be_one_of_several() -> None:
    for challenge in (
        b"Bearer",
        b'Basic realm="a, b", Bearer scope="c"',
        b'bearer error="x"',
        b"Negotiate,DPoP",
    ):
        with LoopbackServer(cast(Application, Server(401, [(b"www-authenticate", challenge)]))) as loopback:
            assert "challenge" not in names(examine(f"http://localhost:{loopback.port}/mcp")), challenge
    for challenge in (b"Basic", b'Basic realm="bearer"', b"Bearers"):
        with LoopbackServer(cast(Application, Server(401, [(b"www-authenticate", challenge)]))) as loopback:
            assert "challenge" in broken(examine(f"http://localhost:{loopback.port}/mcp")), challenge


def test_a_parent_of_the_address_is_a_warning() -> None:
    with LoopbackServer(
        cast(Application, server := Server(401, [(b"www-authenticate", b"Bearer")]))
    ) as loopback:
        url = f"http://localhost:{loopback.port}"
        server.documents[INSERTED] = {"resource": url, "authorization_servers": []}
        report = examine(f"{url}/mcp")
        assert ("warning", "resource") in {(found.level, found.code) for found in report.findings}


def test_a_server_asked_at_its_origin_alone_is_named_by_its_metadata() -> None:
    with LoopbackServer(
        cast(Application, server := Server(401, [(b"www-authenticate", b"Bearer")]))
    ) as loopback:
        url = f"http://localhost:{loopback.port}"
        server.documents["/.well-known/oauth-protected-resource"] = {"resource": f"{url}/mcp"}
        (found,) = (one for one in examine(url).findings if one.code == "resource")
        assert (found.level, found.change) == ("broken", f"in the client: {url}/mcp; or resource={url!r}")


def test_metadata_is_looked_for_before_path_and_query() -> None:
    with LoopbackServer(
        cast(Application, server := Server(401, [(b"www-authenticate", b"Bearer")]))
    ) as loopback:
        url = f"http://localhost:{loopback.port}/mcp?of=shop"
        server.documents[f"{INSERTED}?of=shop"] = {"resource": url, "authorization_servers": []}
        found = {(one.level, one.code) for one in examine(url).findings}
        assert ("ok", "resource") in found, found


def test_a_slash_too_much_after_a_resource_is_the_clients_to_take_away() -> None:
    with LoopbackServer(
        cast(Application, server := Server(401, [(b"www-authenticate", b"Bearer")]))
    ) as loopback:
        url = f"http://localhost:{loopback.port}/mcp"
        server.documents[f"{INSERTED}/"] = {"resource": url, "authorization_servers": []}
        (found,) = [one for one in examine(f"{url}/").findings if one.code == "resource"]
        assert found.change == f"in the client: {url}", "a guard takes no resource with a slash at its end"


@pytest.mark.parametrize(
    ("given", "level", "says"),
    [
        pytest.param(
            {"allow_headers": ["*"], "expose_headers": ["WWW-Authenticate"]}, "ok", "may call it", id="all that is needed"
        ),
        pytest.param(None, "warning", "preflight is refused (401)", id="no middleware, or one inside of the guard"),
        pytest.param({"allow_headers": ["mcp-protocol-version"]}, "warning", "refused (400)", id="no Authorization"),
        pytest.param({"allow_headers": ["*"]}, "warning", "cannot read the challenge", id="no header exposed"),
    ],
)  # fmt: skip
def test_it_asks_an_mcp_server_as_a_client_in_a_browser_does(
    given: dict[str, Any] | None, level: str, says: str
) -> None:
    app: Any = Server(401, [(b"www-authenticate", b"Bearer")])
    if given is not None:
        app = CORSMiddleware(app, allow_origins=["*"], allow_methods=["POST"], **given)
    with LoopbackServer(cast(Application, app)) as loopback:
        url = f"http://localhost:{loopback.port}/mcp"
        (found,) = [one for one in examine(url).findings if one.code == "cors"]
    assert (found.level, found.at, says in found.message) == (level, url, True)


def test_a_wildcard_allows_no_authorization_header_to_scripts() -> None:
    headers = [(b"www-authenticate", b"Bearer"), (b"access-control-allow-origin", b"*")]
    server = Server(200, [*headers, (b"access-control-allow-headers", b"*")])

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answering = server if scope.get("method") == "OPTIONS" else Server(401, headers)
        await answering(scope, receive, send)

    with LoopbackServer(cast(Application, app)) as loopback:
        (found,) = [
            one for one in examine(f"http://localhost:{loopback.port}/mcp").findings if one.code == "cors"
        ]
    assert found.message.startswith("a browser's preflight does not allow the header Authorization")
