"""The guard in code without an event loop: many threads, several loops and forked children share one guard and its answers."""

import asyncio
import errno
import gc
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.fixtures.commands import run_cli
from tests.fixtures.other_issuer import OtherIssuer, ask
from tests.fixtures.servers import Process, serve

from watchword.guard import Guard, Refused, background
from watchword.guard.fetching import Fetching
from watchword.guard.guard import Presented
from watchword.guard.possession import MAX_REMEMBERED, NotProven, Possession, _Use
from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import jwk, jwt
from watchword.testing.clock import Clock


def token_of(process: Process, *more: str) -> Presented:
    """Return what a request with a new API token presents."""
    import json

    given = ("token", "create", "t", "--owner", "o", "--scope", "orders:read", "--json", *more)
    done = run_cli(process.folder, *given)
    return Presented(authorization=(f"Bearer {json.loads(done.stdout)['token']}",))


def test_threads_and_loops_share_a_guard(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        guard = Guard(process.issuer, cache_seconds=0)
        shown = token_of(process)
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda _: guard.authenticate_sync(shown).subject, range(40)))
        assert set(found) == {"application:o"}

        async def in_a_loop() -> str:
            return (await guard.authenticate(shown)).subject

        assert {asyncio.run(in_a_loop()) for _ in range(2)} == {"application:o"}
        assert guard.authenticate_sync(shown).subject == "application:o"
        assert len([thread for thread in threading.enumerate() if thread.name == "watchword-guard"]) == 1
        background.run(guard.close())


def test_connections_end_with_the_event_loop_that_they_belong_to(tmp_path: Path) -> None:
    with serve(tmp_path) as process:
        guard, shown = Guard(process.issuer, cache_seconds=0), token_of(process)

        def open_after(loops: int) -> int:
            for _ in range(loops):
                assert asyncio.run(guard.authenticate(shown)).subject == "application:o"
            return len(os.listdir("/dev/fd"))

        assert open_after(20) == open_after(2), "as many, however many loops there were"


def test_a_guard_elsewhere_uses_a_token_once_for_each_request_and_says_when_to_come_back(
    tmp_path: Path,
) -> None:
    with serve(tmp_path) as process:
        guard = Guard(process.issuer)
        shown = token_of(process, "--rate-limit", "2")
        assert {guard.authenticate_sync(shown).subject for _ in range(2)} == {"application:o"}
        with pytest.raises(Refused) as refused:
            guard.authenticate_sync(shown)
        assert refused.value.status == 429
        assert 0 < int(dict(refused.value.headers)["Retry-After"]) <= 60
        background.run(guard.close())


FORKED = """
import ctypes, os, signal, sys, threading
from watchword.guard import Guard
from watchword.guard.presented import Presented

fork = {"told": os.fork, "untold": ctypes.PyDLL(None).fork}[sys.argv[2]]
guard = Guard(sys.argv[1], audience="https://api.example.com", revocation_feed=False)

def ask(token):
    return guard.authenticate_sync(Presented(authorization=(f"Bearer {token}",))).subject

for before in sys.argv[4:]:
    assert ask(before) == "them"
keys = guard._only._keys
keys._fetched -= keys._max_age + 1  # as when so much time has passed
held, given_back = threading.Event(), threading.Event()

def hold():
    with keys.fetching._lock:
        held.set()
        given_back.wait()

threading.Thread(target=hold).start()
held.wait()
child = fork()
if child == 0:
    signal.alarm(60)  # whoever waits for ever is ended
    os._exit(0 if ask(sys.argv[3]) == "them" else 1)
given_back.set()
assert os.waitpid(child, 0)[1] == 0
"""


# In a process of its own, where no other test's threads hold anything at the moment of the fork, and no child goes on as a test
@pytest.mark.parametrize("fork", ["told", "untold"])
@pytest.mark.parametrize("kind", ["opaque", "JWT", "JWT, and none before"])
def test_a_forked_child_starts_a_thread_of_its_own_and_waits_for_none_of_its_parent(
    fork: str, kind: str
) -> None:
    """Python is not told of the forks of uWSGI."""
    with OtherIssuer() as other:
        other.documents["/introspect"] = {"active": True, "sub": "them", "aud": "https://api.example.com"}
        tokens = [other.token(jti=str(n)) if "JWT" in kind else f"an-opaque-token-{n}" for n in range(2)]
        if "none" in kind:
            tokens.pop()
        done = subprocess.run(
            [sys.executable, "-c", FORKED, other.issuer, fork, *tokens],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr


def test_a_jwt_whose_key_is_known_needs_no_other_thread() -> None:
    guard = Guard("https://auth.example.com", revocation_feed=False)
    key = jwk.generate("ES256", kid="k")
    keys = guard._only._keys  # type: ignore[union-attr]  # the state after the first request
    keys.adopt([key])
    now = int(guard._clock())
    claims: dict[str, object] = {
        "iss": guard.issuer, "sub": "me", "aud": guard.issuer, "exp": now + 60,
        "iat": now, "jti": "1", "client_id": "c",
    }  # fmt: skip

    def shown(**changes: object) -> Presented:
        return Presented(authorization=(f"Bearer {jwt.encode_with_key(key, claims | changes, 'at+jwt')}",))

    assert guard.authenticate_sync(shown()).subject == "me"
    for changes in ({"aud": "https://other"}, {"exp": now - 60}, {"iss": "https://other"}):
        with pytest.raises(Refused):
            guard.authenticate_sync(shown(**changes))


def test_of_many_threads_with_one_proof_a_single_one_is_let_through() -> None:
    possession = Possession(time.time, None, None)
    start = threading.Barrier(8)

    def use(_: int) -> bool:
        start.wait()
        try:
            possession._use("key 1")
        except NotProven:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(use, range(8))) == 1


def test_a_proof_that_comes_while_old_ones_are_cleared_away_stops_nobody() -> None:
    possession, arrived = Possession(time.time, None, None), itertools.count()

    def let_another_in(*_: object) -> None:
        """Do what another thread does: Python changes threads where finalisers run, which is wherever memory is asked for."""
        possession._used[f"another {next(arrived)}"] = _Use(time.time() + 60)

    for number in range(MAX_REMEMBERED):
        possession._use(f"key {number}")
    gc.callbacks.append(let_another_in)
    try:
        possession._use("key")
    finally:
        gc.callbacks.remove(let_another_in)
    with pytest.raises(NotProven):
        possession._use("key")


async def test_a_request_that_comes_as_an_answer_does_is_told_by_the_next_one() -> None:
    claims = {"active": True, "sub": "them", "aud": "https://api.example.com", "jti": "1"}
    with OtherIssuer() as other:
        other.documents["/introspect"], other.delay = claims, 0.05
        guard = Guard(other.issuer, audience="https://api.example.com", clock=(clock := Clock()))
        asking = [asyncio.create_task(ask(guard, "an-opaque-token-0001"))]
        while not other.asked["/introspect"]:
            await asyncio.sleep(0)
        clock.advance(2)  # the first answer is too old for all who come from now on
        while not asking[0].done():  # one of them comes when the question has ended, and nobody knows yet
            asking.append(asyncio.create_task(ask(guard, "an-opaque-token-0001")))
            await asyncio.sleep(0)
        assert {(await one).subject for one in asking} == {"them"}
        assert len(asking) > 1
        assert other.asked["/introspect"] == 2, "one more question for all of them"
        await guard.close()


async def test_of_a_failure_that_a_request_did_not_wait_for_nothing_is_logged() -> None:
    logged: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: logged.append(about))
    with OtherIssuer() as other:
        other.delay = 0.05
        guard = Guard(other.issuer, audience="https://api.example.com")
        other.documents["/introspect"] = b"no answer"
        giving_up = asyncio.create_task(ask(guard, "an-opaque-token-0001"))
        while not other.asked["/introspect"]:
            await asyncio.sleep(0)
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left)
        with pytest.raises(Refused) as refused:  # to whoever stays it is told
            await ask(guard, "an-opaque-token-0001")
        assert refused.value.status == 503
        await guard.close()
    gc.collect()
    assert logged == []


def test_another_event_loop_than_asyncios_is_refused_at_the_first_token() -> None:
    guard = Guard("https://auth.example.com")
    asking = guard.authenticate(Presented(authorization=("Bearer an-opaque-token-0001",)))
    with pytest.raises(RuntimeError, match="asyncio"):
        asking.send(None)  # as the loop of another library would


async def test_a_failure_of_any_kind_is_followed_by_a_pause_and_another_attempt() -> None:
    clock, outcomes = Clock(), [RuntimeError("can't start new thread"), None]
    once_an_hour = Fetching(3600.0, clock=clock)

    async def fetch() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    await once_an_hour.wait(fetch)
    assert once_an_hour.trouble == "RuntimeError: can't start new thread"
    assert once_an_hour.begin(fetch) is None, "too early"
    clock.advance(1)
    await once_an_hour.wait(fetch)
    assert not once_an_hour.trouble
    assert not outcomes
    clock.advance(1)
    assert once_an_hour.begin(fetch) is None, "once an hour, when it succeeds"


@pytest.mark.parametrize("kind", ["asynchronous", "synchronous"])
async def test_where_nothing_is_left_for_another_event_loop_callers_are_told_to_come_back_and_may(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> asyncio.AbstractEventLoop:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(background, "_current", background._Thread())  # of a process that has just begun
    shown = Presented(authorization=("Bearer an-opaque-token-0001",))
    with OtherIssuer() as other:
        other.documents["/introspect"] = {"active": True, "sub": "them", "aud": "https://api.example.com"}
        guard = Guard(other.issuer, audience="https://api.example.com")
        discovery, clock = guard._only._issuer._discovery, Clock()  # type: ignore[union-attr]  # no LocalVerifier
        discovery.clock, clock.now = clock, time.monotonic()

        async def enter() -> str:
            if kind == "asynchronous":
                return (await guard.authenticate(shown)).subject
            return (await asyncio.to_thread(guard.authenticate_sync, shown)).subject

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "new_event_loop", full)
            with pytest.raises(Refused) as refused:
                await enter()
        assert (refused.value.status, dict(refused.value.headers)["Retry-After"]) == (503, "2")
        clock.advance(1)
        assert await enter() == "them", "what could not be begun was no attempt"
        await guard.close()


def test_an_event_loop_whose_thread_cannot_be_started_keeps_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []

    def make() -> asyncio.AbstractEventLoop:
        made.append(asyncio.SelectorEventLoop())
        return made[-1]

    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background, "_current", background._Thread())  # of a process that has just begun
    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "new_event_loop", make)
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(IssuerUnavailable):
            background.run(asyncio.sleep(0))
        assert [loop.is_closed() for loop in made] == [True]
    assert background.run(asyncio.sleep(0, "done")) == "done", "the honest variant"
    loop = background._here().loop
    assert loop is not None
    loop.call_soon_threadsafe(loop.stop)


def test_a_refusal_comes_back_from_another_process() -> None:
    refused = Refused(403, "insufficient_scope", "It lacks a scope.", (("WWW-Authenticate", "Bearer"),))
    found = pickle.loads(pickle.dumps(refused))
    assert isinstance(found, Refused)
    assert (found.args, vars(found)) == (refused.args, vars(refused))


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import asyncio, sys, gevent, django
from django.conf import settings
from django.db import connection
from watchword.guard import Guard
from watchword.guard.presented import Presented

settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
django.setup()
guard = Guard(sys.argv[1], audience="https://api.example.com")
others = []

def ask(number):
    caller = guard.authenticate_sync(Presented(authorization=(f"Bearer an-opaque-token-{number:04}",)))
    assert others, "no other request was served while this one waited for the issuer"
    return caller.subject

async def loop_of_a_view():
    return "ran"

asking = [gevent.spawn(ask, number) for number in range(40)]
gevent.spawn(others.append, 1)
assert {one.get() for one in asking} == {"them"}
assert asyncio.run(loop_of_a_view()) == "ran"
with connection.cursor() as cursor:
    assert cursor.execute("select 1").fetchone() == (1,)
"""


# As the package of this name does, which httpx imports where it is installed; gevent lets the main thread alone start a process.
TRIO = "import subprocess\nsubprocess.run(['true'], check=True)\n"


def test_under_gevent_views_run_loops_and_queries_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "trio.py").write_text(TRIO)
    with OtherIssuer() as other:
        other.documents["/introspect"] = {"active": True, "sub": "them", "aud": "https://api.example.com"}
        done = subprocess.run(
            [sys.executable, "-c", GREENLETS, other.issuer],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
