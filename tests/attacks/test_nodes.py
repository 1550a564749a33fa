"""MN: several nodes on one database, with announcements that get lost, and nobody notices."""

import asyncio
import contextlib
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.attacks.pairs import LATE, Pair, is_dead, knows, lateness, open_deaf_pair, open_pair, pair
from tests.fixtures.accounts import add_totp, another, code_of
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Cluster, Store
from tests.fixtures.servers import Server, free_port, open_server, together
from tests.flows.test_first_sign_in import csrf_of

from watchword.flows import one_time
from watchword.flows.clients import client_registry
from watchword.flows.users import accounts
from watchword.oauth.errors import OAuthError
from watchword.store import links

__all__ = ["pair"]


class Alternating(httpx.AsyncBaseTransport):
    """A balancer without sticky sessions: every request goes to the other node."""

    def __init__(self, *servers: Server) -> None:
        self._next = itertools.cycle(
            [httpx.ASGITransport(app=server.app, client=("127.0.0.1", 50_000)) for server in servers]
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand a request to whoever is next."""
        return await next(self._next).handle_async_request(request)


def balanced(pair: Pair) -> Server:
    """Return the two nodes as one server behind a balancer."""
    http = httpx.AsyncClient(transport=Alternating(*pair), base_url=pair[0].settings.issuer)
    return Server(pair[0].app, pair[0].clock, http, pair[0].settings)


@pytest.mark.parametrize("token_format", ["opaque", "jwt"])
async def test_mn_01_what_one_node_revokes_the_other_refuses(pair: Pair, token_format: str) -> None:
    a, b = pair
    client = await a.client(access_token_format=token_format, scope="introspect")
    await lateness(lambda: knows(b, client.client.client_id))
    for _ in range(3):
        token = (await a.grant(client)).json()["access_token"]
        assert (await b.post("/introspect", client, token=token)).json()["active"] is True
        assert (await a.post("/revoke", client, token=token)).status_code == 200
        await lateness(lambda token=token: is_dead(b, client, token))  # type: ignore[misc]  # bound at once


async def test_mn_01_a_revoked_api_token_is_refused_by_the_other_node(pair: Pair) -> None:
    a, b = pair
    issued = await a.token()
    headers = {"authorization": f"Bearer {issued.secret}"}
    assert (await b.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    assert (await a.http.post("/api/v1/tokens/self/revoke", headers=headers, json={})).status_code == 200

    async def is_refused() -> bool:
        return (await b.http.get("/api/v1/tokens/self", headers=headers)).status_code == 401

    await lateness(is_refused)


@pytest.mark.postgres
async def test_mn_01_a_node_whose_announcements_are_cut_off_is_late_by_less_than_a_second(
    postgres_store: Store, tmp_path: Path
) -> None:
    async with open_deaf_pair(postgres_store, tmp_path) as (a, deaf):
        client = await a.client(access_token_format="opaque", scope="introspect")
        await lateness(lambda: knows(deaf, client.client.client_id))
        measured = []
        for _ in range(4):
            token = (await a.grant(client)).json()["access_token"]
            assert (await deaf.post("/introspect", client, token=token)).json()["active"] is True
            assert (await a.post("/revoke", client, token=token)).status_code == 200
            measured.append(await lateness(lambda token=token: is_dead(deaf, client, token)))  # type: ignore[misc]  # bound at once
        assert statistics.median(measured) <= LATE, "but for what the machine itself holds up"


async def test_mn_02_a_flow_needs_no_sticky_sessions(pair: Pair) -> None:
    server = balanced(pair)
    client = await register(server, access_token_format="opaque")
    await lateness(lambda: knows(pair[1], client.client.client_id))
    answer = await obtain_code(server, client)
    tokens = (await redeem(server, client, answer["code"])).json()
    for _ in range(4):
        tokens = (await refresh(server, client, tokens["refresh_token"])).json()
        asked = await server.post("/introspect", client, token=tokens["access_token"])
        assert asked.json()["active"] is True
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    assert (await server.http.get("/userinfo", headers=headers)).status_code == 200


async def test_mn_03_of_twenty_registrations_of_one_name_one_succeeds(pair: Pair) -> None:
    async def create(server: Server) -> str:
        try:
            await accounts.create(server.runtime, username="grace", password=None, actor="test")
        except OAuthError as refused:
            return refused.code
        return "created"

    outcomes = await together(*(create(pair[n % 2]) for n in range(20)))
    assert outcomes.count("created") == 1
    assert set(outcomes) <= {"created", "conflict", "invalid_request"}


async def test_mn_04_a_code_redeemed_while_its_grant_is_revoked_buys_nothing_that_lives(pair: Pair) -> None:
    a, b = pair
    client = await register(a, access_token_format="opaque")
    await obtain_code(a, client)
    await lateness(lambda: knows(b, client.client.client_id))
    bought = 0
    for _ in range(6):
        code = await silent_code(a, client)
        grant = await newest_grant(a)
        got, _ = await together(
            redeem(a, client, code), b.runtime.database.write(end, grant, b.runtime.now())
        )
        assert got.status_code in (200, 400), got.text
        bought += got.status_code == 200
        if got.status_code == 200:
            token = got.json()["access_token"]
            for server in pair:
                await lateness(lambda s=server, t=token: is_dead(s, client, t))  # type: ignore[misc]  # bound at once
            assert (await refresh(a, client, got.json()["refresh_token"])).json()["error"] == "invalid_grant"
        else:
            assert got.json()["error"] == "invalid_grant"
    assert (await redeem(a, client, await silent_code(a, client))).status_code == 200, "the honest one works"


async def end(tx: object, grant: str, now: int) -> bool:
    """Revoke a grant."""
    from watchword.store import grants

    return await grants.end_grant(tx, grant, reason="revoked", actor="test", now=now)  # type: ignore[arg-type]  # a transaction


async def silent_code(server: Server, client: client_registry.Registered) -> str:
    """Return another code for the session."""
    from tests.flows.test_authorization_code import answer_of, request

    got = await server.http.get("/authorize", params=request(client, prompt="none"))
    return answer_of(got)["code"]


async def newest_grant(server: Server) -> str:
    """Return the grant that was made last."""

    async def newest(tx: object) -> str:
        rows = await tx.all("SELECT id FROM grants WHERE code_used_at IS NULL ORDER BY id")  # type: ignore[attr-defined]  # a transaction
        return str(rows[-1]["id"])

    return await server.runtime.database.read(newest)


async def test_mn_05_after_sign_out_on_one_node_no_refresh_on_the_other_gives_life(pair: Pair) -> None:
    a, b = pair
    client = await register(a, access_token_format="opaque")
    answer = await obtain_code(a, client)
    tokens = (await redeem(a, client, answer["code"])).json()
    await lateness(lambda: knows(b, client.client.client_id))
    assert (await refresh(b, client, tokens["refresh_token"])).status_code == 200, "the honest one works"
    answer = {"code": await silent_code(a, client)}
    tokens = (await redeem(a, client, answer["code"])).json()

    async def sign_out() -> httpx.Response:
        page = await a.http.get("/sign-out")
        return await a.http.post("/sign-out", data={"csrf": csrf_of(page.text), "decision": "sign_out"})

    gone, *refreshed = await together(
        sign_out(), *(refresh(b, client, tokens["refresh_token"]) for _ in range(5))
    )
    assert gone.status_code in (200, 303)
    made = [got.json() for got in refreshed if got.status_code == 200]
    assert all(got.status_code in (200, 400) for got in refreshed)
    for token in [tokens["access_token"], *(one["access_token"] for one in made)]:
        for server in pair:
            await lateness(lambda s=server, t=token: is_dead(s, client, t))  # type: ignore[misc]  # bound at once
    for token in {tokens["refresh_token"], *(one["refresh_token"] for one in made)}:
        for server in pair:
            assert (await refresh(server, client, token)).json()["error"] == "invalid_grant"


async def test_mn_06_one_time_password_over_two_nodes_is_good_once(pair: Pair) -> None:
    a, b = pair
    await accounts.create(a.runtime, username="ada", password=PASSWORD, actor="test")
    owner = Person(a, another(a))
    await owner.sign_in()
    key = await add_totp(owner)
    a.clock.advance(31)
    b.clock.now = a.clock.now
    async with another(a) as first, another(b) as second:
        people = [Person(a, first), Person(b, second)]
        for person in people:
            await person.sign_in()
            assert person.path == "/sign-in/second-factor"
        code = code_of(a, key)
        await together(*(person.send({"code": code}, having="method") for person in people))
        assert sorted(person.path for person in people) == ["/account", "/sign-in/second-factor"]


async def test_mn_06_a_one_time_link_over_two_nodes_is_good_once(pair: Pair) -> None:
    secret = await one_time.make(
        pair[0].runtime, purpose="invite", subject="x@example.com", data={}, lifetime=60
    )
    assert await one_time.peek(pair[1].runtime, secret, "invite") is not None
    outcomes = await together(
        *(
            pair[n % 2].runtime.database.write(
                links.use_link, one_time.digest(secret), "invite", pair[n % 2].runtime.now()
            )
            for n in range(10)
        )
    )
    assert len([outcome for outcome in outcomes if outcome is not None]) == 1


@pytest.mark.postgres
@pytest.mark.parametrize("state", ["40001", "40P01"], ids=["a serialization failure", "a deadlock"])
async def test_mn_07_a_conflict_is_tried_again_inside(
    postgres_store: Store, tmp_path: Path, state: str
) -> None:
    cluster = postgres_store.cluster
    assert cluster is not None
    name = postgres_store.address.rpartition("/")[2]
    async with open_pair(postgres_store.address, postgres_store.address, tmp_path) as (a, _):
        client = await register(a)
        answer = await obtain_code(a, client)
        # A sequence is not rolled back: the first three attempts fail, as when others are in the way.
        cluster.sql(
            "CREATE SEQUENCE attempts; CREATE FUNCTION conflict() RETURNS trigger AS $$ BEGIN "
            f"IF nextval('attempts') <= 3 THEN RAISE EXCEPTION 'conflict' USING ERRCODE = '{state}'; END IF; "
            "RETURN NEW; END $$ LANGUAGE plpgsql; "
            "CREATE TRIGGER conflict BEFORE UPDATE ON grants FOR EACH ROW EXECUTE FUNCTION conflict()",
            name,
        )
        tokens = (await redeem(a, client, answer["code"])).json()
        assert "refresh_token" in tokens, tokens
        cluster.sql("ALTER SEQUENCE attempts RESTART", name)
        assert (await refresh(a, client, tokens["refresh_token"])).status_code == 200
        # When it never ends the client hears so, and loses nothing.
        tokens = (await redeem(a, client, await silent_code(a, client))).json()
        cluster.sql("ALTER SEQUENCE attempts RESTART WITH -1000000 MINVALUE -1000000", name)
        refused = await refresh(a, client, tokens["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
        assert "retry-after" in refused.headers
        cluster.sql("DROP TRIGGER conflict ON grants", name)
        assert (await refresh(a, client, tokens["refresh_token"])).status_code == 200


@contextlib.contextmanager
def standby(store: Store, delay: str) -> Iterator[tuple[str, Cluster]]:
    """Run a standby of the cluster that is behind by a while."""
    cluster = store.cluster
    assert cluster is not None
    folder = Path(tempfile.mkdtemp(prefix="watchword-standby-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    copy = Cluster(folder, cluster.binaries, free_port(), cluster.password)
    try:
        source = f"host=127.0.0.1 port={cluster.port} user=watchword password={cluster.password}"
        cluster.run("pg_basebackup", "-D", str(copy.data), "-d", source, "-R", "-c", "fast")
        with (copy.data / "postgresql.auto.conf").open("a") as stream:
            stream.write(f"recovery_min_apply_delay = '{delay}'\n")
        copy.start()
        yield copy.address(store.address.rpartition("/")[2]), copy
    finally:
        with contextlib.suppress(RuntimeError):
            copy.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.postgres
async def test_mn_08_a_standby_that_is_behind_answers_lists_and_never_whether_a_token_lives(
    postgres_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await postgres_store.node()
    await postgres_store.close()
    with standby(postgres_store, "2s") as (address, copy):
        options = {"key_file": str(tmp_path / "key"), "database": postgres_store.address}
        async with open_server(tmp_path, database_replica=address, **options) as server:
            client = await server.client(access_token_format="opaque", scope="introspect")
            admin = await server.token(scope="watchword:tokens:read")
            headers = {"authorization": f"Bearer {admin.secret}"}

            async def listed() -> bool:
                answer = await server.http.get("/api/v1/tokens", headers=headers)
                assert answer.status_code == 200
                return admin.token.id in answer.text

            assert not await listed(), "the list is answered by the standby, which is behind"
            token = (await server.grant(client)).json()["access_token"]
            assert (await server.post("/introspect", client, token=token)).json()["active"] is True
            assert (await server.post("/revoke", client, token=token)).status_code == 200
            assert await is_dead(server, client, token), "introspection asks the primary"
            begun = time.monotonic()
            while not await listed():
                assert time.monotonic() - begun < 15
                await asyncio.sleep(0.05)
            assert "replica.unavailable" not in capsys.readouterr().err
            copy.stop()
            assert await listed(), "without the standby the primary answers"
            assert '"event": "replica.unavailable"' in capsys.readouterr().err, (
                "nobody would see it otherwise"
            )
