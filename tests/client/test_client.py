"""The client against the real server and a guarded API: tokens that are there when needed, and go nowhere else."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import requests
from tests.client.conftest import Api, Foreign
from tests.client.ways import READ, WAYS, Ask, by_async_httpx, by_httpx, secret_of
from tests.fixtures.live import Live
from tests.fixtures.servers import free_port

from watchword.client import (
    ApiToken,
    ClientSecret,
    HttpxAuth,
    PrivateKey,
    PublicClient,
    Refused,
    TokenExchange,
    TokenSource,
    Unreachable,
    WrongAddress,
)
from watchword.client.credential import Source
from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.jose import jwk


@WAYS
@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "DPoP"])
def test_a_request_carries_a_token_that_the_api_accepts(live: Live, api: Api, ask: Ask, dpop: bool) -> None:
    source = TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=dpop)
    for _ in range(2):
        assert ask(source, f"{api.address}/orders?page=2", content=b"text") == 200
    scheme = "DPoP" if dpop else "Bearer"
    presented = [seen["authorization"] for seen in api.seen]
    assert presented == [f"{scheme} {source.token()}"] * 2, "one token for both"


@pytest.mark.parametrize("method", ["basic", "post", "private key", "secret with every character"])
def test_a_client_proves_who_it_is_by_each_method(live: Live, api: Api, method: str) -> None:
    key = jwk.generate("ES256")
    if method == "private key":
        jwks = {"keys": [jwk.public_document(key)]}
        client = live.client(token_endpoint_auth_method="private_key_jwt", jwks=jwks, scope="orders:read")
        source = TokenSource(live.issuer, PrivateKey(client.client.client_id, key), READ, api=api.address)
    else:
        given = {"token_endpoint_auth_method": "client_secret_post"} if method == "post" else {}
        secret = secret_of(live, **given)
        identity = ClientSecret(secret.client_id, secret.secret, "post" if method == "post" else "basic")
        source = TokenSource(live.issuer, identity, READ, api=api.address)
    assert by_httpx(source, f"{api.address}/orders") == 200
    assert "secret" not in repr(source).lower()


def test_a_wrong_secret_is_told_apart_from_a_server_out_of_reach(live: Live, api: Api) -> None:
    good = secret_of(live)
    assert TokenSource(live.issuer, good, READ, api=api.address).token()
    wrong = TokenSource(live.issuer, ClientSecret(good.client_id, "wrong"), READ, api=api.address)
    with pytest.raises(Refused, match="invalid_client"):
        wrong.token()
    nowhere = TokenSource(f"http://localhost:{free_port()}", good, READ, api=api.address)
    with pytest.raises(Unreachable):
        nowhere.token()


class Counting(httpx.HTTPTransport):
    """Counts the requests for tokens; while it is `down`, none gets through."""

    tokens = 0
    down = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Count, and send on."""
        if self.down:
            raise httpx.ConnectError("down")
        self.tokens += request.url.path == "/token"
        return super().handle_request(request)


def counted(live: Live, api: Api, **given: Any) -> tuple[TokenSource, Counting]:
    """A source that lives by the server's clock, and the counter of its requests."""
    counting = Counting()
    http = httpx.Client(transport=counting)
    wanted = {"api": api.address, "http": http, "clock": live.clock} | given
    return TokenSource(live.issuer, wanted.pop("client", None) or secret_of(live), READ, **wanted), counting


def test_of_many_threads_one_asks(live: Live, api: Api) -> None:
    source, counting = counted(live, api)
    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(lambda _: source.token(), range(40)))) == 1
    assert counting.tokens == 1


async def test_of_many_tasks_one_asks(live: Live, api: Api) -> None:
    source, counting = counted(live, api)
    async with httpx.AsyncClient(auth=HttpxAuth(source)) as client:
        answers = await asyncio.gather(*(client.get(f"{api.address}/orders") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert counting.tokens == 1


def test_a_token_is_renewed_before_its_end_and_kept_while_nobody_answers(live: Live, api: Api) -> None:
    source, counting = counted(live, api)
    first = source.token()
    live.clock.advance(live.app.settings.access_token_lifetime - 31)
    assert source.token() == first
    live.clock.advance(2)
    counting.down = True
    assert source.token() == first, "still good, and nobody has another"
    counting.down = False
    live.clock.advance(5)
    second = source.token()
    assert second != first
    counting.down = True
    live.clock.advance(live.app.settings.access_token_lifetime)
    with pytest.raises(Unreachable):
        source.token()


@WAYS
def test_a_refused_token_is_replaced_once_and_the_request_repeated(live: Live, api: Api, ask: Ask) -> None:
    secret = secret_of(live)
    source, counting = counted(live, api, client=secret)
    assert ask(source, f"{api.address}/orders", content=b"text") == 200
    first = source.token()
    httpx.post(
        f"{live.issuer}/revoke", data={"token": first}, auth=(secret.client_id, secret.secret)
    ).raise_for_status()
    live.clock.advance(2)
    assert ask(source, f"{api.address}/orders", content=b"text") == 200
    assert (source.token() != first, counting.tokens) == (True, 2)
    live.clock.advance(2)
    assert ask(source, f"{api.address}/free", content=b"text") == 401
    assert counting.tokens == 3, "an API that refuses everything costs one more token, not a loop"


@WAYS
def test_a_person_who_has_to_sign_in_again_costs_no_token(live: Live, api: Api, ask: Ask) -> None:
    source, counting = counted(live, api)
    assert ask(source, f"{api.address}/orders", content=b"") == 200
    live.clock.advance(2)
    assert ask(source, f"{api.address}/step-up", content=b"") == 401
    assert (counting.tokens, len(api.seen)) == (1, 2), "another token would be refused for the same reason"


@WAYS
@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "DPoP"])
def test_no_credential_follows_a_redirect_to_another_origin(
    live: Live, api: Api, foreign: Foreign, ask: Ask, dpop: bool
) -> None:
    source = TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=dpop)
    api.elsewhere = f"{api.address}/orders"
    assert ask(source, f"{api.address}/away", content=b"text") == 200, (
        "with a proof for the address at its end"
    )
    api.elsewhere = f"{foreign.issuer}/token"
    ask(source, f"{api.address}/away", content=b"")
    assert foreign.headers
    assert not [sent for sent in foreign.headers if {"authorization", "dpop"} & sent.keys()]


def test_a_program_that_watches_its_connections_goes_on_seeing_them(live: Live, api: Api) -> None:
    source = TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=True)
    seen: list[str] = []

    async def watch(event: str, _: object) -> None:
        seen.append(event)

    watched = {"trace": lambda event, _: seen.append(event)}
    assert by_httpx(source, f"{api.address}/orders", extensions=watched) == 200
    at_once = seen.copy()
    seen.clear()
    assert by_async_httpx(source, f"{api.address}/orders", extensions={"trace": watch}) == 200
    assert at_once == seen
    assert "http11.send_request_headers.started" in seen


def test_a_request_that_is_sent_again_and_again_is_left_as_it_was_made(live: Live, api: Api) -> None:
    source = TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=True)
    seen: list[str] = []
    watch = lambda event, _: seen.append(event)  # noqa: E731 - to be recognised
    with httpx.Client(auth=HttpxAuth(source)) as client:
        for extensions in ({}, {"trace": watch}):
            request = client.build_request("POST", f"{api.address}/orders", extensions=extensions)
            made = dict(request.extensions)
            for _ in range(2):
                assert client.send(request).status_code == 200
                assert request.extensions == made

    async def ask() -> None:
        async with httpx.AsyncClient(auth=HttpxAuth(source)) as client:
            request = client.build_request("POST", f"{api.address}/orders")
            made = dict(request.extensions)
            assert (await client.send(request)).status_code == 200
            assert request.extensions == made

    asyncio.run(ask())
    assert seen.count("http11.send_request_headers.started") == 2


ELSEWHERE = (
    "http://api.example.com/orders",
    "https://evil.example.com/",
    "http://localhost:1/",
    "https://a@localhost/",
    "ftp://x/",
)


@WAYS
def test_a_credential_goes_to_its_api_only(live: Live, api: Api, ask: Ask) -> None:
    sources: list[Source] = [
        TokenSource(live.issuer, secret_of(live), READ, api=api.address),
        ApiToken("wwa_x", api.address),
    ]
    for source, address in itertools.product(sources, ELSEWHERE):
        with pytest.raises((WrongAddress, httpx.UnsupportedProtocol, requests.exceptions.InvalidSchema)):
            ask(source, address)


@pytest.mark.parametrize(
    "address", ["http://auth.example.com", "http://10.0.0.1", "localhost", "https://u:p@a.example"]
)
def test_an_issuer_or_an_api_in_the_clear_is_refused_at_once(address: str) -> None:
    good = "https://a.example"
    assert TokenSource(good, PublicClient("x"), READ, api=good)
    with pytest.raises(WrongAddress):
        TokenSource(address, PublicClient("x"), READ, api=good)
    with pytest.raises(WrongAddress):
        TokenSource(good, PublicClient("x"), READ, api=address)
    with pytest.raises(WrongAddress):
        ApiToken("wwa_x", address)


def test_an_issuer_whose_name_ends_with_a_slash_is_found_all_the_same(foreign: Foreign) -> None:
    named = foreign.issuer + "/"
    foreign.metadata = {"issuer": named}
    api = "https://api.example.com"
    assert TokenSource(named, ClientSecret("a", "b"), READ, api=api).token() == "token-1"


HOSTILE: dict[str, tuple[dict[str, Any], Any, int]] = {
    "names another issuer": ({"issuer": "https://evil.example.com"}, None, 200),
    "names no token endpoint": ({"token_endpoint": 5}, None, 200),
    "sends its clients into the clear": ({"token_endpoint": "http://evil.example.com/token"}, None, 200),
    "has an endpoint that is no address": ({"token_endpoint": "http://["}, None, 200),
    "answers with something else than JSON": ({}, b"<html>", 200),
    "answers with a list": ({}, [], 200),
    "answers without end": ({}, b"[" * 300_000, 200),
    "nests without end": ({}, b"[" * 100_000, 200),
    "gives no token": ({}, {"token_type": "Bearer"}, 200),
    "gives a token that breaks out of its header": (
        {},
        {"access_token": "a\r\nx: y", "token_type": "Bearer"},
        200,
    ),
    "gives a token of a type that is not understood": ({}, {"access_token": "a", "token_type": "mac"}, 200),
    "fails": ({}, {"error": "server_error"}, 500),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_issuer_is_not_believed_that(foreign: Foreign, case: str) -> None:
    api = "https://api.example.com"
    assert TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=api).token() == "token-1"
    foreign.metadata, foreign.answer, foreign.status = HOSTILE[case]
    with pytest.raises((Unreachable, WrongAddress)):
        TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=api).token()


def test_nonces_are_learned_from_both_servers(live: Live, api: Api, foreign: Foreign) -> None:
    foreign.needs_nonce = True
    source = TokenSource(foreign.issuer, PublicClient("a"), READ, api=api.address, dpop=True)
    assert source.token() == "token-2", "the first was refused for want of a nonce (RFC 9449 §8)"
    with httpx.Client(auth=HttpxAuth(source)) as client:
        assert client.get(f"{api.address}/nonce").status_code == 200
        assert client.get(f"{api.address}/nonce").status_code == 200
    assert len(api.seen) == 3, "refused once for want of a nonce (RFC 9449 §9), then known"


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_wrong_does_not_matter(live: Live, api: Api, minutes: int) -> None:
    key = jwk.generate("ES256")
    jwks = {"keys": [jwk.public_document(key)]}
    client = live.client(token_endpoint_auth_method="private_key_jwt", jwks=jwks, scope="orders:read")
    source = TokenSource(
        live.issuer,
        PrivateKey(client.client.client_id, key),
        READ,
        api=api.address,
        dpop=True,
        clock=lambda: time.time() + 60 * minutes,
    )
    assert by_httpx(source, f"{api.address}/orders") == 200


def test_an_api_token_is_presented_and_bound_where_it_has_a_key(live: Live, api: Api) -> None:
    key = jwk.generate("ES256")
    for jkt, held in ((None, None), (key.thumbprint, key)):
        given = TokenInput(name="t", scope="orders:read", jkt=jkt)
        issued = live.run(
            api_tokens.create(live.runtime, given, owner=("application", "application:x"), actor="test")
        )
        source = ApiToken(issued.secret, api.address, held)
        assert by_httpx(source, f"{api.address}/orders") == 200
        if held is not None:
            seen = len(api.seen)
            for _ in range(2):
                assert by_httpx(source, f"{api.address}/nonce") == 200
            assert len(api.seen) == seen + 3, "refused once for want of a nonce (RFC 9449 §9), then known"
        assert issued.secret not in repr(ApiToken(issued.secret, api.address, held))


def test_a_token_exchange_asks_with_what_the_subject_has_now(foreign: Foreign) -> None:
    subjects = iter(["first", "second"])
    grant = TokenExchange(lambda: next(subjects), resource="https://b.example", actor_token=lambda: "me")
    source = TokenSource(foreign.issuer, ClientSecret("a", "b"), grant, api="https://b.example")
    assert source.token() == "token-1"
    assert foreign.forms[0] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": "first",
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "resource": "https://b.example",
        "actor_token": "me",
        "actor_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }


def test_what_was_got_for_one_subject_is_never_presented_for_another(foreign: Foreign) -> None:
    subject = "ada's"
    source = TokenSource(
        foreign.issuer, ClientSecret("a", "b"), TokenExchange(lambda: subject), api="https://b.example"
    )
    assert [source.token(), source.token()] == ["token-1", "token-1"]
    subject = "grace's"
    assert not source.is_ready()
    assert source.present("GET", "https://b.example/")["authorization"] == "Bearer token-2"
    subject = "ada's"
    assert source.token() == "token-3"
    assert [form["subject_token"] for form in foreign.forms] == ["ada's", "grace's", "ada's"]


def test_the_client_needs_the_base_install_only() -> None:
    program = "import sys, json, watchword.client; print(json.dumps(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"starlette", "requests", "typer", "argon2", "sqlite3", "keyring"} & set(
        json.loads(done.stdout)
    )


FORKING = """
import os, sys, threading
from watchword.client import ClientCredentials, ClientSecret, TokenSource
issuer, client_id, secret = sys.argv[1:]
made = []
def source():
    return TokenSource(issuer, ClientSecret(client_id, secret), ClientCredentials("orders:read"), api="https://a.example")
shared = source()
shared.token()
held = shared._store.lock()
held.__enter__()  # as another thread may at the very moment
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        for _ in range(20):
            token = shared.token()
            assert token not in made
            made.append(token)
            shared.heard("https://a.example/", 401, {}, "Bearer " + token)  # so that another one is fetched
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_forked_workers_share_neither_connections_nor_locks(live: Live) -> None:
    secret = secret_of(live)
    arguments = [live.issuer, secret.client_id, secret.secret]
    done = subprocess.run(
        [sys.executable, "-c", FORKING, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
