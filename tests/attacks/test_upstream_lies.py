"""FD-02, SS-02: a provider that lies, and a browser that brings another's answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.accounts import EMAIL, another
from tests.fixtures.lying_provider import PATH, Provider, begin, come_back, link, provider, server, sign_in
from tests.fixtures.people import Person
from tests.fixtures.servers import Server, open_server

from watchword.flows.outbound import RETRY_AFTER
from watchword.settings import Upstream

__all__ = ["provider", "server"]


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


async def test_fd_02_an_id_token_of_another_sign_in_is_refused(server: Server, provider: Provider) -> None:
    await link(server, provider)
    honest = dict(provider.claims)
    for lie, said in LIES.items():
        provider.claims = {**honest, **said}
        assert await sign_in(server, provider) == PATH, lie
        provider.claims = honest
        assert await sign_in(server, provider) == "/account", "the honest variant"


async def test_sign_ins_by_a_provider_are_counted(server: Server, provider: Provider) -> None:
    async def counted() -> list[float]:
        reader = await server.token(scope="watchword:metrics:read")
        bearer = {"authorization": f"Bearer {reader.secret}"}
        shown = (await server.http.get("/metrics", headers=bearer)).text
        label = 'watchword_sign_ins_total{operation="provider",outcome="'
        told = [
            line.removeprefix(label).split('"} ') for line in shown.splitlines() if line.startswith(label)
        ]
        return [sum(float(n) for outcome, n in told if outcome == one) for one in ("accepted", "refused")]

    await link(server, provider)
    accepted, refused = await counted()
    assert await sign_in(server, provider) == "/account"
    assert await counted() == [accepted + 1, refused]
    provider.claims = {**provider.claims, "aud": "somebody else"}
    assert await sign_in(server, provider) == PATH
    assert await counted() == [accepted + 1, refused + 1]


ANSWERS: dict[str, dict[str, str | None]] = {
    "no state": {"state": None},
    "another state": {"state": "x" * 43},
    "no issuer from who says that it names it": {"iss": None},
    "another issuer (mix-up)": {"iss": "https://evil.example"},
    "no code": {"code": None},
}


async def test_fd_02_an_answer_that_was_not_asked_for_is_refused(server: Server, provider: Provider) -> None:
    await link(server, provider)
    for lie, said in ANSWERS.items():
        person = Person(server, another(server))
        answer = await begin(person, provider)
        changed = {name: value for name, value in {**answer, **said}.items() if value is not None}
        asked = len(provider.asked)
        assert await come_back(person, changed) == PATH, lie
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


@pytest.mark.parametrize(
    "told",
    [
        pytest.param("\u202emoc.live@ada", id="a name that is read from right to left"),
        pytest.param("ada\r\n\x1b[31mverified", id="a name with control characters"),
        pytest.param("ada\u200b\u2066", id="a name with invisible characters"),
    ],
)
async def test_a_name_that_a_provider_tells_changes_no_page(
    server: Server, provider: Provider, told: str
) -> None:
    for subject, name in (("h", "grace-at-the-hub"), ("m", told)):
        address = f"{subject}@example.com"
        provider.claims = {"sub": subject, "email": address, "email_verified": True, "name": name}
        provider.claims["preferred_username"] = name
        person = Person(server, another(server))
        assert await come_back(person, await begin(person, provider)) == "/account"
        assert person.page is not None
        honest = name != told
        assert (name in person.page.text) == honest
        assert honest or person.page.text.count(address) > 1, "it is called by its address instead"


async def test_an_address_that_looks_like_anothers_is_told_to_be_taken(
    server: Server, provider: Provider
) -> None:
    for address, path in ((EMAIL.replace("ada", "grace"), "/account"), ("grace@exarnple.com", PATH)):
        provider.claims = {"sub": address, "email": address, "email_verified": True}
        person = Person(server, another(server))
        assert await come_back(person, await begin(person, provider)) == path
        assert ("An account here already has the address" in person.text) == (path == PATH)


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
    server.clock.advance(RETRY_AFTER)
    assert (await person.http.get("/upstream/hub")).status_code == 303, "the honest variant"


@pytest.mark.parametrize(("networks", "asked"), [(("127.0.0.0/8",), 1), ((), 0)], ids=["honest", "inside"])
async def test_ss_02_an_issuer_inside_the_network_is_not_asked(
    tmp_path: Path, networks: tuple[str, ...], asked: int
) -> None:
    came: list[asyncio.StreamWriter] = []

    async def note(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as inside:
        issuer = f"https://127.0.0.1:{inside.sockets[0].getsockname()[1]}"
        hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=issuer, networks=networks)
        async with open_server(tmp_path, upstream=(hub,)) as server:
            person = Person(server, another(server))
            await person.open("/upstream/hub")
            assert "didn’t sign you in" in person.text
    assert len(came) == asked
