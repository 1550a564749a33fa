"""`watchword doctor` at somebody else's server: which methods it takes, and what clients may read of its answers and make of them."""

import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate

import httpx
import pytest

from watchword.client.doctor import Finding, examine
from watchword.client.doctor.web import INSIDE, Web
from watchword.jose import jwk

ISSUER, API = "https://auth.example.com", "https://api.example.com/mcp"
INSERTED = "https://api.example.com/.well-known/oauth-protected-resource/mcp"
OPEN = {"access-control-allow-origin": "*", "access-control-expose-headers": "WWW-Authenticate"}
PREFLIGHT = OPEN | {"access-control-allow-headers": "authorization, content-type, mcp-protocol-version"}
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "registration_endpoint": f"{ISSUER}/register",
    "jwks_uri": f"{ISSUER}/keys",
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["none"],
    "authorization_response_iss_parameter_supported": True,
}
Answers = Mapping[tuple[str, str], httpx.Response]


def sound() -> dict[tuple[str, str], httpx.Response]:
    """Return what a server without a fault answers, and an MCP server that leads to it."""

    def refused(status: int = 400, **challenge: str) -> httpx.Response:
        return httpx.Response(status, json={"error": "invalid_request"}, headers=OPEN | challenge)

    keys = {"keys": [jwk.public_document(jwk.generate("ES256"))]}
    resource = {"resource": API, "authorization_servers": [ISSUER]}
    named = {"www-authenticate": f'Bearer resource_metadata="{INSERTED}", scope="read"'}
    return {
        ("GET", f"{ISSUER}/.well-known/oauth-authorization-server"): httpx.Response(200, json=METADATA, headers=OPEN),
        ("GET", f"{ISSUER}/.well-known/openid-configuration"): httpx.Response(200, json=METADATA, headers=OPEN),
        ("GET", f"{ISSUER}/authorize"): httpx.Response(400),
        ("POST", f"{ISSUER}/token"): refused(),
        ("OPTIONS", f"{ISSUER}/token"): httpx.Response(204, headers=PREFLIGHT),
        ("GET", f"{ISSUER}/userinfo"): refused(401),
        ("POST", f"{ISSUER}/register"): refused(),
        ("OPTIONS", f"{ISSUER}/register"): httpx.Response(204, headers=PREFLIGHT),
        ("GET", f"{ISSUER}/keys"): httpx.Response(200, json=keys),
        ("POST", API): refused(401, **named),
        ("OPTIONS", API): httpx.Response(200, headers=PREFLIGHT),
        ("GET", INSERTED): httpx.Response(200, json=resource, headers=OPEN),
    }  # fmt: skip


def faults(
    url: str, changed: Answers, hosts: Mapping[str, str] | None = None, asked: list[str] | None = None
) -> list[Finding]:
    """Return what the doctor finds wrong where some answers differ; other `hosts` than those outside are at these addresses."""
    answers = sound() | dict(changed)

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request.url.host)
        return answers.get((request.method, str(request.url)), httpx.Response(404))

    http = httpx.Client(transport=httpx.MockTransport(answer))
    web = Web(http, resolve=lambda host: [(hosts or {}).get(host, "9.9.9.9")])
    return [one for one in examine(url, web).findings if one.level != "ok"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/token"), ("POST", "/register"), ("GET", "/authorize"), ("GET", "/userinfo")],
)
def test_an_endpoint_that_does_not_take_the_method_of_clients_is_broken(method: str, path: str) -> None:
    """RFC 6749 §3.1 and §3.2, RFC 7591 §3, OpenID Connect Core §5.3: what a proxy lets through by other methods only."""
    assert faults(ISSUER, {}) == []
    (found,) = faults(ISSUER, {(method, ISSUER + path): httpx.Response(405, headers=OPEN)})
    assert (found.level, found.code, found.at) == ("broken", "endpoint", ISSUER + path)
    assert found.change.startswith(f"let {method} through to {path}")


@pytest.mark.parametrize("method", ["OPTIONS", "POST"])
@pytest.mark.parametrize("path", ["/token", "/register"])
def test_an_answer_that_scripts_cannot_read_is_found(method: str, path: str) -> None:
    (found,) = faults(ISSUER, {(method, ISSUER + path): httpx.Response(400, json={"error": "x"})})
    assert (found.level, found.code, found.at) == ("warning", "cors", ISSUER + path)


@pytest.mark.parametrize(
    ("member", "given", "is_sound"),
    [
        ("grant_types_supported", ["client_credentials"], False),
        ("grant_types_supported", ["client_credentials", "authorization_code"], True),
        ("response_types_supported", ["token"], False),
    ],
)
def test_a_server_that_announces_no_code_flow_is_broken(
    member: str, given: list[str], is_sound: bool
) -> None:
    found = faults(ISSUER, announcing(**{member: given}))
    assert [one.code for one in found] == ([] if is_sound else ["code-flow"])


def announcing(**members: object) -> Answers:
    """Return the answers of a server whose metadata has other members."""
    changed = httpx.Response(200, json=METADATA | members, headers=OPEN)
    addresses = ("oauth-authorization-server", "openid-configuration")
    return {("GET", f"{ISSUER}/.well-known/{name}"): changed for name in addresses}


@pytest.mark.parametrize(
    "named", [f"{ISSUER}/nowhere", "/.well-known/oauth-protected-resource/mcp", "https://{x"]
)
def test_a_challenge_that_leads_nowhere_is_broken_though_the_metadata_is_where_others_guess(
    named: str,
) -> None:
    """RFC 9728 §5.1: some clients look nowhere else."""
    assert faults(API, {}) == []
    challenge = {"www-authenticate": f'Bearer resource_metadata="{named}", scope="read"'}
    (found,) = faults(API, {("POST", API): httpx.Response(401, headers=OPEN | challenge)})
    assert (found.level, found.code, found.at) == ("broken", "resource-metadata", named)
    assert f'resource_metadata="{INSERTED}"' in found.change


def test_a_challenge_that_leads_to_plain_http_is_of_a_server_that_does_not_know_its_scheme() -> None:
    plain = INSERTED.replace("https://", "http://")
    challenge = {"www-authenticate": f'Bearer resource_metadata="{plain}", scope="read"'}
    answers = {
        ("POST", API): httpx.Response(401, headers=OPEN | challenge),
        ("GET", plain): sound()["GET", INSERTED],
    }
    (found,) = faults(API, answers)
    assert (found.level, found.code, found.at) == ("broken", "proxy-scheme", plain)
    assert "X-Forwarded-Proto" in found.change


def test_a_slash_too_much_among_the_servers_of_a_resource_is_to_be_changed_there() -> None:
    """Clients take the issuer from the metadata of the resource, and have no line of their own to change."""
    document = {"resource": API, "authorization_servers": [f"{ISSUER}/"]}
    (found,) = faults(API, {("GET", INSERTED): httpx.Response(200, json=document, headers=OPEN)})
    assert (found.level, found.code) == ("broken", "issuer-slash")
    assert found.change == f"at {INSERTED}, among \"authorization_servers\": '{ISSUER}'"


def test_metadata_out_of_a_cache_tell_the_time_by_their_age() -> None:
    """RFC 9111 §5.1: of a copy, Date alone is when it was made."""
    asked = ("GET", f"{ISSUER}/.well-known/oauth-authorization-server")

    def cached(**age: str) -> list[Finding]:
        headers = OPEN | {"date": formatdate(time.time() - 600, usegmt=True)} | age
        return faults(ISSUER, {asked: httpx.Response(200, json=METADATA, headers=headers)})

    assert cached(age="600") == []
    assert [one.code for one in cached()] == ["clock"]


def test_an_mcp_server_is_one_where_its_host_answers_every_path_with_the_metadata_of_an_issuer() -> None:
    """As where one rule of a proxy leads `/.well-known/oauth-authorization-server/*` to the authorization server."""
    anywhere = ("GET", "https://api.example.com/.well-known/oauth-authorization-server/mcp")
    document = httpx.Response(200, json=METADATA, headers=OPEN)
    assert faults(API, {anywhere: document}) == []
    (found,) = faults(API, {anywhere: document, ("POST", API): httpx.Response(200)})
    assert found.code == "not-guarded"
    alone = faults(API, {anywhere: document, ("GET", INSERTED): httpx.Response(404)})
    assert "issuer" in [one.code for one in alone], "of no resource: an issuer by another name"


INTERNAL = {
    "cloud.example.com": "169.254.169.254",
    "10.0.0.5": "10.0.0.5",
    "::1": "::1",
    "::ffff:192.168.0.1": "::ffff:192.168.0.1",
    "localhost": "127.0.0.1",
    "127.1": "127.0.0.1",
}


@pytest.mark.parametrize("host", INTERNAL)
@pytest.mark.parametrize("member", ["token_endpoint", "jwks_uri", "registration_endpoint"])
def test_nothing_inside_is_asked_because_a_server_outside_names_it(host: str, member: str) -> None:
    inside = f"https://[{host}]:8443/x" if ":" in host else f"https://{host}:8443/x"
    changed = announcing(**{member: inside})
    asked: list[str] = []
    found = {(one.level, one.at) for one in faults(ISSUER, changed, INTERNAL, asked)}
    assert ("broken", inside) in found
    assert set(asked) == {"auth.example.com"}
    faults(ISSUER, changed, INTERNAL | {"auth.example.com": "192.168.0.7"}, asked)
    assert len(set(asked)) == 2, "the network is that of who asks"


def test_a_name_is_inside_where_it_is_connected_and_not_where_it_was_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DNS rebinding: whoever owns a name may answer the second question for it otherwise than the first."""
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as thread:
        listening.settimeout(10)
        port = listening.getsockname()[1]

        def ask(web: Web, host: str) -> tuple[bytes, str]:
            asked = thread.submit(web.get, f"http://{host}:{port}/x")
            with listening.accept()[0] as connection:
                began = connection.recv(4)
            return began, asked.result().problem

        nothing_there = "http://0x7f.1:1/x"
        inside, outside = Web(resolve=lambda _: ["10.0.0.5"]), Web(resolve=lambda _: ["9.9.9.9"])
        for web in (inside, outside):
            web.get(nothing_there)
        assert ask(inside, "127.1")[0] == b"GET "
        assert ask(outside, "127.1") == (b"", INSIDE)
        connected = Web(resolve=lambda _: ["9.9.9.9"])
        assert [ask(connected, host)[0] for host in ("127.1", "0x7f.1")] == [b"GET ", b"GET "]


@pytest.mark.parametrize("named", ["authorization_servers", "resource_metadata"])
def test_a_resource_outside_leads_nobody_inside(named: str) -> None:
    changed = {
        "authorization_servers": {
            ("GET", INSERTED): httpx.Response(
                200, json={"resource": API, "authorization_servers": ["https://10.0.0.5"]}, headers=OPEN
            )
        },
        "resource_metadata": {
            ("POST", API): httpx.Response(
                401, headers=OPEN | {"www-authenticate": 'Bearer resource_metadata="https://10.0.0.5/x"'}
            )
        },
    }[named]
    asked: list[str] = []
    found = faults(API, changed, INTERNAL, asked)
    assert any(
        "not asked" in one.message and "watchword doctor https://10.0.0.5" in one.change for one in found
    )
    assert "10.0.0.5" not in asked
    assert "api.example.com" in asked
