"""A proxy may share one connection between many clients: each gets its own answer, though the server keeps what repeats."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.fixtures.live import Live, serving
from tests.fixtures.servers import basic

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.flows.giving import OPERATOR
from watchword.testing.worker import Worker

INSIDE, OUTSIDE = "198.51.100.1", "203.0.113.11"  # as long, so that heads are


@pytest.fixture
def live(tmp_path: Path, auth_worker: Worker) -> Iterator[Live]:
    with serving(tmp_path, auth_worker, trusted_proxies=("127.0.0.0/8", "::1/128")) as opened:
        yield opened


class Proxy:
    """One connection for all."""

    def __init__(self, live: Live) -> None:
        self.connection = http.client.HTTPConnection("localhost", int(live.issuer.rpartition(":")[2]))
        self.connection.connect()
        self.socket = self.connection.sock

    def post(self, path: str, fields: dict[str, str], address: str = INSIDE, **headers: str) -> Any:
        """Pass a form on; return status and document."""
        passed = {"content-type": "application/x-www-form-urlencoded", "x-forwarded-for": address, **headers}
        self.connection.request("POST", path, urlencode(fields), passed)
        answer = self.connection.getresponse()
        body = answer.read()
        assert self.connection.sock is self.socket, "it is the same connection"
        return answer.status, json.loads(body) if body else None


@pytest.fixture
def proxy(live: Live) -> Iterator[Proxy]:
    made = Proxy(live)
    yield made
    made.connection.close()


def test_clients_with_the_same_head_and_bodies_as_long_get_tokens_of_their_own(
    live: Live, proxy: Proxy
) -> None:
    clients = [
        live.client(scope="orders:read", token_endpoint_auth_method="client_secret_post") for _ in range(2)
    ]
    asked = [
        {
            "grant_type": "client_credentials",
            "client_id": one.client.client_id,
            "client_secret": one.client_secret or "",
        }
        for one in clients
    ]
    for turn in (0, 0, 1, 1, 0, 1):
        status, document = proxy.post("/token", asked[turn])
        assert status == 200, document
        told = proxy.post("/introspect", {**asked[turn], "token": document["access_token"]})[1]
        assert told["client_id"] == clients[turn].client.client_id
        stolen = {**asked[turn], "client_secret": asked[1 - turn]["client_secret"]}
        assert proxy.post("/token", stolen)[1]["error"] == "invalid_client"


def test_nobody_gets_a_token_by_the_credentials_that_came_before(live: Live, proxy: Proxy) -> None:
    client = live.client(scope="orders:read")
    grant = {"grant_type": "client_credentials"}
    for _ in range(2):
        assert proxy.post("/token", grant, authorization=basic(client))[0] == 200, "the honest variant"
        assert proxy.post("/token", grant)[0] == 401
        assert proxy.post("/token", grant, authorization=basic(client)[:-4] + "AAA=")[0] == 401


def test_a_token_for_one_network_is_worth_nothing_from_another(live: Live, proxy: Proxy) -> None:
    given = TokenInput(name="a job", owner="reports", scope="introspect", addresses=[f"{INSIDE}/32"])
    owner = ("application", "application:reports")
    made = api_tokens.create(live.runtime, given, owner=owner, actor="test", giver=OPERATOR)
    caller = "Bearer " + live.run(made).secret
    asked = {"token": "wwa_unknown"}
    for _ in range(2):
        for _ in range(2):
            assert proxy.post("/introspect", asked, authorization=caller)[0] == 200, "the honest variant"
        assert proxy.post("/introspect", asked, OUTSIDE, authorization=caller)[0] == 401
