"""Issuers that are not Watchword, and several in one guard: keys through rotation and outage, and nobody's word for another's."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fixtures.other_issuer import OtherIssuer

from watchword.guard import Guard, Principal, Refused, Trusted, issuer, keys, verifier
from watchword.guard.presented import Presented
from watchword.jose import jwk, jws
from watchword.oauth import ended

API = "https://api.example.com"


@pytest.fixture
def other() -> Iterator[OtherIssuer]:
    """An issuer that is not Watchword."""
    with OtherIssuer() as issuer:
        yield issuer


async def ask(guard: Guard, token: str) -> Principal:
    """Present a token."""
    return await guard.authenticate(Presented(authorization=(f"Bearer {token}",)))


async def refusal(guard: Guard, token: str) -> int:
    """Return the status with which a token is refused."""
    with pytest.raises(Refused) as refused:
        await ask(guard, token)
    return refused.value.status


async def test_tokens_of_any_issuer_are_verified_by_its_published_keys(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    who = await ask(guard, other.token())
    assert (who.subject, who.issuer, who.scopes) == ("them", other.issuer, {"orders:read"})
    stranger = jwk.generate("ES256", "first")
    for bad in (
        other.token(stranger),
        other.token(iss="https://elsewhere.example.com"),
        other.token(aud="x"),
    ):
        assert await refusal(guard, bad) == 401
    await guard.close()


async def test_an_issuer_whose_name_ends_with_a_slash_is_found_all_the_same(other: OtherIssuer) -> None:
    named = (
        other.issuer + "/"
    )  # as Auth0's do; OpenID Connect Discovery §4 takes the slash away before it appends
    other.documents["/.well-known/openid-configuration"]["issuer"] = named
    guard = Guard(named, audience=API)
    assert (await ask(guard, other.token(iss=named))).issuer == named
    assert await refusal(guard, other.token()) == 401
    await guard.close()


async def test_an_issuer_with_a_style_of_its_own_is_described(other: OtherIssuer) -> None:
    described = Trusted(issuer=other.issuer, types=("at+jwt", "JWT"), algorithms=("RS256", "ES256"))
    guard, strict = Guard(described, audience=API), Guard(other.issuer, audience=API)
    token = other.token(typ="JWT", client_id=None, azp="web", jti=None, scope=None, scp=["orders:read"])
    who = await ask(guard, token)
    assert (who.client_id, who.scopes) == ("web", {"orders:read"})
    assert await refusal(strict, token) == 401, "what is not said is expected as RFC 9068 has it"
    assert await refusal(guard, other.token(typ="JWT", nonce="n")) == 401, "an ID token is no access token"
    for one in (guard, strict):
        await one.close()


async def test_a_key_signs_by_its_own_algorithm_and_only_by_one_that_is_trusted(other: OtherIssuer) -> None:
    other.keys = [jwk.generate("RS256", "rsa"), jwk.generate("EdDSA", "ed")]
    guard = Guard(Trusted(issuer=other.issuer, algorithms=("RS256",)), audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    assert await refusal(guard, other.token(other.keys[1])) == 401, "EdDSA is not trusted here"
    confused = jwk.Key("rsa", "PS256", "RSA", other.keys[0].public, other.keys[0].private, "t")
    assert await refusal(guard, other.token(confused)) == 401, "the key is for RS256"
    with pytest.raises(ValueError, match="algorithms"):
        Trusted(issuer=other.issuer, algorithms=("HS256",))
    await guard.close()


async def test_of_several_issuers_each_speaks_for_itself() -> None:
    with OtherIssuer() as one, OtherIssuer() as two:
        guard = Guard(
            [one.issuer, Trusted(issuer=two.issuer, audience="orders", opaque_prefixes=("two-",))],
            audience=API,
        )
        assert (await ask(guard, one.token())).issuer == one.issuer
        assert (await ask(guard, two.token(aud="orders"))).issuer == two.issuer
        assert guard.issuers == (one.issuer, two.issuer)
        for bad in (
            one.token(two.keys[0]),
            two.token(),
            one.token(iss=two.issuer),
            one.token(iss="https://x.example.com"),
        ):
            assert await refusal(guard, bad) == 401
        assert await refusal(guard, "two-" + "a" * 30) == 401
        assert (one.asked["/introspect"], two.asked["/introspect"]) == (0, 1), (
            "one issuer does not see another's tokens"
        )
        assert await refusal(guard, "b" * 30) == 401
        assert (one.asked["/introspect"], two.asked["/introspect"]) == (1, 1)
        await guard.close()


@pytest.mark.parametrize(
    "token", ["q7Zt_Rb0-kJw1" * 3, "ory_at_" + "x" * 43 + "." + "y" * 43, "glpat-" + "a_" * 20]
)
async def test_an_opaque_token_of_another_issuer_may_look_like_anything(
    other: OtherIssuer, token: str
) -> None:
    other.documents["/introspect"] = {"active": True, "sub": "them", "aud": API, "scope": "orders:read"}
    for trusted in (other.issuer, Trusted(issuer=other.issuer, opaque_prefixes=(token[:4],))):
        guard = Guard(trusted, audience=API)
        assert (await ask(guard, token)).subject == "them"
        assert await refusal(guard, "wwa_" + "0" * 36) == 401
        assert await refusal(guard, "wwa_" + "0" * 20) == 401
        await guard.close()
    assert other.asked["/introspect"] == 2, "a garbled token of ours is refused offline"


async def test_a_new_key_is_fetched_once_for_all_who_need_it(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    other.delay = 0.1
    found = await asyncio.gather(*(ask(guard, other.token(jti=str(n))) for n in range(50)))
    assert {who.subject for who in found} == {"them"}
    assert other.asked["/keys"] == 1, "no stampede"
    await guard.close()


async def test_kr_05_unknown_keys_make_no_flood_of_requests(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    for n in range(300):
        assert await refusal(guard, other.token(jwk.generate("EdDSA", f"invented {n}"))) == 401
    assert other.asked["/keys"] == 1, "the keys had been fetched a moment before"
    assert (await ask(guard, other.token(jti="2"))).subject == "them"
    other.keys.append(jwk.generate("ES256", "second"))
    guard._only._keys.fetching.next_try = 0.0  # type: ignore[union-attr]  # the interval has passed
    assert (await ask(guard, other.token(other.keys[1]))).subject == "them", "a rotation is noticed"
    assert other.asked["/keys"] == 2
    await guard.close()


async def test_old_keys_are_used_on_while_the_issuer_is_out_of_reach(other: OtherIssuer) -> None:
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    kept = guard._only._keys  # type: ignore[union-attr]  # to let time pass
    other.up = False
    kept._fetched -= kept._max_age + 1
    kept.fetching.next_try = 0.0
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
    kept = guard._only._keys  # type: ignore[union-attr]  # to let time pass
    kept.fetching.next_try = 0.0
    for n in range(20):
        assert await refusal(guard, other.token(other.keys[1], jti=f"new {n}")) == 503, "nobody can tell"
    assert other.asked["/keys"] == 2, "and nobody is asked again at once"
    assert (await ask(guard, other.token(jti="known"))).subject == "them"
    other.up = True
    kept.fetching.next_try = 0.0
    assert (await ask(guard, other.token(other.keys[1], jti="new"))).subject == "them"
    assert await refusal(guard, other.token(jwk.generate("ES256", "invented"))) == 401, "now it can be told"
    await guard.close()


async def test_metadata_are_asked_for_once_by_all_and_not_again_at_once_when_they_fail(
    other: OtherIssuer,
) -> None:
    other.documents["/introspect"] = {"active": True, "sub": "them", "aud": API, "exp": int(time.time()) + 60}
    opaque = [f"an-opaque-token-{n:04}" for n in range(50)]
    other.up = False
    broken = Guard(other.issuer, audience=API)
    assert [await refusal(broken, token) for token in opaque] == [503] * 50
    assert other.asked["/.well-known/openid-configuration"] < 5
    other.up, other.delay = True, 0.1
    other.asked.clear()
    guard = Guard(other.issuer, audience=API)
    found = await asyncio.gather(*(ask(guard, token) for token in opaque))
    assert {who.subject for who in found} == {"them"}
    assert other.asked == {"/.well-known/openid-configuration": 1, "/introspect": 50}, "no stampede"
    await broken.close()
    await guard.close()


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"}, id="a weak one"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": "AA", "kid": "half"}, id="one without a part"),
        pytest.param({"kty": "RSA", "x5c": ["AA"], "kid": "x"}, id="one that is only a certificate"),
        pytest.param({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}, id="one of a kind to come"),
        pytest.param({"kty": "oct", "k": "AAAA"}, id="a secret"),
        pytest.param(7, id="one that is no object"),
    ],
)
async def test_a_key_that_cannot_be_used_does_not_spoil_the_others(other: OtherIssuer, odd: object) -> None:
    sound = {**jwk.public_document(other.keys[0]), "use": "sig"}
    other.documents["/keys"] = {"keys": [odd, sound, odd]}
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    await guard.close()


async def test_a_few_find_out_for_all_that_an_issuer_hangs(
    other: OtherIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = Guard(other.issuer, audience=API)
    good = {"active": True, "sub": "them", "aud": API, "exp": int(time.time()) + 60}
    other.documents["/introspect"] = good
    assert (await ask(guard, "an-opaque-token-honest")).subject == "them"
    monkeypatch.setattr(issuer, "LONGEST", 0.2)
    monkeypatch.setattr(issuer, "REST", 60.0)
    other.documents["/introspect"] = _drop_by_drop
    other.asked.clear()
    assert [await refusal(guard, f"an-opaque-token-{n:04}") for n in range(40)] == [503] * 40
    assert other.asked["/introspect"] == issuer.FAILURES
    other.documents["/introspect"] = good
    monkeypatch.setattr(issuer, "LONGEST", 10.0)
    guard._only._issuer._next_question = 0.0  # type: ignore[union-attr]  # the pause has passed
    found = [(await ask(guard, f"an-opaque-token-{n:04}")).subject for n in range(40)]
    assert found == ["them"] * 40
    await guard.close()


def _without_end(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" " * 65_536)


def _drop_by_drop(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" ")
            time.sleep(0.02)


@pytest.mark.parametrize("answer", [_without_end, _drop_by_drop], ids=["without end", "drop by drop"])
@pytest.mark.parametrize("path", ["/keys", "/introspect", "/.well-known/openid-configuration"])
async def test_an_answer_that_never_ends_holds_nobody_up(
    other: OtherIssuer, monkeypatch: pytest.MonkeyPatch, answer: Any, path: str
) -> None:
    token = "an-opaque-token-0000" if path == "/introspect" else other.token()
    honest, broken = (Guard(other.issuer, audience=API) for _ in range(2))
    other.documents["/introspect"] = {"active": True, "sub": "them", "aud": API, "exp": int(time.time()) + 60}
    assert (await ask(honest, token)).subject == "them"
    monkeypatch.setattr(issuer, "LONGEST", 0.5)
    other.documents[path] = answer
    assert await refusal(broken, token) == 503
    await honest.close()
    await broken.close()


async def test_metadata_that_name_an_address_in_the_clear_are_not_believed(other: OtherIssuer) -> None:
    other.documents["/.well-known/openid-configuration"]["jwks_uri"] = "http://keys.example.com/jwks"
    guard = Guard(other.issuer, audience=API)
    assert await refusal(guard, other.token()) == 503
    await guard.close()


async def test_keys_can_be_named_where_there_are_no_metadata(other: OtherIssuer) -> None:
    other.documents.clear()
    guard = Guard(Trusted(issuer=other.issuer, jwks_uri=f"{other.issuer}/keys"), audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    await guard.close()


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
    page = {
        "iss": other.issuer,
        "iat": int(time.time()),
        "after": "",
        "position": "feed.1",
        "more": False,
        "ended": [],
    }
    said = page | {name: value for name, value in says.items() if name not in ("key", "typ")}
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
