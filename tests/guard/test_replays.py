"""DP-51: a proof of possession works once in all processes of an API, by the server in the process or by a memory that they share."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
from tests.attacks.pairs import Pair, open_pair
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server
from tests.guard.test_guard import dpop

from watchword import jobs
from watchword.guard import Guard, Refused
from watchword.guard.presented import Presented
from watchword.guard.replays import Replays
from watchword.jose import jwk, jwt


class Shared:
    """A memory as a user would write one: one atomic step that keeps a key for a time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.kept: dict[str, float] = {}
        self.asked: list[tuple[str, int]] = []
        self.is_away = False
        self._clock, self._lock = clock, threading.Lock()

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        await asyncio.sleep(0)
        if self.is_away:
            raise OSError("the store is away")
        with self._lock:
            self.asked.append((identifier, seconds))
            is_new = self.kept.get(identifier, 0) <= self._clock()
            if is_new:
                self.kept[identifier] = self._clock() + seconds
        return is_new


def shown(headers: dict[str, str]) -> Presented:
    """Return what a guard sees of a request with a proof."""
    return Presented(
        authorization=(headers["authorization"],),
        dpop=(headers["dpop"],),
        method="GET",
        uri="http://api.test/orders",
    )


async def outcome(guard: Guard, presented: Presented) -> str:
    """Return "in", or the error of the refusal."""
    try:
        await guard.authenticate(presented)
    except Refused as refused:
        return refused.error or ""
    return "in"


@pytest_asyncio.fixture
async def pair(store: Store, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two nodes on one database of each kind, each with a guard in its process."""
    async with open_pair(store.address, store.address, tmp_path) as opened:
        yield opened


async def test_dp_51_guards_in_the_servers_processes_share_its_database(pair: Pair) -> None:
    a, b = pair
    key = jwk.generate("ES256")
    token = (await a.token(jkt=key.thumbprint)).secret
    guards = [Guard(node.app, clock=node.clock) for node in pair for _ in range(2)]
    for guard in guards:
        fresh = shown(dpop(key, token, a.clock()))
        assert await outcome(guard, fresh) == "in", "the honest variant"
        assert [await outcome(other, fresh) for other in guards] == ["invalid_dpop_proof"] * 4
    at_once = shown(dpop(key, token, a.clock()))
    found = await asyncio.gather(*(outcome(guard, at_once) for guard in guards))
    assert sorted(found) == ["in", *["invalid_dpop_proof"] * 3]
    b.clock.advance(3600)
    a.clock.advance(3600)
    await jobs.housekeeping(a.runtime)
    row = await a.runtime.database.read(lambda tx: tx.one("SELECT COUNT(*) AS n FROM used_identifiers"))
    assert row is not None
    assert row["n"] == 0, "what is kept of them is purged"


async def test_a_server_in_the_process_that_cannot_store_a_proof_lets_nobody_in(server: Server) -> None:
    key = jwk.generate("ES256")
    token = (await server.token(jkt=key.thumbprint)).secret
    guard = Guard(server.app, clock=server.clock)
    assert await outcome(guard, shown(dpop(key, token, server.clock()))) == "in"
    held, server.app._local = server.app._local, None  # closed, as at the end of the process
    assert await outcome(guard, shown(dpop(key, token, server.clock()))) == "temporarily_unavailable"
    server.app._local = held


@pytest.fixture
def memory() -> Shared:
    """The memory that the processes share."""
    return Shared(time.time)


def guards_of(memory: Replays, key: jwk.Key, count: int = 2) -> list[Guard]:
    """Return guards of several processes of one API, which know the issuer's key by now."""
    made = [Guard("https://auth.example.com", revocation_feed=False, replays=memory) for _ in range(count)]
    for guard in made:
        guard._only._keys.adopt([key])  # type: ignore[union-attr]  # the state after the first request
    return made


def bound_token(guard: Guard, issuer_key: jwk.Key, key: jwk.Key) -> str:
    """Return a JWT that is bound to a key."""
    now = int(guard._clock())
    claims: dict[str, object] = {
        "iss": guard.issuer, "sub": "me", "aud": guard.issuer, "exp": now + 60, "iat": now, "jti": "1",
        "client_id": "c", "cnf": {"jkt": key.thumbprint},
    }  # fmt: skip
    return jwt.encode_with_key(issuer_key, claims, "at+jwt")


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
def test_dp_51_processes_with_a_shared_memory_let_a_proof_in_once(memory: Shared, kind: str) -> None:
    issuer_key, key = jwk.generate("ES256", kid="k"), jwk.generate("ES256")
    one, two = guards_of(memory, issuer_key)
    token = bound_token(one, issuer_key, key)

    def enter(guard: Guard, presented: Presented) -> str:
        if kind == "asynchronous":
            return asyncio.run(outcome(guard, presented))
        try:
            guard.authenticate_sync(presented)
        except Refused as refused:
            return refused.error or ""
        return "in"

    for guard, other in ((one, two), (two, one)):
        fresh = shown(dpop(key, token, one._clock()))
        assert enter(guard, fresh) == "in", "the honest variant"
        assert enter(other, fresh) == "invalid_dpop_proof"
        assert enter(guard, fresh) == "invalid_dpop_proof"
    at_once = shown(dpop(key, token, one._clock()))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: enter((one, two)[n % 2], at_once), range(8)))
    assert sorted(found) == ["in", *["invalid_dpop_proof"] * 7]
    assert all(len(name) == 43 and seconds == 151 for name, seconds in memory.asked)


class _Kept(dict[str, int]):
    """A memory that is false as long as nothing is in it."""

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        is_new = identifier not in self
        self[identifier] = seconds
        return is_new


async def test_dp_51_a_memory_that_is_still_empty_is_the_one_that_is_asked() -> None:
    issuer_key, key = jwk.generate("ES256", kid="k"), jwk.generate("ES256")
    one, two = guards_of(_Kept(), issuer_key)
    fresh = shown(dpop(key, bound_token(one, issuer_key, key), one._clock()))
    assert [await outcome(guard, fresh) for guard in (one, two)] == ["in", "invalid_dpop_proof"]


async def test_without_its_shared_memory_a_guard_lets_no_bound_token_in(memory: Shared) -> None:
    issuer_key, key = jwk.generate("ES256", kid="k"), jwk.generate("ES256")
    (guard,) = guards_of(memory, issuer_key, 1)
    token = bound_token(guard, issuer_key, key)
    assert await outcome(guard, shown(dpop(key, token, guard._clock()))) == "in"
    memory.is_away = True
    with pytest.raises(Refused) as refused:
        await guard.authenticate(shown(dpop(key, token, guard._clock())))
    assert (refused.value.status, dict(refused.value.headers)["Retry-After"]) == (503, "2")
    memory.is_away = False
    assert await outcome(guard, shown(dpop(key, token, guard._clock()))) == "in"
