"""The revocation feed from end to end: what ends at a server with several workers, or on another node, is dead at every guard.

The guards here refuse when the feed is silent and have patience with silence, so that nothing but the feed can tell them that a
token has ended. How fast that is, `make bench` measures.
"""

import contextlib
import hashlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from tests.fixtures.browser import Browser
from tests.fixtures.cable import Cable
from tests.fixtures.commands import run_cli
from tests.fixtures.json_handler import JsonHandler, listen
from tests.fixtures.live import Live
from tests.fixtures.postgres import Store
from tests.fixtures.servers import basic, free_port, open_server, serve

from watchword.flows import api_tokens, sessions
from watchword.flows.clients import client_registry
from watchword.guard import Guard, Principal, Refused, background
from watchword.guard.feed import Feed
from watchword.guard.issuer import Issuer
from watchword.guard.keys import KeySet
from watchword.guard.presented import Presented
from watchword.guard.trusted import Trusted
from watchword.jose import jws, jwt
from watchword.jose.jwk import b64encode
from watchword.oauth import ended
from watchword.oauth.ended import mark
from watchword.store import grants, user_changes

PATIENCE = 20.0
VERIFIER = "v" * 43
EVENTS = {"accept": "text/event-stream"}


def shown(token: str) -> Presented:
    """Return what a request with a token presents."""
    return Presented(authorization=(f"Bearer {token}",))


def accepted(guard: Guard, token: str) -> Principal | None:
    """Return the caller, None when the token is not valid; any other refusal is an error."""
    try:
        return guard.authenticate_sync(shown(token))
    except Refused as refused:
        if refused.error != "invalid_token":
            raise
        return None


def until(met: Callable[[], object]) -> None:
    """Wait until something is so."""
    begun = time.monotonic()
    while not met():
        assert time.monotonic() - begun < PATIENCE, "it did not happen"
        time.sleep(0.01)


@contextlib.contextmanager
def guarding(issuer: str, **options: Any) -> Iterator[Guard]:
    """Return a guard that only the feed can tell of revocations."""
    guard = Guard(issuer, **{"when_silent": "refuse", "silence": 3 * PATIENCE} | options)
    try:
        yield guard
    finally:
        background.run(guard.close())


def client_of(folder: Path) -> tuple[str, str]:
    """Register a client by the command line and return its identifier and secret."""
    made = json.loads(run_cli(folder, "client", "create", "c", "--scope", "orders:read", "--json").stdout)
    return made["client_id"], made["client_secret"]


def jwt_of(issuer: str, client: tuple[str, str]) -> str:
    """Return a fresh access token of a client."""
    form = {"grant_type": "client_credentials"}
    token: str = httpx.post(f"{issuer}/token", data=form, auth=client).json()["access_token"]
    return token


def revoke(issuer: str, client: tuple[str, str], token: str) -> None:
    """Revoke a token, by whichever worker answers."""
    assert httpx.post(f"{issuer}/revoke", data={"token": token}, auth=client).status_code == 200


def test_mn_01_what_any_worker_ends_is_dead_at_every_guard(tmp_path: Path) -> None:
    with serve(tmp_path, "--workers", "3") as process, contextlib.ExitStack() as opened:
        client = client_of(tmp_path)
        guards = [opened.enter_context(guarding(process.issuer)) for _ in range(4)]
        for _ in range(3):
            token, other = jwt_of(process.issuer, client), jwt_of(process.issuer, client)
            for guard in guards:
                assert accepted(guard, token)
                assert accepted(guard, other)
            revoke(process.issuer, client, token)
            for guard in guards:
                until(lambda guard=guard, token=token: not accepted(guard, token))
                assert accepted(guard, other), "the tokens that did not end are good"
        process.process.terminate()
        process.process.wait(timeout=PATIENCE)  # the streams of the guards do not hold the server up


def sign_in(live: Live, registered: Any, scope: str) -> str:
    """Sign a person in for a client and return the access token."""
    challenge = b64encode(hashlib.sha256(VERIFIER.encode()).digest())
    asked = {
        "client_id": registered.client.client_id, "response_type": "code", "redirect_uri": "https://app.example.com/cb",
        "scope": scope, "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    came_back = Browser(live.issuer).visit(f"{live.issuer}/authorize?{urlencode(asked)}")
    form = {
        "grant_type": "authorization_code", "code": parse_qs(urlsplit(came_back).query)["code"][0],
        "redirect_uri": "https://app.example.com/cb", "code_verifier": VERIFIER,
    }  # fmt: skip
    answer = httpx.post(f"{live.issuer}/token", data=form, headers={"authorization": basic(registered)})
    token: str = answer.json()["access_token"]
    return token


async def end_grants(live: Live, user: Any, token: str) -> None:
    grant_id = str(claims_of(token)["grant_id"])
    await live.runtime.database.write(
        grants.end_grant, grant_id, reason="test", actor="test", now=live.runtime.now()
    )


async def end_client(live: Live, user: Any, token: str) -> None:
    await client_registry.delete(live.runtime, str(claims_of(token)["client_id"]), actor="test")


async def end_key(live: Live, user: Any, token: str) -> None:
    await live.runtime.keyring.revoke(str(jws.peek(token).kid), actor="test")


async def sign_out_everywhere(live: Live, user: Any, token: str) -> None:
    await sessions.end_all(live.runtime, user.id, actor="test")


async def disable(live: Live, user: Any, token: str) -> None:
    now = live.runtime.now()
    await live.runtime.database.write(user_changes.set_disabled, user.id, True, actor="test", now=now)


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token, not verified."""
    return jwt.read_claims(jws.b64decode(token.split(".")[1]))


@pytest.mark.parametrize(
    ("end", "scope"),
    [
        pytest.param(sign_out_everywhere, "openid", id="the sign-out of its person"),
        pytest.param(disable, "openid offline_access", id="the end of the account"),
        pytest.param(end_grants, "openid offline_access", id="the end of its grant"),
        pytest.param(end_client, "openid offline_access", id="the end of its client"),
        pytest.param(end_key, "openid", id="the withdrawal of the key that signed it"),
    ],
)
def test_tk_02_a_jwt_ends_at_the_guard_with(live: Live, end: Callable[..., Any], scope: str) -> None:
    user = live.user()
    registered = live.client(
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=["https://app.example.com/cb"],
        scope="openid offline_access",
    )
    token = sign_in(live, registered, scope)
    introspection: dict[str, Any] = {
        "data": {"token": token},
        "headers": {"authorization": basic(registered)},
    }
    with guarding(live.issuer, clock=live.clock) as guard:
        assert accepted(guard, token)
        assert httpx.post(f"{live.issuer}/introspect", **introspection).json()["active"] is True
        live.run(end(live, user, token))
        answer = httpx.post(f"{live.issuer}/introspect", **introspection)
        assert answer.status_code == 401 or answer.json() == {"active": False}, (
            "dead by introspection at once"
        )
        until(lambda: not accepted(guard, token))


def test_a_token_that_outlives_sign_out_by_consent_does(live: Live) -> None:
    user = live.user()
    registered = live.client(
        grant_types=["authorization_code", "refresh_token"],
        redirect_uris=["https://app.example.com/cb"],
        scope="openid offline_access",
    )
    lasting = sign_in(live, registered, "openid offline_access")
    ending = sign_in(live, registered, "openid")
    with guarding(live.issuer, clock=live.clock) as guard:
        assert accepted(guard, lasting)
        assert accepted(guard, ending)
        live.run(sessions.end_all(live.runtime, user.id, actor="test"))
        until(lambda: not accepted(guard, ending))
        assert accepted(guard, lasting)


def test_a_guard_that_was_cut_off_misses_nothing(tmp_path: Path) -> None:
    port, behind = free_port(), free_port()
    issuer = f"http://localhost:{port}"
    with Cable(port, behind) as cable, serve(tmp_path, "--issuer", issuer, port=behind):
        client = client_of(tmp_path)
        with guarding(issuer) as guard:
            ended_before, ended_after, kept = (jwt_of(issuer, client) for _ in range(3))
            for token in (ended_before, ended_after, kept):
                assert accepted(guard, token)
            cable.pull()
            for token in (ended_before, ended_after):
                revoke(f"http://localhost:{behind}", client, token)
            assert accepted(guard, ended_before), "nothing has told the guard yet"
            cable.plug_in()
            for token in (ended_before, ended_after):
                until(lambda token=token: not accepted(guard, token))
            assert accepted(guard, kept)


@pytest.mark.parametrize("policy", ["introspect", "refuse"])
def test_a_guard_does_as_it_was_told_when_the_feed_is_silent(tmp_path: Path, policy: str) -> None:
    port, behind = free_port(), free_port()
    issuer = f"http://localhost:{port}"
    with Cable(port, behind) as cable, serve(tmp_path, "--issuer", issuer, port=behind):
        client = client_of(tmp_path)
        with guarding(issuer, when_silent=policy, silence=1.5) as guard:
            token = jwt_of(issuer, client)
            assert accepted(guard, token)
            cable.pull()
            statuses: list[int] = []

            def refused() -> bool:
                try:
                    return guard.authenticate_sync(shown(token)) is None
                except Refused as refusal:
                    statuses.append(refusal.status)
                    return True

            until(refused)
            assert statuses == [503], "it cannot be told now: neither good nor bad"
            cable.plug_in()
            until(lambda: not refused())


def test_where_nothing_can_be_pushed_the_feed_is_polled(tmp_path: Path) -> None:
    with serve(tmp_path, variables={"WATCHWORD_REVOCATION_STREAMS": "0"}) as process:
        client = client_of(tmp_path)
        pushed = httpx.get(f"{process.issuer}/revocations", headers=EVENTS)
        assert (pushed.status_code, pushed.headers["retry-after"]) == (503, "5")
        with guarding(process.issuer) as guard:
            token = jwt_of(process.issuer, client)
            assert accepted(guard, token)
            revoke(process.issuer, client, token)
            until(lambda: not accepted(guard, token))


def test_a_stream_that_ends_before_it_tells_anything_is_not_begun_over_and_over() -> None:
    asked: list[str] = []

    class Between(JsonHandler):
        def get(self) -> tuple[int, Any]:
            here = f"http://localhost:{proxy.server_port}"
            if "well-known" in self.path:
                return 200, {"issuer": here, "watchword_revocations_endpoint": f"{here}/revocations"}
            asked.append(self.headers["accept"])
            return 200, None

        def answer(self, status: int, document: Any) -> None:
            if document is not None:
                super().answer(status, document)
                return
            self.send_response(status)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()  # and no more, until the connection ends

    proxy = listen(Between)
    trusted = Trusted(issuer=f"http://localhost:{proxy.server_port}")
    issuer = Issuer(trusted)
    feed = Feed(issuer, KeySet(issuer), silence=5.0, clock=time.time)
    feed.start()
    try:
        until(lambda: len(asked) >= 2)
        assert asked[:2] == ["text/event-stream", "application/jwt"], "it asks for pages instead"
    finally:
        feed.stop()
        background.run(issuer.close())
        proxy.shutdown()


def test_a_forked_child_follows_by_itself(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        client = client_of(tmp_path)
        token = jwt_of(process.issuer, client)
        with guarding(process.issuer) as guard:
            assert accepted(guard, token)
            child = os.fork()
            if child == 0:
                with contextlib.suppress(BaseException):
                    until(lambda: not accepted(guard, token))
                    os._exit(0)
                os._exit(1)
            revoke(process.issuer, client, token)
            assert os.waitpid(child, 0)[1] == 0
            until(lambda: not accepted(guard, token))


async def test_mn_01_what_one_node_ends_the_feed_of_another_tells(store: Store, tmp_path: Path) -> None:
    async with (
        open_server(tmp_path, on=store.address) as one,
        open_server(tmp_path, on=store.address) as other,
    ):
        client = await one.client()
        for _ in range(3):
            token = (await one.grant(client)).json()["access_token"]
            assert (await other.post("/introspect", client, token=token)).json()["active"] is True
            await one.post("/revoke", client, token=token)
            marks = set()
            deadline = time.monotonic() + PATIENCE
            while mark("token", claims_of(token)["jti"]) not in marks:
                assert time.monotonic() < deadline, "the other node never told"
                page = claims_of((await other.http.get("/revocations")).text)
                marks = {entry[0] for entry in page["ended"]}


async def test_pages_follow_on_one_another_and_tell_nothing_but_marks(store: Store, tmp_path: Path) -> None:
    async with open_server(tmp_path, on=store.address) as server:
        issued = [await server.token() for _ in range(ended.PAGE + 5)]
        for one in issued:
            await api_tokens.revoke(server.runtime, one.token.id, actor="test")
        first = await server.http.get("/revocations")
        assert first.headers["content-type"] == "application/jwt"
        pages = [claims_of(first.text)]
        while pages[-1]["more"]:
            asked = {"after": pages[-1]["position"]}
            pages.append(claims_of((await server.http.get("/revocations", params=asked)).text))
        told = [entry[0] for page in pages for entry in page["ended"]]
        assert [len(page["ended"]) for page in pages] == [ended.PAGE, 5]
        assert sorted(told) == sorted(mark("token", one.token.id) for one in issued)
        assert all(len(first.text) < jws.MAX_TOKEN for page in pages)
        again = claims_of((await server.http.get("/revocations?after=another-feed.7")).text)
        assert again["ended"] == pages[0]["ended"], "an unknown position is the beginning"


def test_followers_are_few_enough_and_counted_off_when_they_leave(live: Live) -> None:
    limit = live.app.settings.revocation_streams
    followers = live.runtime.feed._followers
    with httpx.Client(base_url=live.issuer) as http:
        with http.stream("GET", "/revocations", headers=EVENTS) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("id:")
            assert followers.total() == 1
        until(lambda: not followers.total())
        followers["127.0.0.1"] = limit // 2
        assert http.get("/revocations", headers=EVENTS).status_code == 503, (
            "one address does not take them all"
        )
        followers.clear()
        followers["192.0.2.1"] = limit
        assert http.get("/revocations", headers=EVENTS).status_code == 503
        assert http.get("/revocations").status_code == 200, "its pages can be asked for all the same"
        followers.clear()


def test_who_does_not_read_holds_up_nobody(live: Live) -> None:
    parts = urlsplit(live.issuer)
    with socket.create_connection(("localhost", parts.port or 80)) as lazy:
        lazy.sendall(b"GET /revocations HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n")
        with httpx.stream("GET", f"{live.issuer}/revocations", headers=EVENTS) as answer:
            lines = answer.iter_lines()
            heard = [next(lines) for _ in range(6)]
        assert sum(line.startswith("data: ") for line in heard) == 2
