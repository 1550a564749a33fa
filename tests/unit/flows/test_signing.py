"""What the requests of a turn want signed: each gets its own, and the fault or the end of one is nobody else's."""

import asyncio

import pytest

from watchword.flows.signing import Signatures
from watchword.jose import JoseError, jwk, jwt

KEY = jwk.generate("ES256", "current")
VERIFYING_ONLY = jwk.parse(jwk.public_document(KEY), "ES256")
NOW = 1_700_000_000


def claims_of(token: str, key: jwk.Key = KEY) -> dict[str, object]:
    return jwt.decode(token, [key], algorithms=[key.alg], typ="at+jwt", now=NOW)


async def test_everybody_gets_the_token_they_wanted() -> None:
    signatures, other = Signatures(), jwk.generate("EdDSA", "other")
    wanted = [(KEY if number % 2 else other, {"sub": f"user-{number}"}) for number in range(20)]
    tokens = await asyncio.gather(*(signatures.sign(key, claims, "at+jwt") for key, claims in wanted))
    assert [claims_of(token, key)["sub"] for token, (key, _) in zip(tokens, wanted, strict=True)] == [
        claims["sub"] for _, claims in wanted
    ]
    assert claims_of(await signatures.sign(KEY, {"sub": "later"}, "at+jwt"))["sub"] == "later"


async def test_what_cannot_be_signed_is_the_fault_of_one() -> None:
    signatures = Signatures()
    before, failed, after = await asyncio.gather(
        signatures.sign(KEY, {"sub": "before"}, "at+jwt"),
        signatures.sign(VERIFYING_ONLY, {"sub": "nobody"}, "at+jwt"),
        signatures.sign(KEY, {"sub": "after"}, "at+jwt"),
        return_exceptions=True,
    )
    assert isinstance(failed, JoseError)
    assert isinstance(before, str)
    assert isinstance(after, str)
    assert [claims_of(before)["sub"], claims_of(after)["sub"]] == ["before", "after"]


async def test_whoever_goes_away_takes_no_other_along() -> None:
    signatures = Signatures()
    leaving = asyncio.create_task(signatures.sign(KEY, {"sub": "leaving"}, "at+jwt"))
    staying = asyncio.create_task(signatures.sign(KEY, {"sub": "staying"}, "at+jwt"))
    asyncio.get_running_loop().call_soon(leaving.cancel)
    assert claims_of(await staying)["sub"] == "staying"
    with pytest.raises(asyncio.CancelledError):
        await leaving


def test_a_loop_that_ended_early_keeps_nobody_waiting_in_another() -> None:
    signatures = Signatures()
    ended = asyncio.new_event_loop()
    waiting = ended.create_task(signatures.sign(KEY, {"sub": "never"}, "at+jwt"))
    ended.call_soon(ended.stop)
    ended.run_forever()
    waiting.cancel()
    ended.close()
    assert claims_of(asyncio.run(signatures.sign(KEY, {"sub": "here"}, "at+jwt")))["sub"] == "here"
