"""Issuers that are not Watchword, and several in one guard: described, asked, and nobody's word for another's."""

import asyncio
import contextlib
import time
from typing import Any

import msgspec
import pytest
from tests.fixtures.other_issuer import OtherIssuer, ask, other, refusal

from watchword.guard import Guard, Trusted, issuer
from watchword.jose import jwk

API = "https://api.example.com"
OPAQUE = "an-opaque-token-of-theirs"
__all__ = ["other"]


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
    # As Auth0's do; OpenID Connect Discovery §4 takes the slash away before it appends
    named = other.issuer + "/"
    other.documents["/.well-known/openid-configuration"]["issuer"] = named
    guard = Guard(named, audience=API)
    assert (await ask(guard, other.token(iss=named))).issuer == named
    assert await refusal(guard, other.token()) == 401
    await guard.close()


async def test_metadata_are_found_though_a_page_stands_where_others_have_theirs(other: OtherIssuer) -> None:
    """A server of OAuth alone (RFC 8414) beside a web site that answers every address that it does not know with its page."""
    other.documents["/.well-known/oauth-authorization-server"] = other.documents[
        "/.well-known/openid-configuration"
    ]
    other.documents["/.well-known/openid-configuration"] = b"<!doctype html>"
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, other.token())).subject == "them"
    await guard.close()


async def test_an_issuer_with_a_style_of_its_own_is_described(other: OtherIssuer) -> None:
    described = Trusted(issuer=other.issuer, types=("at+jwt", "JWT"), algorithms=("RS256", "ES256"))
    guard, strict = Guard(described, audience=API), Guard(other.issuer, audience=API)
    token = other.token(typ="JWT", client_id=None, azp="web", jti=None, scope=None, scp=["orders:read"])
    who = await ask(guard, token)
    assert (who.client_id, who.scopes) == ("web", {"orders:read"})
    assert await refusal(strict, token) == 401, "what is not said is expected as RFC 9068 has it"
    assert await refusal(guard, other.token(typ="JWT", nonce="n")) == 401, "an ID token is no access token"
    assert (await ask(strict, other.token(nonce="n"))).subject == "them", (
        "the type of RFC 9068 says that it is one"
    )
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
    named = Guard(Trusted(issuer=other.issuer, algorithms=("Ed25519",)), audience=API)
    assert (await ask(named, other.token(other.keys[1]))).subject == "them", "RFC 9864's name for EdDSA"
    assert await refusal(named, other.token()) == 401, "RS256 is not trusted there"
    for one in (guard, named):
        await one.close()


@pytest.mark.parametrize("algorithm", jwk.RSA_ALGORITHMS)
async def test_a_key_of_rsa_that_names_no_algorithm_is_for_those_that_are_trusted(
    other: OtherIssuer, algorithm: str
) -> None:
    key = jwk.generate("RS256", "rsa")
    open_key = {name: value for name, value in jwk.public_document(key).items() if name != "alg"}
    other.documents["/keys"] = {"keys": [open_key]}
    guard = Guard(Trusted(issuer=other.issuer, algorithms=(algorithm,)), audience=API)
    signing = {name: msgspec.structs.replace(key, alg=name) for name in jwk.RSA_ALGORITHMS}
    assert (await ask(guard, other.token(signing[algorithm]))).subject == "them"
    wrong = "PS256" if algorithm == "RS256" else "RS256"
    assert await refusal(guard, other.token(signing[wrong])) == 401, f"{wrong} is not trusted there"
    other.documents["/keys"] = {"keys": [open_key | {"alg": wrong}]}
    stated = Guard(Trusted(issuer=other.issuer, algorithms=(algorithm,)), audience=API)
    assert await refusal(stated, other.token(signing[algorithm])) == 401, "a key that says is held to it"
    for one in (guard, stated):
        await one.close()


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


async def test_an_opaque_token_is_none_of_an_issuer_that_cannot_be_asked_about_it(other: OtherIssuer) -> None:
    for made in other.documents.values():
        made.pop("introspection_endpoint", None)
    for trusted in (other.issuer, Trusted(issuer=other.issuer, jwks_uri=f"{other.issuer}/keys")):
        guard = Guard(trusted, audience=API)
        assert (await ask(guard, other.token())).subject == "them"
        assert await refusal(guard, "a" * 40) == 401, "503 would ask its caller to come again, for ever"
        await guard.close()
    live = Guard(other.issuer, audience=API, live=True)
    assert await refusal(live, other.token()) == 503, "a good token, which nobody can be asked about"
    await live.close()


async def test_who_runs_the_api_is_told_why_a_token_was_refused_and_callers_are_not(
    other: OtherIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    second = "https://second.example.com"
    guard, both = Guard(other.issuer, audience=API), Guard([other.issuer, second], audience=API)
    refused = (
        (guard, other.token(typ="JWT"), "type: expected types=('at+jwt',)"),
        (guard, other.token(jti=None), "missing jti"),
        (guard, other.token(exp=1), "expired"),
        (
            guard,
            other.token(aud="https://x"),
            f"it is meant for 'https://x', and the audience here is '{API}'",
        ),
        (guard, other.token(jwk.generate("ES256", "new")), "signature: the issuer has no key 'new'"),
        (guard, other.token(iss=second), f"issuer: expected issuer='{other.issuer}'"),
        (guard, "wwa_" + "0" * 36, "it is no JWT, and no opaque token of this issuer"),
        (both, other.token(iss=f"{second}/"), f"its issuer '{second}/' is none of {other.issuer}, {second}"),
    )
    with caplog.at_level("INFO", "watchword.guard"):
        for one, token, _ in refused:
            assert await refusal(one, token) == 401
    told = [record.getMessage() for record in caplog.records if record.name == "watchword.guard"]
    assert told == [f"a token was refused: {reason}" for _, _, reason in refused]
    assert not any(token in line for line in told for _, token, _ in refused)
    for one in (guard, both):
        await one.close()


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


async def test_an_issuer_that_calls_an_expired_token_active_is_not_believed(other: OtherIssuer) -> None:
    told = {"active": True, "sub": "them", "aud": API, "exp": int(time.time()) + 300}
    other.documents["/introspect"] = told
    guard = Guard(other.issuer, audience=API)
    assert (await ask(guard, OPAQUE)).subject == "them"
    other.documents["/introspect"] = told | {"exp": int(time.time()) - 300}
    assert await refusal(guard, OPAQUE + "-another") == 401
    await guard.close()


@pytest.mark.parametrize(("seconds", "status"), [(5, 429), (True, 401), ("5", 401), (0, 401)])
async def test_a_caller_is_told_to_wait_for_seconds_that_are_a_number(
    other: OtherIssuer, seconds: object, status: int
) -> None:
    """An adapter reads them again, as Django REST framework's `wait`."""
    other.documents["/introspect"] = {"active": False, "retry_after": seconds}
    guard = Guard(other.issuer, audience=API)
    assert await refusal(guard, OPAQUE) == status
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
