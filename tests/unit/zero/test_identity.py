"""Identities: created, verified, renewed by their holder; changed by nobody; refused when expired or revoked."""

from functools import partial
from typing import Any

import pytest
from msgspec import structs
from tests.unit.zero.refusing import refused

from watchword.credentials import zkproof
from watchword.zero import identity
from watchword.zero.derivation import public_of, secret_scalar
from watchword.zero.records import Secret

DAY = 86400


def test_an_identity_verifies_between_its_dates(holder: Any) -> None:
    identity.check_identity(holder.identity, now=holder.now)
    identity.check_identity(holder.identity, now=holder.now + DAY - 1)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        pytest.param({"now": 1_800_086_400}, "expired", id="at its end it has expired"),
        pytest.param({"now": 1_800_086_460, "leeway": 60}, "expired", id="beyond the leeway it has expired"),
        pytest.param({"now": 1_799_999_999}, "not_yet_valid", id="before its beginning it is not valid"),
        pytest.param(
            {"now": 1_800_000_001, "revoked": {public_of(bytes(range(32)))}}, "revoked", id="revoked"
        ),
    ],
)
def test_refused(holder: Any, arguments: dict[str, Any], reason: str) -> None:
    identity.check_identity(holder.identity, now=holder.now + 1, revoked={public_of(b"o" * 32)})
    assert refused(lambda: identity.check_identity(holder.identity, **arguments)) == reason


def test_the_leeway_is_added_at_both_ends(holder: Any) -> None:
    begins, ends, leeway = holder.now, holder.now + DAY, 30
    for now in (begins - leeway, ends + leeway - 1):
        identity.check_identity(holder.identity, now=now, leeway=leeway)
    for now, reason in ((begins - leeway - 1, "not_yet_valid"), (ends + leeway, "expired")):
        check = partial(identity.check_identity, holder.identity, now=now, leeway=leeway)
        assert refused(check) == reason
    later = renewed(holder)
    at = later.renewed - leeway
    identity.check_renewal(holder.identity, later, now=at, leeway=leeway)
    assert refused(lambda: identity.check_renewal(holder.identity, later, now=at)) == "not_yet_valid"
    late = partial(identity.check_renewal, holder.identity, later, now=ends + leeway - 1)
    late(leeway=leeway)
    assert refused(late) == "expired"


@pytest.mark.parametrize(
    "changes",
    [
        {"public": public_of(b"o" * 32)},
        {"created": 1_799_999_999},
        {"renewed": 1_800_000_001},
        {"expires": 1_900_000_000},
        {"sequence": 1},
        {"jkt": "A" * 43},
        {"commitments": ()},
        {"response": b"\x01" + bytes(31)},
    ],
    ids=lambda changes: f"a changed {next(iter(changes))} breaks the proof",
)
def test_nobody_else_can_change_an_identity(holder: Any, changes: dict[str, Any]) -> None:
    changed = structs.replace(holder.identity, **changes)
    assert refused(lambda: identity.check_identity(changed, now=holder.now + 1)) == "proof"


def renewed(holder: Any, **changes: Any) -> Any:
    arguments = {
        "renewed": holder.now + 10,
        "expires": holder.now + 2 * DAY,
        "randomness": b"q" * 32,
        **changes,
    }
    secret = arguments.pop("secret", holder.secret)
    return identity.renew(holder.identity, secret, **arguments)


def test_an_identity_lives_a_second_at_least_and_ten_years_at_most(holder: Any) -> None:
    def made(seconds: int) -> Any:
        return identity.create(holder.secret, holder.now, holder.now + seconds, b"q" * 32)

    for seconds in (1, 3660 * DAY):
        identity.check_identity(made(seconds), now=holder.now)
    for seconds in (0, 3660 * DAY + 1):
        assert refused(lambda seconds=seconds: made(seconds)) == "lifetime"


def test_the_holder_renews(holder: Any) -> None:
    later = renewed(holder)
    identity.check_identity(later, now=holder.now + 2 * DAY - 1)
    identity.check_renewal(holder.identity, later, now=holder.now + 20)
    assert later.public == holder.identity.public
    assert later.sequence == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"secret": Secret(b"o" * 32, ())}, "identity", id="not by another"),
        pytest.param({"renewed": 1_800_086_400}, "expired", id="not after it has expired"),
        pytest.param({"expires": 1_800_086_400}, "renewal", id="not to the same end"),
        pytest.param({"expires": 1_800_000_005}, "lifetime", id="not to an end before the renewal"),
        pytest.param({"expires": 1_800_000_010 + 3661 * DAY}, "lifetime", id="not for more than ten years"),
        pytest.param({"expires": 2**60}, "malformed", id="not beyond all numbers"),
    ],
)
def test_renewals_refused(holder: Any, changes: dict[str, Any], reason: str) -> None:
    assert renewed(holder)
    assert refused(lambda: renewed(holder, **changes)) == reason


def test_an_older_document_does_not_replace_a_renewed_one(holder: Any) -> None:
    later = renewed(holder)
    at = holder.now + 20
    assert refused(lambda: identity.check_renewal(later, holder.identity, now=at)) == "renewal"
    assert refused(lambda: identity.check_renewal(later, later, now=at)) == "renewal"
    beside = renewed(holder, expires=holder.now + 3 * DAY)
    identity.check_renewal(holder.identity, beside, now=at)
    assert refused(lambda: identity.check_renewal(later, beside, now=at)) == "renewal"


def test_a_renewal_cannot_exchange_the_attributes(holder: Any) -> None:
    bare = identity.create(Secret(holder.secret.seed, ()), holder.now, holder.now + 9 * DAY, b"q" * 32)
    again = identity.renew(
        bare, Secret(holder.secret.seed, ()), holder.now + 1, holder.now + 10 * DAY, b"q" * 32
    )
    identity.check_renewal(bare, again, now=holder.now + 5)
    assert refused(lambda: identity.check_renewal(holder.identity, again, now=holder.now + 5)) == "renewal"


def test_attack_renewing_the_identity_of_another(holder: Any) -> None:
    later = renewed(holder)
    identity.check_renewal(holder.identity, later, now=holder.now + 20)
    for forged in (
        structs.replace(holder.identity, sequence=1, expires=later.expires),
        structs.replace(later, expires=later.expires + DAY),
        structs.replace(later, sequence=2),
    ):
        attempt = partial(identity.check_renewal, holder.identity, forged, now=holder.now + 20)
        assert refused(attempt) == "proof"


def signed(holder: Any, **changes: int) -> Any:
    """What a holder could sign with a program of its own."""
    document = structs.replace(holder.identity, **changes)
    scalar = secret_scalar(holder.secret.seed)
    proof = zkproof.prove(identity.DOMAIN, scalar, identity._fields(document), b"q" * 32)
    return structs.replace(document, commitment=proof.commitment, response=proof.response)


def test_dates_out_of_order_are_refused_although_the_holder_signed_them(holder: Any) -> None:
    now, most = holder.now, holder.now + 3660 * DAY
    for changes in ({"expires": most}, {"renewed": now + 1, "expires": now + 2}):
        identity.check_identity(signed(holder, **changes), now=now + 1)
    for changes in ({"expires": most + 1}, {"renewed": now - 1}, {"expires": now}, {"expires": now - 1}):
        attempt = partial(identity.check_identity, signed(holder, **changes), now=now)
        assert refused(attempt) == "lifetime"


def test_short_names_tell_identities_apart() -> None:
    names = {identity.identity_id(public_of(bytes([n]) * 32)) for n in range(20)}
    assert len(names) == 20
    assert all(name.startswith("zid_") and len(name) == 36 for name in names)
