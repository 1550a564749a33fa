"""Back-channel logout: every client of a session is told once, whoever ends it, and nobody who signs out waits for that."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.accounts import another, make, session_of
from tests.fixtures.applications import ENDS, OFFLINE, ada, application, connect, end, is_signed_in
from tests.fixtures.code_flow import request
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.relying_party import RelyingParty, claims_of
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server, together

from watchword.flows import logout_delivery
from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk, jws
from watchword.oauth import logout
from watchword.store import clients, grants, logout_notices
from watchword.store.audit import events
from watchword.store.database import Transaction
from watchword.store.grants import Grant

__all__ = ["ada"]

DAY = 86_400

# The application: it may reach applications on this machine
server = server_with(fetch_allow_loopback=True)


async def told(server: Server, party: RelyingParty, path: str = "/logout", **given: Any) -> Registered:
    """Register an application that is told of logouts."""
    return await application(server, backchannel_logout_uri=party.base + path, **given)


async def deliver(server: Server) -> None:
    """Do what the job does every second."""
    await logout_delivery.deliver_due(server.runtime)


async def sign_out(person: Person) -> int:
    """Sign out by the form and return the status."""
    await person.open("/sign-out")
    return (await person.send({"decision": "sign_out"})).status_code


async def waiting(server: Server) -> list[tuple[str, int, int]]:
    """Return client, attempts and next time of every notice that is still to be delivered."""

    async def read(tx: Transaction) -> list[tuple[str, int, int]]:
        rows = await tx.all("SELECT client_id, attempts, next_at FROM logout_notices ORDER BY client_id")
        return [(row["client_id"], row["attempts"], row["next_at"]) for row in rows]

    return await server.runtime.database.read(read)


async def undelivered(server: Server) -> dict[str, object]:
    """Return the clients that could not be told, and how often that was tried, as the audit trail says."""
    found = await server.runtime.database.read(events.list_events, limit=10, name="logout.undelivered")
    return {event.target: event.data["attempts"] for event in found}


async def test_a_logout_token_says_who_and_which_session_and_passes_a_clients_checks(
    ada: Person, relying_party: RelyingParty
) -> None:
    client = await told(ada.server, relying_party, backchannel_logout_session_required=True)
    tokens = await connect(ada, client)
    await sign_out(ada)
    assert relying_party.told == [], "the sign-out did not wait for it"
    await deliver(ada.server)
    await deliver(ada.server)
    ((path, form),) = relying_party.told
    assert (path, set(form)) == ("/logout", {"logout_token"})
    assert jws.peek(form["logout_token"]).typ == "logout+jwt"
    keys = jwk.parse_set((await ada.server.http.get("/.well-known/jwks.json")).json())
    checked = logout.check_logout_token(
        form["logout_token"],
        keys=keys,
        issuer=ada.server.settings.issuer,
        client_id=client.client.client_id,
        algorithms=("ES256",),
        now=int(ada.server.clock()),
    )
    identity = claims_of(tokens["id_token"])
    assert (checked.subject, checked.sid) == (identity["sub"], identity["sid"])
    assert await waiting(ada.server) == []


async def test_a_pairwise_client_is_told_by_the_names_that_it_knows(
    ada: Person, relying_party: RelyingParty
) -> None:
    client = await told(ada.server, relying_party, subject_type="pairwise")
    identity = claims_of((await connect(ada, client))["id_token"])
    await sign_out(ada)
    await deliver(ada.server)
    (claims,) = relying_party.tokens()
    assert (claims["sub"], claims["sid"]) == (identity["sub"], identity["sid"])
    assert claims["sub"] != (await session_of_last(ada)).user_id


async def session_of_last(person: Person) -> Any:
    """Sign in again and return the session, to learn the person's identifier."""
    await person.sign_in()
    return await session_of(person.server)


@pytest.mark.parametrize("way", ENDS)
async def test_every_end_of_a_session_reaches_every_client_that_can_be_told(
    ada: Person, relying_party: RelyingParty, way: str
) -> None:
    first, second = [await told(ada.server, relying_party, f"/{name}") for name in ("first", "second")]
    offline = await told(ada.server, relying_party, "/offline")
    mute = await application(ada.server)
    stranger = await told(ada.server, relying_party, "/stranger")
    for client in (first, second, mute):
        await connect(ada, client)
    await connect(ada, offline, OFFLINE)
    await connect(ada, stranger, "orders:read")  # no ID token: it knows of no session
    await end(ada, way)
    await deliver(ada.server)
    assert sorted(path for path, _ in relying_party.told) == ["/first", "/offline", "/second"]


async def test_a_client_that_was_let_in_unasked_by_a_pushed_request_is_told_too(
    ada: Person, relying_party: RelyingParty
) -> None:
    client = await told(ada.server, relying_party)
    await connect(ada, client)
    await sign_out(ada)
    await ada.sign_in()
    pushed = (await ada.server.post("/par", client, **request(client, scope="openid orders:read"))).json()
    asked = {"client_id": client.client.client_id, "request_uri": pushed["request_uri"]}
    assert "code=" in (await ada.open(str(httpx.URL("/authorize", params=asked)))).headers["location"]
    await sign_out(ada)
    await deliver(ada.server)
    assert [path for path, _ in relying_party.told] == ["/logout"] * 2


async def test_a_client_is_told_of_its_session_only(ada: Person, relying_party: RelyingParty) -> None:
    client = await told(ada.server, relying_party)
    elsewhere = Person(ada.server, another(ada.server))
    await elsewhere.sign_in()
    here, there = [claims_of((await connect(one, client))["id_token"])["sid"] for one in (ada, elsewhere)]
    await sign_out(ada)
    await deliver(ada.server)
    assert [claims["sid"] for claims in relying_party.tokens()] == [here]
    await sign_out(elsewhere)
    await deliver(ada.server)
    assert [claims["sid"] for claims in relying_party.tokens()] == [here, there]


async def test_lo_51_who_signs_out_of_a_thousand_clients_waits_for_none_and_each_is_told_once(
    ada: Person, relying_party: RelyingParty
) -> None:
    server, session = ada.server, await session_of(ada.server)

    async def connect_many(tx: Transaction) -> None:
        for number in range(1000):
            made = await client_template(server, relying_party, number)
            await clients.create_client(tx, made, actor="test", now=session.created_at)
            grant = Grant(
                id=f"grant_{number}", client_id=made.client_id, user_id=session.user_id, session_id=session.id,
                scope="openid", audience="x", claims="{}", created_at=session.created_at,
                started_at=session.created_at, last_used_at=session.created_at,
            )  # fmt: skip
            await grants.store_grant(tx, grant)

    await server.runtime.database.write(connect_many)
    relying_party.gate.clear()  # nobody answers
    assert await sign_out(ada) == 200
    assert not await is_signed_in(ada)
    assert len(await waiting(server)) == 1000, "durable before the answer"
    assert relying_party.told == []
    relying_party.gate.set()
    await together(deliver(server), deliver(server))
    assert sorted(path for path, _ in relying_party.told) == sorted(f"/{number}" for number in range(1000))
    assert await waiting(server) == []


async def client_template(server: Server, party: RelyingParty, number: int) -> Any:
    """Return one of many clients, not stored yet."""
    given = client_metadata.ClientInput(
        name=f"client {number}",
        redirect_uris=["https://app.example.com/cb"],
        grant_types=["authorization_code"],
        backchannel_logout_uri=f"{party.base}/{number}",
    )
    return client_metadata.to_client(given, f"client_{number:04}")


HUGE = b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 600_000
MOVED = b"HTTP/1.1 302 x\r\nlocation: %s/elsewhere\r\ncontent-length: 0\r\n\r\n"
NO = b"HTTP/1.1 400 x\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("endpoint", ["redirects", "huge", "refuses", "silent", "closed", "private network"])
async def test_ss_03_a_bad_endpoint_is_bounded_and_tried_again_later_and_later(
    ada: Person, relying_party: RelyingParty, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = ada.server
    honest = await told(server, relying_party, "/honest")
    given: dict[str, Any] = {}
    if endpoint == "private network":
        given["backchannel_logout_uri"] = "https://10.0.0.1/logout"
    elif endpoint == "closed":
        given["backchannel_logout_uri"] = "http://127.0.0.1:9/logout"
    bad = await told(server, relying_party, "/bad") if not given else await application(server, **given)
    answers = {"redirects": MOVED % relying_party.base.encode(), "huge": HUGE, "refuses": NO}
    relying_party.answers = {"/bad": answers[endpoint]} if endpoint in answers else {}
    if endpoint == "silent":
        monkeypatch.setattr("watchword.fetch.request.TIMEOUT", 0.2)
        bad = await application(server, backchannel_logout_uri=await silent_endpoint())
    for client in (honest, bad):
        await connect(ada, client)
    await sign_out(ada)
    await deliver(server)
    assert [path for path, _ in relying_party.told if path != "/bad"] == ["/honest"]
    pauses = []
    for attempt in range(1, len(logout_delivery.PAUSES) + 1):
        ((client_id, attempts, next_at),) = await waiting(server)
        assert (client_id, attempts) == (bad.client.client_id, attempt)
        pauses.append(next_at - server.runtime.now())
        before = len(relying_party.told)
        await deliver(server)
        assert len(relying_party.told) == before, "not before its time"
        server.clock.advance(pauses[-1])
        await deliver(server)
    assert pauses == sorted(pauses) == list(logout_delivery.PAUSES)
    assert sum(pauses) < DAY
    assert await waiting(server) == [], "given up"
    assert await undelivered(server) == {bad.client.client_id: len(pauses) + 1}
    assert "/elsewhere" not in [path for path, _ in relying_party.told]


async def test_a_notice_that_is_given_up_takes_no_other_of_its_client_or_session_with_it(
    ada: Person, relying_party: RelyingParty
) -> None:
    server = ada.server
    clients_here = [await told(server, relying_party, path) for path in ("/one", "/two")]
    names = [client.client.client_id for client in clients_here]
    relying_party.answers = {"/one": NO, "/two": NO}
    for client in clients_here:
        await connect(ada, client)
    await sign_out(ada)
    for pause in logout_delivery.PAUSES:
        await deliver(server)
        server.clock.advance(pause)
    later = Person(server, another(server))
    await later.sign_in()
    await connect(later, clients_here[0])
    await sign_out(later)
    await deliver(server)
    assert (await undelivered(server)).keys() == set(names), "each is recorded"
    assert [(client_id, attempts) for client_id, attempts, _ in await waiting(server)] == [(names[0], 1)]
    relying_party.answers, before = {}, len(relying_party.told)
    server.clock.advance(logout_delivery.PAUSES[0])
    await deliver(server)
    assert [path for path, _ in relying_party.told[before:]] == ["/one"], "who signed out later is made known"


async def silent_endpoint() -> str:
    """Listen on a port and say nothing, for as long as the test runs."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(wait, "127.0.0.1", 0)
    return f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/logout"


async def test_a_client_that_comes_back_is_told(ada: Person, relying_party: RelyingParty) -> None:
    client = await told(ada.server, relying_party)
    relying_party.answers = {"/logout": b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"}
    await connect(ada, client)
    await sign_out(ada)
    await deliver(ada.server)
    relying_party.answers = {}
    ada.server.clock.advance(logout_delivery.PAUSES[0])
    await deliver(ada.server)
    first, second = relying_party.tokens()
    assert first["sid"] == second["sid"]
    assert first["jti"] != second["jti"], "a client that saw the first does not take the second for a replay"
    assert await waiting(ada.server) == []
    assert await undelivered(ada.server) == {}


async def test_a_client_that_does_not_answer_is_left_alone_with_all_that_waits_for_it(
    ada: Person, relying_party: RelyingParty
) -> None:
    server = ada.server
    bad, good = await told(server, relying_party, "/bad"), await told(server, relying_party, "/good")
    relying_party.answers = {"/bad": NO}
    for _ in range(20):
        person = Person(server, another(server))
        server.clock.advance(60)
        await person.sign_in()
        await connect(person, bad)
        await connect(person, good)
        await sign_out(person)
    await deliver(server)
    paths = [path for path, _ in relying_party.told]
    assert paths.count("/good") == 20
    assert paths.count("/bad") == logout_notices.CLAIMED_OF_ONE
    assert len(await waiting(server)) == 20


async def test_a_notice_whose_worker_died_is_delivered_by_another(
    ada: Person, relying_party: RelyingParty
) -> None:
    server = ada.server
    await connect(ada, await told(server, relying_party))
    await sign_out(ada)
    (lost,) = await server.runtime.database.write(logout_notices.claim_notices, server.runtime.now())
    assert lost.attempts == 1
    await deliver(server)
    assert relying_party.told == [], "it is in another worker's hands"
    server.clock.advance(logout_notices.LEASE)
    await deliver(server)
    assert len(relying_party.told) == 1


async def test_word_that_could_not_be_brought_within_a_day_is_given_up_and_recorded(
    ada: Person, relying_party: RelyingParty
) -> None:
    client = await told(ada.server, relying_party)
    await connect(ada, client)
    await sign_out(ada)
    ada.server.clock.advance(logout_notices.LIFETIME)
    await deliver(ada.server)
    assert relying_party.told == []
    assert await waiting(ada.server) == []
    assert await undelivered(ada.server) == {client.client.client_id: 0}


@pytest.mark.parametrize("change", ["deleted", "disabled", "without address"])
async def test_a_client_that_is_to_hear_no_more_hears_nothing(
    ada: Person, relying_party: RelyingParty, change: str
) -> None:
    server = ada.server
    client = await told(server, relying_party)
    await connect(ada, client)
    await sign_out(ada)
    client_id = client.client.client_id
    if change == "deleted":
        await client_registry.delete(server.runtime, client_id, actor="test")
    else:
        given = client_metadata.to_input(client.client)
        address = None if change == "without address" else given.backchannel_logout_uri
        changed = client_metadata.ClientInput(
            **{name: getattr(given, name) for name in given.__struct_fields__} | {"backchannel_logout_uri": address}
        )  # fmt: skip
        await client_registry.change(
            server.runtime, client_id, changed, expected_version=None, disabled=change == "disabled", actor="test"
        )  # fmt: skip
    await deliver(server)
    assert relying_party.told == []
    assert await waiting(server) == []
    assert await undelivered(server) == {}


async def test_of_two_nodes_each_client_is_told_by_one(
    store: Store, tmp_path: Path, relying_party: RelyingParty
) -> None:
    options = {"database": store.address, "key_file": str(tmp_path / "key"), "fetch_allow_loopback": True}
    async with open_server(tmp_path, **options) as one, open_server(tmp_path, **options) as two:
        await make(one)
        ada = Person(one, another(one))
        await ada.sign_in()
        for number in range(40):
            await connect(ada, await told(one, relying_party, f"/{number}"))
        await sign_out(ada)
        await together(*(deliver(node) for node in (one, two, one, two)))
        assert sorted(path for path, _ in relying_party.told) == sorted(f"/{number}" for number in range(40))
