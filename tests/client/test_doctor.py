"""`watchword doctor`: a sound server has nothing broken; each thing that clients stumble over is found by its name."""

import json
import sqlite3
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from tests.fixtures.commands import run_cli
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port

from watchword.client.doctor import Report, examine
from watchword.client.doctor.web import well_known
from watchword.http_server.exchange import Application
from watchword.jose import jwk

Document = dict[str, Any]
Message = MutableMapping[str, Any]


def broken(report: Report) -> set[str]:
    """Return the names of what is broken."""
    return {finding.code for finding in report.findings if finding.level == "broken"}


def names(report: Report) -> set[str]:
    """Return the names of everything that is not right."""
    return {finding.code for finding in report.findings if finding.level != "ok"}


@dataclass(slots=True)
class Twisted:
    """A server in front of which something changes documents, answers and headers."""

    inner: Application
    documents: Callable[[str, Document], Document] = lambda _path, document: document
    answers: dict[str, tuple[int, list[tuple[bytes, bytes]]]] = field(default_factory=dict)
    without: tuple[bytes, ...] = ()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":  # it is open already
            return
        if scope["type"] == "http" and scope["path"] in self.answers:
            status, headers = self.answers[scope["path"]]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] != "http" or "/.well-known/" not in scope["path"]:
            await self.inner(scope, receive, send)
            return
        start: list[Message] = []

        async def change(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.append(message)
                return
            if start[0]["status"] == 200:
                changed = self.documents(scope["path"], json.loads(message["body"]))
                message["body"] = json.dumps(changed).encode()
                kept = [
                    pair
                    for pair in start[0]["headers"]
                    if pair[0] != b"content-length" and pair[0] not in self.without
                ]
                start[0]["headers"] = [*kept, (b"content-length", str(len(message["body"])).encode())]
            await send(start[0])
            await send(message)

        await self.inner(scope, receive, change)


@pytest.fixture
def twisted(live: Live) -> Iterator[tuple[str, Twisted]]:
    """The live server's own documents at another port, told to be its issuer."""
    app = Twisted(cast(Application, live.app))
    with LoopbackServer(cast(Application, app)) as server:
        issuer = f"http://localhost:{server.port}"

        def renamed(document: Document) -> Document:
            renewed: Document = json.loads(json.dumps(document).replace(live.issuer, issuer))
            return renewed

        app.documents = lambda _path, document: renamed(document)
        yield issuer, app


def change(app: Twisted, **members: Any) -> None:
    """Change members of the metadata; None removes one."""
    before = app.documents

    def changed(path: str, document: Document) -> Document:
        document = before(path, document)
        if "issuer" in document:
            document |= members
        return {name: value for name, value in document.items() if value is not None}

    app.documents = changed


def test_a_sound_server_has_nothing_broken(live: Live, twisted: tuple[str, Twisted]) -> None:
    for issuer in (live.issuer, twisted[0]):
        report = examine(issuer)
        assert report.kind == "authorization server"
        assert names(report) == set(), report
        assert {finding.code for finding in report.findings} >= {
            "issuer",
            "pkce",
            "endpoint",
            "jwks-key",
            "cors",
        }


def test_a_slash_that_was_typed_too_much_is_the_clients_to_take_away(live: Live) -> None:
    report = examine(live.issuer + "/")
    (slash,) = [finding for finding in report.findings if finding.code == "issuer-slash"]
    assert slash.change == f"in the client: issuer = {live.issuer!r}"


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "an issuer with a slash": ({"issuer": "{issuer}/"}, "issuer-slash"),
    "another issuer": ({"issuer": "https://evil.example.com"}, "issuer"),
    "an issuer that is no text": ({"issuer": 5}, "issuer"),
    "no PKCE": ({"code_challenge_methods_supported": None}, "pkce"),
    "plain PKCE only": ({"code_challenge_methods_supported": ["plain"]}, "pkce"),
    "unsigned ID tokens": ({"id_token_signing_alg_values_supported": ["none", "ES256"]}, "alg-none"),
    "no public clients": (
        {"token_endpoint_auth_methods_supported": ["client_secret_basic"]},
        "public-clients",
    ),
    "no issuer in answers": ({"authorization_response_iss_parameter_supported": False}, "iss"),
    "no way for unknown clients": (
        {"client_id_metadata_document_supported": False, "registration_endpoint": None},
        "unknown-clients",
    ),
    "no code flow": ({"response_types_supported": ["token"]}, "code-flow"),
    "an endpoint that is not there": ({"revocation_endpoint": "{issuer}/nowhere"}, "endpoint"),
    "an endpoint that is no address": ({"token_endpoint": "http://["}, "endpoint-address"),
    "an endpoint of another kind": ({"token_endpoint": ["x"]}, "endpoint-address"),
    "no token endpoint": ({"token_endpoint": None}, "endpoint-missing"),
    "no keys": ({"jwks_uri": "{issuer}/nowhere"}, "jwks"),
    "no key set": ({"jwks_uri": None}, "jwks"),
    "an algorithm that is no text": (
        {"id_token_signing_alg_values_supported": [{"alg": "ES256"}]},
        "jwks-alg",
    ),
    "an algorithm without a key": ({"id_token_signing_alg_values_supported": ["ES512"]}, "jwks-alg"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_finds(twisted: tuple[str, Twisted], case: str) -> None:
    issuer, app = twisted
    members, code = CASES[case]
    change(app, **json.loads(json.dumps(members).replace("{issuer}", issuer)))
    report = examine(issuer)
    assert code in names(report)
    assert all(finding.change for finding in report.findings if finding.level != "ok"), "each names a change"


def test_it_finds_documents_that_scripts_or_strict_clients_cannot_read(twisted: tuple[str, Twisted]) -> None:
    issuer, app = twisted
    assert not [finding for finding in examine(issuer).findings if finding.level != "ok"]
    app.without = (b"access-control-allow-origin", b"content-type")
    found = {(one.level, one.code, one.at) for one in examine(issuer).findings if one.level != "ok"}
    documents = set(well_known(issuer).values())
    assert found == {("warning", "cors", address) for address in documents} | {
        ("broken", "content-type", address) for address in (*documents, f"{issuer}/.well-known/jwks.json")
    }


def test_it_finds_redirects(twisted: tuple[str, Twisted]) -> None:
    issuer, app = twisted
    elsewhere = [(b"location", f"{issuer}/token/".encode())]
    for named in (elsewhere, [(b"location", b"/token/")]):
        app.answers["/token"] = (307, named)
        (finding,) = [one for one in examine(issuer).findings if one.code == "redirect-on-post"]
        assert (finding.level, finding.change) == ("broken", f'"token_endpoint": "{issuer}/token/"')
    app.answers["/.well-known/oauth-authorization-server"] = (301, elsewhere)
    assert "metadata-redirect" in broken(examine(issuer))


def test_it_finds_missing_and_refused_addresses(twisted: tuple[str, Twisted]) -> None:
    issuer, app = twisted
    app.answers["/.well-known/openid-configuration"] = (404, [])
    assert "metadata-missing" in names(examine(issuer))


def test_two_documents_that_name_different_endpoints_are_found(twisted: tuple[str, Twisted]) -> None:
    issuer, app = twisted
    before = app.documents

    def differing(path: str, document: Document) -> Document:
        document = before(path, document)
        return document | {"token_endpoint": f"{issuer}/other"} if "openid" in path else document

    app.documents = differing
    report = examine(issuer)
    (differ,) = [finding for finding in report.findings if finding.code == "metadata-differ"]
    assert (differ.level, "token_endpoint" in differ.message) == ("warning", True)


@pytest.mark.parametrize(
    ("answer", "said"),
    [((502, []), "502"), ((200, []), "200 without a JSON object")],
    ids=["an error", "a page"],
)
def test_what_stands_in_the_place_of_metadata_is_told(
    twisted: tuple[str, Twisted], answer: tuple[int, list[tuple[bytes, bytes]]], said: str
) -> None:
    issuer, app = twisted
    for rule in ("oauth-authorization-server", "openid-configuration"):
        app.answers[f"/.well-known/{rule}"] = answer
    (finding,) = [finding for finding in examine(issuer).findings if finding.code == "not-mcp"]
    for rule in ("oauth-authorization-server", "openid-configuration"):
        assert f"{issuer}/.well-known/{rule} answers {said}" in finding.message


def test_where_nobody_answers_the_name_and_the_port_are_to_be_checked() -> None:
    (finding,) = [
        found for found in examine(f"http://localhost:{free_port()}").findings if found.code == "not-mcp"
    ]
    assert (finding.message.count("no answer"), "the port" in finding.change) == (1, True)


def test_a_query_is_never_proposed_for_an_issuer(live: Live) -> None:
    (finding,) = [found for found in examine(f"{live.issuer}?tenant=1").findings if found.code == "issuer"]
    assert finding.change == f"in the client: issuer = {live.issuer!r}"


KEYS: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "a private key": (lambda: [jwk.private_document(jwk.generate("ES256"))], "jwks-private"),
    "two keys of one name": (
        lambda: [{**jwk.public_document(jwk.generate("ES256")), "kid": "a"} for _ in range(2)],
        "jwks-kid",
    ),
    "a symmetric key": (lambda: [{"kty": "oct", "kid": "a"}], "jwks-key"),
    "no key at all": (list, "jwks"),
    "things that are no keys": (lambda: [1, "x", None, {"kty": []}], "jwks-key"),
}


@pytest.mark.parametrize("case", KEYS)
def test_it_finds_among_the_keys(twisted: tuple[str, Twisted], case: str) -> None:
    issuer, app = twisted
    before, (make, code) = app.documents, KEYS[case]

    def changed(path: str, document: Document) -> Document:
        return {"keys": make()} if "keys" in document else before(path, document)

    app.documents = changed
    report = examine(issuer)
    assert code in names(report)
    if case == "no key at all":
        assert any("200 without any key" in finding.message for finding in report.findings)


def test_an_issuer_that_is_a_pattern_is_to_be_named_for_a_tenant(twisted: tuple[str, Twisted]) -> None:
    """As of Entra ID, under `common`."""
    issuer, app = twisted
    change(app, issuer=f"{issuer}/{{tenantid}}/v2.0")
    (finding,) = [found for found in examine(issuer).findings if found.code == "issuer"]
    assert finding.level == "broken"
    assert "tenant's own identifier" in finding.change
    assert "--issuer" not in finding.change, "no server can be told so"


def test_an_algorithm_of_the_clients_secrets_needs_no_published_key(twisted: tuple[str, Twisted]) -> None:
    """As Auth0 and Keycloak announce them."""
    issuer, app = twisted
    change(app, id_token_signing_alg_values_supported=["ES256", "HS256", "HS384", "HS512", "ES512"])
    (finding,) = [found for found in examine(issuer).findings if found.code == "jwks-alg"]
    assert finding.message.endswith("without a key: ES512")


def test_an_authorization_endpoint_may_know_nothing_of_a_client_that_is_not_named(
    twisted: tuple[str, Twisted],
) -> None:
    """As that of Dex."""
    issuer, app = twisted
    app.answers["/authorize"] = (404, [])
    report = examine(issuer)
    (finding,) = [found for found in report.findings if found.code == "endpoint" and found.level != "ok"]
    assert (finding.level, "in a browser" in finding.change) == ("warning", True)
    app.answers["/authorize"] = (500, [])
    assert "endpoint" in broken(examine(issuer))


HOSTILE = "\x1b[2J\nok       all is well"


@pytest.mark.parametrize("place", ["id_token_signing_alg_values_supported", "kid"])
def test_what_a_server_words_is_shown_and_not_obeyed(twisted: tuple[str, Twisted], place: str) -> None:
    issuer, app = twisted
    before = app.documents

    def hostile(path: str, document: Document) -> Document:
        document = before(path, document)
        if "keys" in document:
            named = [key | ({"kid": HOSTILE} if place == "kid" else {}) for key in document["keys"][:1]]
            return document | {"keys": named}
        return document | ({place: [HOSTILE]} if place in document else {})

    app.documents = hostile
    told = [text for one in examine(issuer).findings for text in (one.at, one.message, one.change)]
    assert any("all is well" in text for text in told)
    assert all(text.isprintable() for text in told)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "ftp://a.example",
        "http://[",
        "https://a b",
        "file:///etc/passwd",
        "https://ä.example",
        "https://auth.example.com#top",
        "https://me:hunter2@auth.example.com",
    ],
)
def test_what_is_no_address_is_wrong_usage(url: str) -> None:
    with pytest.raises(ValueError, match="address") as refused:
        examine(url)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://a.example/.well-known/openid-configuration", "https://a.example"),
        ("https://a.example/realms/staff/.well-known/openid-configuration", "https://a.example/realms/staff"),
        ("https://a.example/.well-known/oauth-authorization-server/staff", "https://a.example/staff"),
        (
            "https://a.example/.well-known/oauth-protected-resource/mcp?x=/.well-known/y",
            "https://a.example/mcp",
        ),
    ],
)
def test_an_address_of_metadata_is_answered_with_whose_they_are(url: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"that they describe, {meant}$"):
        examine(url)


def test_the_command_prints_lines_to_change_and_exits_with_1(live: Live, tmp_path: Path) -> None:
    sound = run_cli(tmp_path, "doctor", live.issuer, "--json")
    assert (sound.returncode, json.loads(sound.stdout)["broken"]) == (0, False)
    wrong = run_cli(tmp_path, "doctor", f"{live.issuer}/")
    assert wrong.returncode == 1
    assert f"issuer = '{live.issuer}'" in wrong.stdout
    assert run_cli(tmp_path, "doctor", "nonsense").returncode == 2


def test_the_own_installation_is_checked(tmp_path: Path) -> None:
    def check(*arguments: str, **variables: str) -> tuple[int, set[str]]:
        done = run_cli(tmp_path, "doctor", "--json", *arguments, variables=variables)
        found = json.loads(done.stdout)["findings"]
        return done.returncode, {finding["code"] for finding in found if finding["level"] != "ok"}

    assert check() == (0, {"no-database"})
    assert run_cli(tmp_path, "migrate").returncode == 0
    assert check() == (0, set())
    assert check("--data") == (0, set())
    with sqlite3.connect(tmp_path / "watchword.db") as connection:
        connection.execute("UPDATE signing_keys SET public_jwk = sealed_private, sealed_private = x'00'")
    assert check("--data") == (1, {"database"})
    with sqlite3.connect(tmp_path / "watchword.db") as connection:
        connection.execute("DELETE FROM signing_keys")
        connection.execute("DELETE FROM facts WHERE name LIKE 'first key%'")
        connection.execute("DELETE FROM events WHERE seq = 1")
    assert check("--data") == (1, {"audit"})
    (tmp_path / "watchword.toml").write_text('host = "0.0.0.0"')
    code, found = check()
    assert (code, "exposure" in found) == (1, True)
    (tmp_path / "watchword.toml").write_text('issuers = "x"')
    assert check() == (1, {"settings"})
    (tmp_path / "watchword.toml").write_text('logo = "mark.svg"')
    assert check() == (1, {"settings"}), "no server starts without it"
    (tmp_path / "mark.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert check() == (0, set())
    (tmp_path / "watchword.toml").unlink()
    (tmp_path / "watchword.db").chmod(0o644)
    assert check() == (1, {"file-mode"})
    (tmp_path / "watchword.db").chmod(0o600)
    (tmp_path / "watchword.db.key").rename(tmp_path / "gone")
    assert check() == (1, {"database"})
    (tmp_path / "gone").rename(tmp_path / "watchword.db.key")
    (tmp_path / "watchword.db").rename(tmp_path / "lost")
    assert check() == (1, {"database"})
    (tmp_path / "lost").rename(tmp_path / "watchword.db")
    (tmp_path / "watchword.db.key").rename(tmp_path / "gone")
    (tmp_path / "gone").chmod(0o440)  # as systemd gives a credential to the user of a service
    assert check(CREDENTIALS_DIRECTORY=str(tmp_path), WATCHWORD_KEY_FILE=str(tmp_path / "gone")) == (0, set())
