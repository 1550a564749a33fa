"""F-25: a client gives up a refresh, asks again and uses what it got, all before the request that it gave up is worked on.

The real application behind a real socket, which is accepted from, or decided about, only when the test says so.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from tests.attacks.test_grants import events
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.held_rows import rows_held
from tests.fixtures.servers import Server, basic
from uvicorn.server import ServerState

from watchword.flows.clients.client_registry import Registered
from watchword.http_server.protocol import LeanProtocol

PATIENCE = 30.0
GRACE = 10  # seconds, the default of `refresh_token_grace`
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was not read yet")


class Patient(LeanProtocol):
    """For whom nobody hung up too long ago, however slowly a test goes on."""

    too_late = 600.0


class Gate:
    """A port of the application at which clients wait until it is opened."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.state = ServerState()
        self.config = uvicorn.Config(
            server.app, http=Patient, lifespan="off", log_config=None, proxy_headers=False
        )
        self.config.load()

    def ask(self, client: Registered, token: str) -> socket.socket:
        """Connect and send a refresh."""
        body = urlencode({"grant_type": "refresh_token", "refresh_token": token})
        head = (
            f"POST /token HTTP/1.1\r\nhost: localhost\r\nauthorization: {basic(client)}\r\nconnection: close\r\n"
            f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connection = socket.create_connection(self.listening.getsockname(), PATIENCE)
        connection.sendall((head + body).encode())
        return connection

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Accept whoever waits, and whoever comes."""
        accepting = await asyncio.get_running_loop().create_server(
            lambda: Patient(self.config, self.state, {}), sock=self.listening
        )
        try:
            yield
        finally:
            accepting.close()

    async def is_asked(self) -> None:
        """Wait until a request is being answered."""
        async with asyncio.timeout(PATIENCE):
            while not any(one.exchange for one in self.state.connections):  # type: ignore[union-attr]  # all are LeanProtocols
                await asyncio.sleep(0)

    async def settled(self) -> list[str]:
        """Wait until a token that is not the newest was decided about; return the audit events."""
        async with asyncio.timeout(PATIENCE):
            while True:
                told = await events(self.server)
                if {"refresh_token.abandoned", "refresh_token.reused"} & set(told):
                    return told
                await asyncio.sleep(0)


def close(connection: socket.socket) -> None:
    connection.close()


def break_off(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


LEAVES = pytest.mark.parametrize("leave", [close, break_off], ids=["closed", "broken off"])
Leave = Callable[[socket.socket], None]


async def family(server: Server, **given: Any) -> tuple[Registered, dict[str, str]]:
    """Return a client and the tokens that it got for a code."""
    client = await register(server, **given)
    return client, (await redeem(server, client, (await obtain_code(server, client))["code"])).json()


async def use(server: Server, client: Registered, token: str) -> str:
    """Use a refresh token and return its successor."""
    answer = await refresh(server, client, token)
    assert answer.status_code == 200, answer.text
    successor: str = answer.json()["refresh_token"]
    return successor


async def answer_to(connection: socket.socket) -> dict[str, str]:
    """Read an answer to its end, and return its body."""

    def read() -> bytes:
        with connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))

    document: dict[str, str] = json.loads((await asyncio.to_thread(read)).partition(b"\r\n\r\n")[2])
    return document


@LEAVES
async def test_a_retry_gets_the_successor_that_nobody_waited_for(server: Server, leave: Leave) -> None:
    client, tokens = await family(server)
    gate = Gate(server)
    leave(gate.ask(client, tokens["refresh_token"]))
    async with gate.open():
        async with asyncio.timeout(PATIENCE):
            while "refresh_token.rotated" not in await events(server):
                await asyncio.sleep(0)
        second = await use(server, client, tokens["refresh_token"])
        assert (await events(server))[-1] == "refresh_token.replayed"
        await use(server, client, second)


@LEAVES
async def test_a_request_that_is_accepted_late_burns_nothing_when_its_client_has_left(
    server: Server, leave: Leave
) -> None:
    client, tokens = await family(server)
    gate = Gate(server)
    leave(gate.ask(client, tokens["refresh_token"]))
    third = await use(server, client, await use(server, client, tokens["refresh_token"]))
    async with gate.open():
        told = await gate.settled()
    assert told[-1] == "refresh_token.abandoned"
    assert "grant.ended" not in told
    seen = await server.post("/introspect", client, token=tokens["access_token"])
    assert seen.json()["active"] is True
    await use(server, client, third)


@LEAVES
async def test_who_leaves_before_it_is_decided_burns_nothing(server: Server, leave: Leave) -> None:
    client, tokens = await family(server)
    third = await use(server, client, await use(server, client, tokens["refresh_token"]))
    gate = Gate(server)
    async with gate.open():
        async with rows_held(server, "SELECT id FROM grants FOR UPDATE"):
            connection = gate.ask(client, tokens["refresh_token"])
            await gate.is_asked()
            leave(connection)
        assert (await gate.settled())[-1] == "refresh_token.abandoned"
    await use(server, client, third)


@pytest.mark.parametrize("held", [False, True], ids=["at once", "while it is decided"])
async def test_tk_07_an_old_token_on_an_open_connection_burns_its_family_within_the_grace(
    server: Server, held: bool
) -> None:
    client, tokens = await family(server)
    third = await use(server, client, await use(server, client, tokens["refresh_token"]))
    gate = Gate(server)
    async with gate.open():
        async with (
            rows_held(server, "SELECT id FROM grants FOR UPDATE") if held else contextlib.nullcontext()
        ):
            connection = gate.ask(client, tokens["refresh_token"])
            if held:
                await gate.is_asked()
        answer = await answer_to(connection)
    assert answer["error"] == "invalid_grant"
    assert (await events(server))[-2:] == ["refresh_token.reused", "grant.ended"]
    assert (await refresh(server, client, third)).json()["error"] == "invalid_grant"
    seen = await server.post("/introspect", client, token=tokens["access_token"])
    assert seen.json() == {"active": False}


@LEAVES
async def test_an_old_token_burns_its_family_after_the_grace_though_nobody_waits(
    server: Server, leave: Leave
) -> None:
    client, tokens = await family(server)
    third = await use(server, client, await use(server, client, tokens["refresh_token"]))
    server.clock.advance(GRACE)
    gate = Gate(server)
    leave(gate.ask(client, tokens["refresh_token"]))
    async with gate.open():
        assert (await gate.settled())[-2:] == ["refresh_token.reused", "grant.ended"]
    assert (await refresh(server, client, third)).json()["error"] == "invalid_grant"


async def test_tk_07_a_thief_who_ends_his_side_gains_no_token_and_is_recorded(server: Server) -> None:
    client, tokens = await family(server)
    third = await use(server, client, await use(server, client, tokens["refresh_token"]))
    gate = Gate(server)
    async with gate.open():
        connection = gate.ask(client, tokens["refresh_token"])
        connection.shutdown(socket.SHUT_WR)
        answer = await answer_to(connection)
    assert answer.keys() == {"error", "error_description"}
    assert answer["error"] == "invalid_grant"
    assert (await events(server))[-1] == "refresh_token.abandoned"
    fourth = await use(server, client, third)
    assert (await refresh(server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await refresh(server, client, fourth)).json()["error"] == "invalid_grant", "his next try burns it"
