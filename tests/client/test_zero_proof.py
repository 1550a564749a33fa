"""A client whose proof is a zero-knowledge identity: its tokens are fetched and renewed like those of any other client."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.client.conftest import Api
from tests.client.ways import READ, WAYS, Ask, by_httpx
from tests.fixtures.live import Live

from watchword.client import Refused, TokenSource, Unreachable
from watchword.flows import identities
from watchword.zero import agent, files, identity
from watchword.zero.client import ZeroProof
from watchword.zero.derivation import derive
from watchword.zero.records import Secret
from watchword.zero.sealing import NONCE_SIZE, SALT_SIZE, seal

WORD = "open sesame"


def registered(live: Live, secret: Secret) -> str:
    """Register a client and a secret's identity as its own; return the client's identifier."""
    client = live.client(token_endpoint_auth_method="zero_proof", scope="orders:read")
    client_id, now = client.client.client_id, int(time.time())
    document = identity.create(secret, now, now + 86_400, os.urandom(32))
    owner = ("client", client_id)
    live.run(identities.register(live.runtime, document, owner=owner, name="svc", actor="test", given=None))
    return client_id


def kept(tmp_path: Path, secret: Secret) -> Path:
    """Return a file with the secret; its key costs less than a holder's own."""
    path = tmp_path / "svc.zero"
    sealed = seal(secret, WORD, os.urandom(SALT_SIZE), os.urandom(NONCE_SIZE), 1, 8)
    files.write_record(str(path), sealed, "text", private=True)
    return path


@contextmanager
def held(tmp_path: Path, secret: Secret, ahead: int) -> Iterator[Path]:
    """Have an agent hold the secret, at a socket; its clock is so many seconds ahead."""
    path = tmp_path / "zero.sock"
    with agent.listening(str(path)) as listener:
        holding = agent.Agent(
            [secret],
            clock=lambda: int(time.time()) + ahead,
            randomness=os.urandom,
            deadline=int(time.time()) + 60,
        )
        serving = threading.Thread(target=holding.serve, args=(listener,))
        serving.start()
        try:
            yield path
        finally:
            agent.ask(str(path), {"op": "stop"})
            serving.join()


@WAYS
def test_its_tokens_are_renewed_with_a_proof_for_each(live: Live, api: Api, ask: Ask, tmp_path: Path) -> None:
    secret = Secret(os.urandom(32), ())
    client = ZeroProof(registered(live, secret), kept(tmp_path, secret), passphrase=WORD)
    source = TokenSource(live.issuer, client, READ, api=api.address, dpop=True, clock=live.clock)
    assert ask(source, f"{api.address}/orders") == 200
    first = source.token()
    live.clock.advance(3600)
    assert ask(source, f"{api.address}/orders") == 200
    assert source.token() != first
    assert WORD not in repr(client)


@pytest.mark.parametrize("ahead", [86_400, -86_400])
def test_a_clock_that_is_wrong_here_dates_no_proof(live: Live, api: Api, tmp_path: Path, ahead: int) -> None:
    secret = Secret(os.urandom(32), ())
    client = ZeroProof(registered(live, secret), kept(tmp_path, secret), passphrase=WORD)
    source = TokenSource(
        live.issuer, client, READ, api=api.address, dpop=True, clock=lambda: live.clock() + ahead
    )
    assert by_httpx(source, f"{api.address}/orders") == 200


def test_what_is_no_challenge_is_said_to_be_none(live: Live, api: Api, tmp_path: Path) -> None:
    secret = Secret(os.urandom(32), ())
    client = ZeroProof(registered(live, secret), kept(tmp_path, secret), passphrase=WORD)
    behind = httpx.HTTPTransport()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/zero/challenge":
            return httpx.Response(200, text="<html>")
        return behind.handle_request(request)

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        source = TokenSource(live.issuer, client, READ, api=api.address, dpop=True, http=http)
        with pytest.raises(Unreachable, match="cannot prove who it is: not a challenge"):
            source.token()


@pytest.mark.parametrize("ahead", [0, 25, -25])
def test_an_agent_proves_with_what_it_holds(live: Live, api: Api, tmp_path: Path, ahead: int) -> None:
    secret = Secret(os.urandom(32), ())
    client_id = registered(live, derive(secret, live.issuer, "orders", ()))
    with held(tmp_path, secret, ahead) as path:
        client = ZeroProof(client_id, agent=path, derive_for="orders")
        source = TokenSource(live.issuer, client, READ, api=api.address, dpop=True)
        assert by_httpx(source, f"{api.address}/orders") == 200
        other = ZeroProof(client_id, agent=path)
        with pytest.raises(Refused, match="invalid_client"):
            TokenSource(live.issuer, other, READ, api=api.address, dpop=True).token()
    with pytest.raises(Unreachable, match=r"cannot prove who it is: .*zero\.sock"):
        TokenSource(live.issuer, client, READ, api=api.address, dpop=True).token()
