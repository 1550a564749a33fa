"""FD, SS-02: a provider that lies, a browser that brings another's answer, an address that proves nothing."""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import pytest_asyncio
from tests.fixtures.accounts import EMAIL, OTHER, add_totp, another, code_of, make, session_of, user_of
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server, open_server

from watchword.credentials.upstream import Identity
from watchword.flows import account_changes, upstream
from watchword.jose import jwk, jwt
from watchword.settings import Upstream

PATH = "/upstream/hub/callback"


class Provider:
    """An OpenID provider that says what a test wants it to say."""

    def __init__(self) -> None:
        self.key = jwk.generate("ES256", "k1")
        self.claims: dict[str, Any] = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
        self.metadata: dict[str, Any] = {}
        self.nonces: dict[str, str] = {}
        self.asked: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                self._answer(provider.discovery() if "openid" in self.path else provider.jwks())

            def do_POST(self) -> None:
                provider.asked.append(self.path)
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                token = provider.id_token(provider.nonces[form["code"][0]])
                self._answer({"access_token": "at", "token_type": "Bearer", "id_token": token})

            def _answer(self, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.issuer = f"http://localhost:{self.server.server_port}"

    def discovery(self) -> dict[str, Any]:
        """Return the metadata, with what the test changed."""
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "id_token_signing_alg_values_supported": ["ES256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }

    def jwks(self) -> dict[str, Any]:
        """Return the public key."""
        return {"keys": [jwk.public_document(self.key)]}

    def id_token(self, nonce: str) -> str:
        """Return an ID token for whoever asked with a nonce, with what the test changed."""
        now = int(self.now())
        usual = {"iss": self.issuer, "aud": "us", "iat": now, "exp": now + 300, "nonce": nonce}
        return jwt.encode(self.key, {**usual, **self.claims})

    now: Any = None


@pytest.fixture
def provider() -> Iterator[Provider]:
    """The provider on loopback."""
    made = Provider()
    yield made
    made.server.shutdown()


@pytest_asyncio.fixture
async def server(provider: Provider, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that takes the provider's word, with a person in it."""
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    async with open_server(
        tmp_path, mode="development", sign_up="open", fetch_allow_loopback=True, upstream=(hub,)
    ) as opened:
        provider.now = opened.clock
        await make(opened)
        yield opened


async def begin(person: Person, provider: Provider, address: str = "/upstream/hub") -> dict[str, str]:
    """Choose the provider; return what an honest answer of it brings back."""
    begun = await person.http.get(address)
    assert begun.status_code == 303, begun.text
    asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["location"]).query).items()}
    code = f"code {len(provider.nonces)}"
    provider.nonces[code] = asked["nonce"]
    return {"code": code, "state": asked["state"], "iss": provider.issuer}


async def come_back(person: Person, answer: dict[str, str]) -> str:
    """Bring an answer; return where that leads."""
    await person.open(f"{PATH}?{urlencode(answer)}")
    return person.path


async def link(server: Server, provider: Provider) -> Person:
    """Link the provider's account to ada's by proof of both; return her at her browser."""
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == "/upstream/link"
    await person.send({"password": PASSWORD}, having="identifier")
    assert person.path == "/account"
    return person


async def sign_in(server: Server, provider: Provider) -> str:
    """Sign in by the provider at a fresh browser; return where that leads."""
    person = Person(server, another(server))
    return await come_back(person, await begin(person, provider))


async def test_fd_01_an_address_signs_nobody_in_and_links_nothing(server: Server, provider: Provider) -> None:
    assert await sign_in(server, provider) == "/upstream/link", "a verified one leads to a question"
    for verified in (False, "true", 1, None):
        provider.claims = {"sub": "1", "email": EMAIL, "email_verified": verified}
        assert await sign_in(server, provider) == PATH, verified
    provider.claims = {"sub": "2", "email": EMAIL, "email_verified": True, "preferred_username": "ada"}
    assert await sign_in(server, provider) == "/upstream/link"
    provider.claims = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
    await link(server, provider)
    assert await sign_in(server, provider) == "/account", "the honest variant"


async def test_fd_01_the_same_address_under_another_subject_is_somebody_else(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    provider.claims = {"sub": "another", "email": EMAIL, "email_verified": True}
    assert await sign_in(server, provider) == "/upstream/link"
    provider.claims = {"sub": "248289761001", "email": "moved@example.org", "email_verified": False}
    assert await sign_in(server, provider) == "/account", "who it is says the subject alone"


async def test_fd_01_the_same_subject_of_another_provider_is_somebody_else(
    server: Server, provider: Provider, tmp_path: Path
) -> None:
    await link(server, provider)
    other = Provider()
    other.now = server.clock
    other.claims = {"sub": "248289761001"}
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=other.issuer)
    async with open_server(
        tmp_path, mode="development", fetch_allow_loopback=True, upstream=(hub,)
    ) as second:
        assert await sign_in(second, other) == PATH
    other.server.shutdown()


async def test_fd_01_who_is_signed_in_is_linked_only_where_they_asked_for_it(
    server: Server, provider: Provider
) -> None:
    """Whoever sends a signed-in browser through their own provider account must not get into the account by it."""
    victim = Person(server, another(server))
    await victim.sign_in()
    provider.claims = {"sub": "the attacker"}
    await come_back(victim, await begin(victim, provider))
    assert await sign_in(server, provider) == PATH, "the attacker's account opens nothing"
    await victim.open("/account")
    assert victim.page is not None
    ticket = victim.page.text.split("/upstream/hub?link=")[1].split('"')[0]
    for forged in ("0" * 64, ticket[:-1] + ("0" if ticket[-1] != "0" else "1")):
        assert (await victim.http.get(f"/upstream/hub?link={forged}")).status_code == 400
    stranger = Person(server, another(server))
    assert (
        (await stranger.http.get(f"/upstream/hub?link={ticket}"))
        .headers["location"]
        .startswith(f"{server.settings.issuer}/sign-in")
    )
    provider.claims = {"sub": "her own"}
    assert (
        await come_back(victim, await begin(victim, provider, f"/upstream/hub?link={ticket}")) == "/account"
    )
    assert "Your accounts are connected." in victim.text
    assert await sign_in(server, provider) == "/account", "the honest variant"
    assert any("another sign-in was connected" in text for _, text in await letters(server))


async def test_fd_01_linking_needs_a_fresh_proof_and_the_same_session(
    server: Server, provider: Provider
) -> None:
    person = Person(server, another(server))
    await person.sign_in()
    await person.open("/account")
    assert person.page is not None
    ticket = person.page.text.split("/upstream/hub?link=")[1].split('"')[0]
    answer = await begin(person, provider, f"/upstream/hub?link={ticket}")
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})
    assert await come_back(person, answer) == PATH, "signed out meanwhile"
    await person.sign_in()
    await person.open("/account")
    ticket = person.page.text.split("/upstream/hub?link=")[1].split('"')[0]
    server.clock.advance(700)
    stale = await person.http.get(f"/upstream/hub?link={ticket}")
    assert "/step-up" in stale.headers["location"]


async def test_mf_06_a_provider_is_linked_after_the_second_factor_only(
    server: Server, provider: Provider
) -> None:
    ada = Person(server, another(server))
    await ada.sign_in()
    key = await add_totp(ada)
    server.clock.advance(31)
    person = Person(server, another(server))
    await person.sign_in()
    await person.send({"code": code_of(server, key), "remember": "yes"}, having="method")
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})
    assert await come_back(person, await begin(person, provider)) == "/upstream/link"
    await person.send({"password": PASSWORD}, having="identifier")
    assert person.path == "/sign-in/second-factor", "that the browser is trusted does not spare it"
    assert await sign_in(server, provider) == "/upstream/link", "nothing is linked by a password alone"
    server.clock.advance(31)
    await person.send({"code": code_of(server, key)}, having="method")
    assert person.path == "/account", "the honest variant"
    assert await sign_in(server, provider) == "/sign-in/second-factor", "linked, and no way around it"
    assert any("another sign-in was connected" in text for _, text in await letters(server))


async def test_mf_06_a_first_password_is_set_after_the_second_factor_only(
    server: Server, provider: Provider
) -> None:
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    key = await add_totp(grace)
    server.clock.advance(31)
    await grace.open("/sign-out")
    await grace.send({"decision": "sign_out"})
    await come_back(grace, await begin(grace, provider))
    await grace.send({"code": code_of(server, key), "remember": "yes"}, having="method")
    await grace.open("/sign-out")
    await grace.send({"decision": "sign_out"})
    assert await come_back(grace, await begin(grace, provider)) == "/account", "a trusted browser"
    await grace.open("/account/password")
    await grace.send({"new_password": OTHER}, having="csrf", index=-1)
    assert grace.path == "/step-up"
    server.clock.advance(31)
    await grace.send({"code": code_of(server, key)}, having="method")
    await grace.send({"new_password": OTHER}, having="csrf", index=-1)
    assert "notice=password_changed" in str(grace.page and grace.page.url), "the honest variant"


async def test_a_password_proves_nothing_where_passwords_are_not_taken(
    provider: Provider, tmp_path: Path
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    given: dict[str, Any] = {"mode": "development", "fetch_allow_loopback": True, "upstream": (hub,)}
    async with open_server(tmp_path, sign_in_methods=(), **given) as server:
        provider.now = server.clock
        user = await make(server)
        person = Person(server, another(server))
        assert await come_back(person, await begin(person, provider)) == "/upstream/link"
        fields = {"csrf": person.form()["csrf"], "password": PASSWORD, "decision": "link"}
        assert (await person.http.post("/upstream/link", data=fields)).status_code == 401
        identity = Identity(provider.issuer, "248289761001")
        assert await upstream.link(server.runtime, user, identity)
        assert await come_back(person, await begin(person, provider)) == "/account", "the honest variant"
        server.clock.advance(700)
        await person.open("/account/email")
        assert person.path == "/sign-in"


async def test_a_linked_provider_is_disconnected_unless_it_is_the_last_way_in(
    server: Server, provider: Provider
) -> None:
    person = await link(server, provider)
    await person.open("/account")
    await person.send({}, having="provider")
    assert "Disconnected." in person.text
    assert await sign_in(server, provider) == "/upstream/link"
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    await grace.open("/account")
    refused = await grace.send({}, having="provider")
    assert refused.status_code == 400
    assert "the last way to sign in" in grace.text
    assert await sign_in(server, provider) == "/account"


async def test_who_only_ever_comes_by_a_provider_signs_in_anew_before_a_change(
    server: Server, provider: Provider
) -> None:
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    assert (await grace.open("/account/passkeys")).status_code == 200
    server.clock.advance(700)
    await grace.open("/account/passkeys")
    assert grace.path == "/sign-in"
    assert grace.page is not None
    address = grace.page.text.split('href="')
    onward = next(part.split('"')[0] for part in address if "/upstream/hub" in part.split('"')[0])
    asked = (await grace.http.get(onward)).headers["location"]
    assert parse_qs(urlsplit(asked).query)["prompt"] == ["login"], (
        "the provider's own session does not answer"
    )
    assert await come_back(grace, await begin(grace, provider, onward)) == "/account/passkeys"


LIES: dict[str, dict[str, Any]] = {
    "another's nonce": {"nonce": "of another sign-in"},
    "no nonce": {"nonce": None},
    "another issuer": {"iss": "https://evil.example"},
    "another client's token": {"aud": "somebody else"},
    "for several, by nobody's name": {"aud": ["us", "them"]},
    "an expired token": {"exp": 1},
    "an old token": {"iat": 1},
    "no subject": {"sub": ""},
    "a hash of another access token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
}


@pytest.mark.parametrize("lie", LIES)
async def test_fd_02_an_id_token_of_another_sign_in_is_refused(
    server: Server, provider: Provider, lie: str
) -> None:
    await link(server, provider)
    honest = dict(provider.claims)
    provider.claims = {**honest, **LIES[lie]}
    assert await sign_in(server, provider) == PATH
    provider.claims = honest
    assert await sign_in(server, provider) == "/account", "the honest variant"


ANSWERS: dict[str, dict[str, str | None]] = {
    "no state": {"state": None},
    "another state": {"state": "x" * 43},
    "no issuer from who says that it names it": {"iss": None},
    "another issuer (mix-up)": {"iss": "https://evil.example"},
    "no code": {"code": None},
}


@pytest.mark.parametrize("lie", ANSWERS)
async def test_fd_02_an_answer_that_was_not_asked_for_is_refused(
    server: Server, provider: Provider, lie: str
) -> None:
    await link(server, provider)
    person = Person(server, another(server))
    answer = await begin(person, provider)
    changed = {name: value for name, value in {**answer, **ANSWERS[lie]}.items() if value is not None}
    asked = len(provider.asked)
    assert await come_back(person, changed) == PATH
    assert "/token" not in provider.asked[asked:], "no code was sent anywhere"
    assert await come_back(person, await begin(person, provider)) == "/account"


async def test_fd_02_an_answer_belongs_to_one_browser_and_counts_once(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    person, victim = Person(server, another(server)), Person(server, another(server))
    answer = await begin(person, provider)
    assert await come_back(victim, answer) == PATH, "signed in as the attacker by a link (login CSRF)"
    await begin(victim, provider)
    assert await come_back(victim, answer) == PATH
    answer = await begin(person, provider)
    cookies = dict(person.http.cookies)
    assert await come_back(person, answer) == "/account"
    again = Person(server, another(server))
    for name, value in cookies.items():
        again.http.cookies.set(name, value)
    assert await come_back(again, answer) == PATH, "an answer counts once"


async def test_fd_03_a_disabled_account_stays_disabled(server: Server, provider: Provider) -> None:
    await link(server, provider)
    assert await sign_in(server, provider) == "/account"
    user = await user_of(server)
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert await sign_in(server, provider) == PATH
    assert (await user_of(server)).disabled_at is not None
    await account_changes.set_disabled(server.runtime, user, False, actor="test")
    assert await sign_in(server, provider) == "/account"
    assert (await session_of(server)).amr == ("fed",)


METADATA: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "an issuer with a slash more": {"issuer": "ISSUER/"},
    "a token endpoint on another host": {"token_endpoint": "https://evil.example/token"},
    "keys on another host": {"jwks_uri": "https://evil.example/jwks"},
    "an authorization endpoint on another host": {"authorization_endpoint": "https://evil.example/authorize"},
    "an endpoint over plain http": {"token_endpoint": "http://id.example.com/token"},
    "an endpoint inside the network": {"token_endpoint": "https://169.254.169.254/token"},
    "a script as an endpoint": {"authorization_endpoint": "javascript:alert(1)"},
    "no signature": {"id_token_signing_alg_values_supported": ["none"]},
    "a shared secret": {"id_token_signing_alg_values_supported": ["HS256"]},
}


@pytest.mark.parametrize("lie", METADATA)
async def test_ss_02_metadata_that_leads_elsewhere_is_refused(
    server: Server, provider: Provider, lie: str
) -> None:
    person = Person(server, another(server))
    said = {name: str(value).replace("ISSUER", provider.issuer) if isinstance(value, str) else value
            for name, value in METADATA[lie].items()}  # fmt: skip
    provider.metadata = said
    await person.open("/upstream/hub")
    assert "didn’t sign you in" in person.text
    provider.metadata = {}
    server.runtime.documents.clear()
    assert (await person.http.get("/upstream/hub")).status_code == 303, "the honest variant"


async def test_ss_02_an_issuer_inside_the_network_is_not_asked(tmp_path: Path, provider: Provider) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    async with open_server(tmp_path, upstream=(hub,)) as server:
        person = Person(server, another(server))
        await person.open("/upstream/hub")
        assert "didn’t sign you in" in person.text
    assert provider.asked == []
