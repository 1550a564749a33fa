"""What an issuer tells by its revocation feed, and while it is asked: believed when it signed it, and no longer than it is true."""

import asyncio
import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.fixtures.other_issuer import OtherIssuer, ask, other, refusal

from watchword.guard import Guard, Refused, verifier
from watchword.guard import ended as what_ended
from watchword.guard.ended import WAIT, Ended
from watchword.jose import jwk, jws
from watchword.oauth import ended
from watchword.oauth.ended import EndedError, Entry, Page, digest, mark
from watchword.testing.clock import Clock

API = "https://api.example.com"
OPAQUE = "an-opaque-token-of-theirs"
__all__ = ["other"]


def feed_page(other: OtherIssuer) -> dict[str, Any]:
    """Return what a page of an issuer's feed says on which nothing has ended."""
    return {
        "iss": other.issuer,
        "iat": int(time.time()),
        "after": "",
        "position": "feed.1",
        "more": False,
        "ended": [],
    }


def publish(other: OtherIssuer, *entries: list[object]) -> None:
    """Let an issuer have a feed that tells of what has ended."""
    feed = f"{other.issuer}/revocations"
    other.documents["/.well-known/openid-configuration"]["watchword_revocations_endpoint"] = feed
    said = json.dumps({**feed_page(other), "ended": entries}).encode()
    other.documents["/revocations"] = jws.sign(other.keys[0], {"typ": ended.TOKEN_TYPE}, said).encode()


@pytest.mark.parametrize(
    ("says", "status"),
    [
        pytest.param({}, 200, id="a page that the issuer signed"),
        pytest.param({"iss": "https://elsewhere.example.com"}, 503, id="another issuer's page"),
        pytest.param({"iat": 1_000_000_000}, 503, id="an old page"),
        pytest.param({"after": "feed.7"}, 503, id="a page that does not follow on what is known"),
        pytest.param({"ended": [["not a mark!", 1]]}, 503, id="a malformed page"),
        pytest.param({"typ": "at+jwt"}, 503, id="another kind of token"),
        pytest.param({"key": jwk.generate("ES256", "first")}, 503, id="a page that a stranger signed"),
    ],
)
async def test_the_feed_is_believed_only_with(
    other: OtherIssuer, monkeypatch: pytest.MonkeyPatch, says: dict[str, Any], status: int
) -> None:
    other.documents["/.well-known/openid-configuration"]["watchword_revocations_endpoint"] = (
        f"{other.issuer}/revocations"
    )
    said = feed_page(other) | {name: value for name, value in says.items() if name not in ("key", "typ")}
    signed = jws.sign(
        says.get("key", other.keys[0]), {"typ": says.get("typ", ended.TOKEN_TYPE)}, json.dumps(said).encode()
    )
    other.documents["/revocations"] = signed.encode()
    monkeypatch.setattr(verifier, "PATIENCE", 3.0 if status == 200 else 0.5)
    guard = Guard(other.issuer, audience=API, when_silent="refuse", silence=60)
    if status == 200:
        assert (await ask(guard, other.token())).subject == "them"
    else:
        assert await refusal(guard, other.token()) == status
    await guard.close()


async def test_what_ended_before_a_guard_began_is_refused_at_its_first_use(other: OtherIssuer) -> None:
    publish(other, [ended.mark("token", "ended"), int(time.time()) + 600])
    for token, status in ((other.token(), 200), (other.token(jti="ended"), 401)):
        guard = Guard(other.issuer, audience=API, when_silent="refuse")
        if status == 200:
            assert (await ask(guard, token)).subject == "them"
        else:
            assert await refusal(guard, token) == status
        await guard.close()


async def test_a_guard_that_was_closed_follows_again_when_it_is_used_again(other: OtherIssuer) -> None:
    publish(other)
    guard = Guard(other.issuer, audience=API, when_silent="refuse")
    for _ in range(2):  # as an application's lifespan does that is run again in the same process
        assert (await ask(guard, other.token())).subject == "them"
        await guard.close()
    publish(other, [ended.mark("token", "ended"), int(time.time()) + 600])
    assert await refusal(guard, other.token(jti="ended")) == 401
    await guard.close()


class Slow:
    """Says once that a token is active, in an answer that is long on its way, and from then on that it is not."""

    def __init__(self, **told: object) -> None:
        self.told = told
        self.asked, self.arrived = threading.Event(), threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        answer = {"active": not self.asked.is_set(), **self.told}
        self.asked.set()
        self.arrived.wait(20)
        body = json.dumps(answer).encode()
        handler.send_response(200)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


async def test_an_answer_that_was_long_on_its_way_is_old(other: OtherIssuer) -> None:
    other.documents["/introspect"] = slow = Slow(sub="them", aud=API, jti="1")
    clock = Clock()
    guard = Guard(other.issuer, audience=API, cache_seconds=5, clock=clock)
    first = asyncio.create_task(ask(guard, OPAQUE))
    await asyncio.to_thread(slow.asked.wait, 20)
    clock.advance(4)
    soon = asyncio.create_task(ask(guard, OPAQUE))
    await asyncio.sleep(0.01)
    clock.advance(2)
    late = asyncio.create_task(refusal(guard, OPAQUE))
    await asyncio.sleep(0.01)
    slow.arrived.set()
    assert [(await one).subject for one in (first, soon)] == ["them", "them"], "one answer for both"
    assert await late == 401, "who came later than it may be remembered is not told by it"
    assert await refusal(guard, OPAQUE) == 401
    await guard.close()


async def test_an_issuer_is_asked_once_for_as_long_as_its_answer_is_remembered(other: OtherIssuer) -> None:
    other.documents["/introspect"] = {"active": True, "sub": "them", "aud": API, "jti": "1"}
    publish(other)
    clock = Clock()
    guard = Guard(other.issuer, audience=API, cache_seconds=60, clock=clock)
    for _ in range(3):
        assert (await ask(guard, OPAQUE)).subject == "them"
    assert other.asked["/introspect"] == 1
    publish(other, [ended.mark("token", "2"), int(time.time()) + 600])
    while (
        found := await asyncio.gather(ask(guard, other.token(jti="2")), return_exceptions=True)
    ) and not isinstance(found[0], Refused):
        await asyncio.sleep(0.05)  # until the feed has told
    assert (await ask(guard, OPAQUE)).subject == "them"
    assert other.asked["/introspect"] == 1, "nor again because another token has ended"
    clock.advance(61)
    assert (await ask(guard, OPAQUE)).subject == "them"
    assert other.asked["/introspect"] == 2
    await guard.close()


async def test_an_answer_is_remembered_no_longer_than_the_token_lives(other: OtherIssuer) -> None:
    """RFC 7662 §4: with an `exp` in it, it must not be cached beyond that."""
    clock = Clock()
    answer = {"active": True, "sub": "them", "aud": API, "exp": int(clock()) + 10}
    other.documents["/introspect"] = answer
    guard = Guard(other.issuer, audience=API, cache_seconds=60, clock=clock)
    for seconds, questions in ((0, 1), (9, 1)):
        clock.advance(seconds)
        assert (await ask(guard, OPAQUE)).subject == "them"
        assert other.asked["/introspect"] == questions
    other.documents["/introspect"] = {"active": False}
    clock.advance(1)
    assert await refusal(guard, OPAQUE) == 401
    await guard.close()


async def test_what_the_feed_tells_while_an_issuer_is_asked_counts_more_than_its_answer(
    other: OtherIssuer,
) -> None:
    other.documents["/introspect"] = slow = Slow(sub="them", aud=API, jti="1")
    publish(other)
    guard = Guard(other.issuer, audience=API, cache_seconds=3600)
    assert (await ask(guard, other.token())).subject == "them", "the feed is followed"
    asking = asyncio.create_task(ask(guard, OPAQUE))
    await asyncio.to_thread(slow.asked.wait, 20)
    publish(other, [ended.mark("token", "1"), int(time.time()) + 600])
    while (
        found := await asyncio.gather(ask(guard, other.token()), return_exceptions=True)
    ) and not isinstance(found[0], Refused):
        await asyncio.sleep(0.05)  # until the feed has told
    slow.arrived.set()
    assert (await asking).subject == "them", "that was said before it ended"
    assert await refusal(guard, OPAQUE) == 401
    await guard.close()


def test_what_one_feed_says_takes_only_so_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_ended, "MAX_ENTRIES", 3)
    begun, passed = 1_800_000_000, 0.0
    known = Ended(silence=5.0, passed=lambda: passed)

    def hear(number: int, *entries: Entry) -> None:
        known.apply(Page("", str(number), False, entries, begun + int(passed)), begun + passed)

    def named(name: str, lasting: int = 600) -> Entry:
        return Entry(mark("token", name), begun + lasting)

    hear(1, *map(named, "abc"))
    assert not known.is_silent, "the honest feed"
    hear(2, named("d"))
    assert known.concerns([digest("token", "d")], None)
    with pytest.raises(EndedError, match="more tokens"):
        hear(3, named("e", 9_000))
    assert known.position == "2", "to be read again"
    assert not known.concerns([digest("token", "e")], None)
    assert known.is_silent, "at once: the issuer is asked about each token"
    passed = WAIT + 1  # what was kept has expired by now
    hear(3, named("e", 9_000))
    assert known.position == "3"
    assert known.concerns([digest("token", "e")], None)
    assert not known.is_silent
    with pytest.raises(EndedError, match="malformed mark"):
        hear(4, Entry(jwk.b64encode(b"x" * 40_000), begun + 9_000))
