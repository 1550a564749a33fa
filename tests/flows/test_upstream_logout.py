"""As a relying party: the logout tokens of another provider, a second Watchword as a process of its own, and forged ones."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.fixtures.accounts import another, make, session_of, user_of
from tests.fixtures.applications import application, connect, is_alive, is_signed_in
from tests.fixtures.documents import Documents
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.relying_party import RelyingParty
from tests.fixtures.servers import Server, open_server

from watchword.flows import logout_delivery, sessions
from watchword.jose import jwk, jwt
from watchword.oauth import logout
from watchword.settings import Upstream
from watchword.store.upstream_sessions import UpstreamSession

KEY, STRANGE = jwk.generate("ES256"), jwk.generate("ES256")
PATH = "/upstream/hub/backchannel-logout"


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path, documents: Documents) -> AsyncIterator[Server]:
    """A server that takes the word of a provider on this machine."""
    issuer = documents.base
    documents.publish(
        "/.well-known/openid-configuration",
        {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/authorize",
            "token_endpoint": f"{issuer}/token",
            "jwks_uri": f"{issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "code_challenge_methods_supported": ["S256"],
        },
    )
    documents.publish("/jwks", {"keys": [jwk.public_document(KEY)]})
    provider = Upstream(name="hub", title="The Hub", client_id="us", issuer=issuer)
    github = Upstream(name="github", title="GitHub", client_id="us", client_secret="secret", kind="github")
    async with open_server(
        tmp_path,
        on=store.address,
        fetch_allow_loopback=True,
        upstream=(provider, github),
    ) as opened:
        yield opened


@pytest_asyncio.fixture
async def ada(server: Server, documents: Documents) -> AsyncIterator[Person]:
    """A person whose session came from one at the provider."""
    await make(server)
    person = Person(server, another(server))
    await person.sign_in()
    await came_from(person, documents, "hub-ada", "s1")
    yield person


async def came_from(person: Person, documents: Documents, subject: str, sid: str | None) -> None:
    """Let a session come from one at the provider, as its ID token would say."""
    runtime, session = person.server.runtime, await session_of(person.server)
    cookie = await sessions.elevate(
        runtime, session, acr=session.acr, amr=session.amr,
        came_from=UpstreamSession(documents.base, subject, sid, runtime.now()),
    )  # fmt: skip
    person.http.cookies.set("ww-session", cookie or "", domain="localhost.local")


def token(documents: Documents, *, key: jwk.Key = KEY, typ: str = "logout+jwt", **changes: Any) -> str:
    """Return a logout token of the provider, some claims changed or, when None, removed."""
    claims: dict[str, Any] = logout.logout_token_claims(
        issuer=documents.base, client_id="us", subject="hub-ada", sid="s1", jti=os.urandom(8).hex(), now=0
    )
    claims |= {"iat": NOW[0], "exp": NOW[0] + 120} | changes
    return jwt.encode(key, {name: value for name, value in claims.items() if value is not None}, typ=typ)


NOW = [0]


async def send(server: Server, logout_token: str) -> httpx.Response:
    """Send a logout token as the provider does."""
    return await server.http.post(PATH, data={"logout_token": logout_token})


@pytest.fixture(autouse=True)
def _clock(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        NOW[0] = int(request.getfixturevalue("server").clock())


async def test_a_logout_at_the_provider_ends_the_session_here_and_reaches_our_clients(
    ada: Person, documents: Documents, relying_party: RelyingParty
) -> None:
    server = ada.server
    client = await application(server, backchannel_logout_uri=relying_party.base + "/logout")
    tokens = await connect(ada, client)
    answer = await send(server, token(documents))
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert not await is_signed_in(ada)
    assert not await is_alive(server, client, tokens["access_token"])
    await logout_delivery.deliver_due(server.runtime)
    assert len(relying_party.tokens()) == 1


FORGED: dict[str, dict[str, Any]] = {
    "a nonce": {"nonce": "n"},
    "another type": {"typ": "at+jwt"},
    "no events": {"events": None},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "another audience": {"aud": "somebody else"},
    "another issuer": {"iss": "https://evil.example"},
    "another key": {"key": STRANGE},
    "no jti": {"jti": None},
    "nobody": {"sub": None, "sid": None},
    "its time over": {"exp": 1},
}


async def test_lo_50_a_forged_logout_token_is_refused(ada: Person, documents: Documents) -> None:
    for has, forged in FORGED.items():
        refused = await send(ada.server, token(documents, **forged))
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request"), has
        assert await is_signed_in(ada)
    assert (await send(ada.server, token(documents))).status_code == 200, "the honest variant"
    assert not await is_signed_in(ada)


async def test_lo_50_a_logout_token_counts_once(ada: Person, documents: Documents) -> None:
    server, taken = ada.server, token(documents)
    assert (await send(server, taken)).status_code == 200
    assert not await is_signed_in(ada)
    server.clock.advance(1)
    await ada.sign_in()
    await came_from(ada, documents, "hub-ada", "s1")
    assert (await send(server, taken)).json()["error"] == "invalid_request"
    assert await is_signed_in(ada)


@pytest.mark.parametrize(
    ("named", "ends"),
    [
        ({"sid": "s1"}, [True, False, False]),
        ({"sid": None}, [True, True, False]),
        ({"sid": "s1", "sub": None}, [True, False, False]),
        ({"sid": "s2", "sub": "hub-grace"}, [False, False, False]),
        ({"sid": "unknown"}, [False, False, False]),
    ],
    ids=["one session", "a person", "a session without its person", "a session of another", "none of ours"],
)
async def test_a_token_ends_the_sessions_that_it_names_and_no_other(
    ada: Person, documents: Documents, named: dict[str, Any], ends: list[bool]
) -> None:
    server = ada.server
    async with another(server) as second, another(server) as third:
        people = [ada, Person(server, second), Person(server, third)]
        await people[1].sign_in()
        await came_from(people[1], documents, "hub-ada", "s2")
        await people[2].sign_in()  # by password alone: it came from no provider
        answer = await send(server, token(documents, **named))
        assert answer.status_code == 200
        assert [not await is_signed_in(person) for person in people] == ends


@pytest.mark.parametrize("name", ["github", "nobody"])
async def test_only_a_provider_with_logout_tokens_has_the_address(
    server: Server, documents: Documents, name: str
) -> None:
    path = f"/upstream/{name}/backchannel-logout"
    answer = await server.http.post(path, data={"logout_token": token(documents)})
    assert answer.status_code == 404


async def test_garbage_is_refused_and_makes_no_storm_of_requests(ada: Person, documents: Documents) -> None:
    await send(ada.server, token(documents, sid="unknown"))
    for number in range(20):
        refused = await send(ada.server, token(documents, key=jwk.generate("ES256", kid=f"k{number}")))
        assert refused.status_code == 400
    assert documents.asked["/jwks"] <= 3
    for text in ("", "x", "a.b.c", "é" * 5000, "a" * 60_000):
        assert (await send(ada.server, text)).status_code == 400
    assert await is_signed_in(ada)


async def test_a_rotated_key_is_looked_up(ada: Person, documents: Documents) -> None:
    assert (await send(ada.server, token(documents, sid="unknown"))).status_code == 200
    documents.publish("/jwks", {"keys": [jwk.public_document(STRANGE)]})
    ada.server.clock.advance(2)
    assert (await send(ada.server, token(documents, key=STRANGE))).status_code == 200
    assert not await is_signed_in(ada)


async def test_a_provider_that_is_away_is_asked_to_try_again(ada: Person, documents: Documents) -> None:
    documents.published.clear()
    answer = await send(ada.server, token(documents))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert (await user_of(ada.server)).id
    assert await is_signed_in(ada)
