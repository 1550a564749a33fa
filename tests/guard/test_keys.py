"""An issuer's keys in the guard: through rotation at any moment, outage, and floods of keys that nobody has (KR-05)."""

import asyncio
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from msgspec.structs import replace
from tests.fixtures import certificates
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.other_issuer import OtherIssuer, ask, other, refusal

from watchword.guard import Guard, keys
from watchword.guard.keys import KeySet
from watchword.guard.presented import Presented
from watchword.jose import jwk
from watchword.testing.clock import Clock

API = "https://api.example.com"
__all__ = ["other"]


def keys_of(guard: Guard) -> KeySet:
    """Return the keys of a guard's only issuer, to let time pass for them."""
    return guard._only._keys  # type: ignore[union-attr]  # no LocalVerifier


def at_one_time(guard: Guard) -> Clock:
    """Let time pass for a guard's keys only as the test says."""
    kept, clock = keys_of(guard), Clock()
    clock.now = time.monotonic()
    kept._clock = kept.fetching.clock = clock
    return clock


def rotate(other: OtherIssuer, kid: str) -> jwk.Key:
    """Publish a new key in place of all others."""
    other.keys = [jwk.generate("ES256", kid)]
    return other.keys[0]


async def test_a_new_key_is_fetched_once_for_all_who_need_it(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    other.delay = 0.1
    found = await asyncio.gather(*(ask(guard, other.token(jti=str(n))) for n in range(50)))
    assert {who.subject for who in found} == {"them"}
    assert other.asked["/keys"] == 1, "no stampede"
    await guard.close()


def test_another_thread_knows_of_a_new_key_when_it_is_there_and_no_sooner() -> None:
    seen: list[list[str | None]] = []

    def clock() -> float:
        """Let another thread in, which looks at the clock itself."""
        kept._clock = lambda: 0.0
        seen.append([key.kid for key in kept.at_hand("second") or ()])
        kept._clock = clock
        return 0.0

    kept = keys_of(Guard("https://auth.example.com"))
    kept._clock = clock
    for kid in ("first", "second"):
        kept.adopt([jwk.generate("ES256", kid)])
    clock()
    assert seen == [[], [], ["second"]], "with the keys of before, its tokens would be refused"


async def test_a_token_of_a_new_key_is_accepted_at_its_first_use_whenever_the_issuer_rotates(
    other: OtherIssuer,
) -> None:
    guard = Guard(other.issuer, audience=API)
    at_one_time(guard)
    assert (await ask(guard, other.token())).subject == "them"
    for n in range(1, keys.BURST):
        key = rotate(other, f"rotated {n}")
        assert (await ask(guard, other.token(key))).subject == "them", (
            "no time has passed since the last fetch"
        )
        assert other.asked["/keys"] == n + 1
    await guard.close()


async def test_a_new_key_without_a_name_is_known_after_ten_seconds_and_the_old_one_used_while_nobody_answers(
    other: OtherIssuer,
) -> None:
    other.keys = [replace(jwk.generate("ES256"), kid=None)]
    guard = Guard(other.issuer, audience=API)
    clock = at_one_time(guard)
    for n in range(20):
        assert (await ask(guard, other.token(jti=f"old {n}"))).subject == "them"
    assert other.asked["/keys"] == 1
    other.keys = [replace(jwk.generate("ES256"), kid=None)]
    clock.advance(keys.UNKNOWN_KEY_INTERVAL + 1)
    assert (await ask(guard, other.token())).subject == "them"
    clock.advance(keys.UNKNOWN_KEY_INTERVAL + 1)
    other.up = False
    for n in range(20):
        assert (await ask(guard, other.token(jti=f"new {n}"))).subject == "them"
    assert other.asked["/keys"] == 3
    await guard.close()


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_token_of_a_key_in_the_place_of_another_is_accepted_at_its_first_use(
    other: OtherIssuer, kind: str
) -> None:
    async def subject(token: str) -> str:
        presented = Presented(authorization=(f"Bearer {token}",))
        if kind == "async":
            return (await guard.authenticate(presented)).subject
        return (await asyncio.to_thread(guard.authenticate_sync, presented)).subject

    guard = Guard(other.issuer, audience=API, revocation_feed=False)
    clock = at_one_time(guard)
    assert await subject(other.token()) == "them"
    key = rotate(other, str(other.keys[0].kid))
    assert await refusal(guard, other.token(key, jti="at once")) == 401, "as old as that its keys may be"
    clock.advance(keys.UNKNOWN_KEY_INTERVAL + 1)
    other.delay = 0.1
    tokens = [other.token(key, jti=str(n)) for n in range(20)]
    assert set(await asyncio.gather(*map(subject, tokens))) == {"them"}
    assert other.asked["/keys"] == 2, "no stampede"
    assert await refusal(guard, other.token(jwk.generate("ES256", key.kid))) == 401, "nobody's key"
    assert other.asked["/keys"] == 2
    await guard.close()


async def test_a_false_signature_is_refused_while_the_issuer_is_out_of_reach_and_it_is_left_alone(
    other: OtherIssuer,
) -> None:
    guard = Guard(other.issuer, audience=API)
    clock = at_one_time(guard)
    assert (await ask(guard, other.token())).subject == "them"
    clock.advance(keys.UNKNOWN_KEY_INTERVAL + 1)
    other.up = False
    false = other.token(jwk.generate("ES256", str(other.keys[0].kid)))
    for _ in range(20):
        assert await refusal(guard, false) == 401
    assert other.asked["/keys"] == 2, "and nobody asks again at once"
    assert (await ask(guard, other.token(jti="known"))).subject == "them"
    await guard.close()


async def test_kr_05_in_a_minute_false_signatures_lead_to_six_fetches_and_leave_room_for_new_keys(
    other: OtherIssuer,
) -> None:
    guard = Guard(other.issuer, audience=API)
    clock = at_one_time(guard)
    assert (await ask(guard, other.token())).subject == "them"
    false = other.token(jwk.generate("ES256", str(other.keys[0].kid)))
    for _ in range(2_000):
        assert await refusal(guard, false) == 401
        clock.advance(60 / 2_000)
    assert 1 < other.asked["/keys"] <= 1 + 60 / keys.UNKNOWN_KEY_INTERVAL
    key = rotate(other, "second")
    assert (await ask(guard, other.token(key))).subject == "them", "at its first use"
    await guard.close()


async def test_kr_05_in_a_minute_invented_keys_lead_to_eleven_fetches_and_no_more(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    clock = at_one_time(guard)
    assert (await ask(guard, other.token())).subject == "them"
    _, claims, signature = other.token().split(".")
    for n in range(10_000):
        header = jwk.b64encode(json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": f"invented {n}"}).encode())
        assert await refusal(guard, f"{header}.{claims}.{signature}") == 401
        clock.advance(60 / 10_000)
    assert other.asked["/keys"] <= keys.BURST + 60 / keys.UNKNOWN_KEY_INTERVAL
    assert (await ask(guard, other.token(jti="2"))).subject == "them", "nobody else is concerned"
    key = rotate(other, "second")
    clock.advance(keys.UNKNOWN_KEY_INTERVAL)
    assert (await ask(guard, other.token(key))).subject == "them", "a rotation is noticed"
    await guard.close()


async def test_kr_05_one_invented_key_repeated_leaves_the_fetches_to_others(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    clock = at_one_time(guard)
    assert (await ask(guard, other.token())).subject == "them"
    invented = other.token(jwk.generate("ES256", "invented"))
    for _ in range(300):
        assert await refusal(guard, invented) == 401
        clock.advance(0.02)
    assert other.asked["/keys"] == 2, "it was asked for a moment before"
    key = rotate(other, "second")
    assert (await ask(guard, other.token(key))).subject == "them"
    clock.advance(keys.UNKNOWN_KEY_INTERVAL)
    late = jwk.generate("ES256", "invented")
    other.keys.append(late)
    assert (await ask(guard, other.token(late))).subject == "them", "it is not bad for ever"
    await guard.close()


async def test_a_fetch_that_was_answered_before_a_key_was_published_is_not_the_last_word(
    other: OtherIssuer,
) -> None:
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    old, answered, published = (
        {"keys": [jwk.public_document(other.keys[0])]},
        asyncio.Event(),
        threading.Event(),
    )
    loop = asyncio.get_running_loop()

    def slowly(handler: Any) -> None:
        body = json.dumps(old).encode()
        del other.documents["/keys"]
        loop.call_soon_threadsafe(answered.set)
        published.wait(10)
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    other.documents["/keys"] = slowly
    stranger = asyncio.ensure_future(refusal(guard, other.token(jwk.generate("ES256", "invented"))))
    await answered.wait()
    honest = asyncio.ensure_future(ask(guard, other.token(rotate(other, "second"))))
    await asyncio.sleep(0)  # it waits for the same fetch by now
    published.set()
    assert (await honest).subject == "them"
    assert await stranger == 401
    await guard.close()


async def test_keys_that_are_missed_are_asked_for_past_the_caches_on_the_way(other: OtherIssuer) -> None:
    told = []

    def answer(handler: Any) -> None:
        told.append(handler.headers.get("cache-control"))
        body = json.dumps({"keys": [jwk.public_document(key) for key in other.keys]}).encode()
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    other.documents["/keys"] = answer
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    assert (await ask(guard, other.token(rotate(other, "second")))).subject == "them"
    assert told == [None, "no-cache"]
    await guard.close()


async def test_kr_03_a_token_that_is_known_is_refused_soon_after_its_key_is_published_no_more(
    other: OtherIssuer,
) -> None:
    clock = Clock()
    guard = Guard(other.issuer, audience=API, clock=clock)
    kept = keys_of(guard)
    kept._clock = kept.fetching.clock = clock
    token = other.token(exp=int(clock()) + 86_400)
    for _ in range(2):
        assert (await ask(guard, token)).subject == "them"
    rotate(other, "second")
    clock.advance(kept._max_age + 1)
    assert (await ask(guard, token)).subject == "them", "nobody waits for the keys, which are fetched"
    while other.asked["/keys"] < 2 or kept.at_hand("second") is None:
        await asyncio.sleep(0.01)
    clock.advance(keys.SHORTEST)
    assert await refusal(guard, token) == 401
    await guard.close()


async def test_old_keys_are_used_on_while_the_issuer_is_out_of_reach(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    kept = keys_of(guard)
    other.up = False
    kept._fetched -= kept._max_age + 1  # as when so much time has passed
    assert (await ask(guard, other.token(jti="2"))).subject == "them", "stale keys are served"
    for n in range(50):
        await ask(guard, other.token(jti=f"again {n}"))
    assert other.asked["/keys"] <= 3, "failures make the pause longer"
    kept._fetched -= keys.STALE
    assert await refusal(guard, other.token(jti="3")) == 503, (
        "but not for ever, and that is not the token's fault"
    )
    other.up = True
    kept.fetching.next_try = 0.0
    assert (await ask(guard, other.token(jti="4"))).subject == "them"
    await guard.close()


async def test_a_new_key_of_an_issuer_out_of_reach_does_not_make_a_token_bad(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    other.keys.append(jwk.generate("ES256", "second"))
    other.up = False
    kept = keys_of(guard)
    for n in range(20):
        assert await refusal(guard, other.token(other.keys[1], jti=f"new {n}")) == 503, "nobody can tell"
    assert other.asked["/keys"] == 2, "and nobody is asked again at once"
    assert (await ask(guard, other.token(jti="known"))).subject == "them"
    other.up = True
    kept.fetching.next_try = 0.0
    assert (await ask(guard, other.token(other.keys[1], jti="new"))).subject == "them"
    assert await refusal(guard, other.token(jwk.generate("ES256", "invented"))) == 401, "now it can be told"
    await guard.close()


async def test_an_issuer_whose_tls_breaks_after_the_handshake_has_not_answered(
    other: OtherIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = certificates.make(tmp_path, "localhost", names=(x509.DNSName("localhost"),))
    monkeypatch.setenv("SSL_CERT_FILE", str(shown.path))
    served = certificates.serving(shown)

    def answer(listening: socket.socket) -> None:
        while True:
            try:
                accepted = listening.accept()[0]
            except TimeoutError:  # nobody asks any more
                return
            with served.wrap_socket(accepted, server_side=True) as connection:
                connection.recv(4096)
                with socket.socket(fileno=connection.detach()) as bare:
                    bare.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(1)
        answering = asyncio.create_task(asyncio.to_thread(answer, listening))
        issuer = f"https://localhost:{listening.getsockname()[1]}"
        guard = Guard(issuer, audience=API)
        assert await refusal(guard, other.token(iss=issuer)) == 503
        await guard.close()
        await answering


async def test_why_there_is_no_connection_to_an_issuer_is_logged(
    other: OtherIssuer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
        """Answer nobody: the certificate comes from an authority that nobody trusts."""

    shown = certificates.make(tmp_path, "localhost", names=certificates.LOCALHOST)
    with LoopbackServer(nothing, tls=certificates.serving(shown)) as server:
        issuer = f"https://localhost:{server.port}"
        guard = Guard(issuer, audience=API)
        assert await refusal(guard, other.token(iss=issuer)) == 503
        await guard.close()
    assert f"no connection to {issuer}/" in caplog.text
    assert "certificate verify failed" in caplog.text
