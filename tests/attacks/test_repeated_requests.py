"""Clients repeat a request on a connection byte for byte, and the server then parses nothing: each is judged all the same, as it comes."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.fixtures.live import Live, live
from tests.fixtures.servers import basic

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.http import KEPT_BODY

__all__ = ["live"]


class Caller:
    """A client that keeps one connection and repeats its heads."""

    def __init__(self, live: Live, client: Registered) -> None:
        self.connection = http.client.HTTPConnection("localhost", int(live.issuer.rpartition(":")[2]))
        self.connection.connect()
        self.socket = self.connection.sock
        self.headers = {"authorization": basic(client), "content-type": "application/x-www-form-urlencoded"}

    def post(self, path: str, *pairs: tuple[str, str]) -> tuple[int, Any]:
        """Send a form; return status and document."""
        self.connection.request("POST", path, urlencode(pairs), self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        assert self.connection.sock is self.socket, "it is the same connection"
        return answer.status, json.loads(body) if body else None

    def token(self, scope: str = "orders:read") -> Any:
        """Return a token."""
        status, document = self.post("/token", ("grant_type", "client_credentials"), ("scope", scope))
        assert status == 200, document
        return document


@pytest.fixture
def client(live: Live) -> Registered:
    return live.client(scope="orders:read orders:edit introspect")


@pytest.fixture
def caller(live: Live, client: Registered) -> Iterator[Caller]:
    made = Caller(live, client)
    yield made
    made.connection.close()


def test_a_repeated_request_gets_a_token_of_its_own(caller: Caller) -> None:
    assert len({caller.token()["access_token"] for _ in range(3)}) == 3


def test_each_body_gets_what_it_asks_for(caller: Caller) -> None:
    for scope in ("orders:read", "orders:read", "orders:edit", "orders:read", "orders:edit"):
        assert caller.token(scope)["scope"] == scope


def test_what_was_revoked_is_dead_for_who_asks_the_same_again(caller: Caller) -> None:
    token = ("token", caller.token()["access_token"])
    for _ in range(2):
        assert caller.post("/introspect", token)[1]["active"], "the honest variant"
    assert caller.post("/revoke", token)[0] == 200
    for _ in range(2):
        assert caller.post("/introspect", token) == (200, {"active": False})


def test_a_client_that_is_gone_gets_nothing_by_repeating_itself(
    live: Live, client: Registered, caller: Caller
) -> None:
    caller.token()
    caller.token()
    live.run(client_registry.delete(live.runtime, client.client.client_id, actor="test"))
    status, document = caller.post("/token", ("grant_type", "client_credentials"), ("scope", "orders:read"))
    assert (status, document["error"]) == (401, "invalid_client")


def test_what_is_refused_is_refused_again(caller: Caller) -> None:
    honest = (("grant_type", "client_credentials"), ("scope", "orders:read"))
    for wrong in ((*honest, ("scope", "orders:edit")), honest[1:], (*honest, ("client_secret", "x"))):
        for _ in range(2):
            status, document = caller.post("/token", *wrong)
            assert (status, document["error"]) == (400, "invalid_request"), wrong
        assert caller.post("/token", *honest)[0] == 200, "the honest variant"


def test_a_long_body_is_read_as_well_as_a_short_one(caller: Caller) -> None:
    padding = ("ignored", "x" * KEPT_BODY)
    for scope in ("orders:read", "orders:edit", "orders:edit"):
        wanted = (("grant_type", "client_credentials"), padding, ("scope", scope))
        assert caller.post("/token", *wanted)[1]["scope"] == scope
    assert caller.token()["scope"] == "orders:read"
