"""Revocations: only the holder makes one, and a registry that is damaged is refused rather than half believed."""

import json
from typing import Any

import pytest
from msgspec import structs
from tests.unit.zero.refusing import refused

from watchword.credentials.zkproof import ZeroError
from watchword.zero import identity, revocation
from watchword.zero.derivation import public_of
from watchword.zero.records import Revocation, Secret, to_json


def line(record: Revocation) -> str:
    return json.dumps(to_json(record))


def test_a_revoked_identity_is_refused(holder: Any) -> None:
    identity.check_identity(holder.identity, now=holder.now)
    made = revocation.revoke(holder.secret, holder.now, "compromised", b"r" * 32)
    revoked = revocation.read_registry([line(made), ""])
    assert revoked == {holder.identity.public}
    assert (
        refused(lambda: identity.check_identity(holder.identity, now=holder.now, revoked=revoked))
        == "revoked"
    )


def test_a_revocation_made_in_advance_counts_once_it_is_known(holder: Any) -> None:
    made = revocation.revoke(holder.secret, 0, "unspecified", b"r" * 32)
    assert revocation.check_revocation(made) == holder.identity.public


@pytest.mark.parametrize(
    "changes",
    [
        {"public": public_of(b"o" * 32)},
        {"revoked": 5},
        {"reason": "retired"},
        {"response": b"\x01" + bytes(31)},
    ],
    ids=lambda changes: f"a changed {next(iter(changes))}",
)
def test_nobody_revokes_for_another(holder: Any, changes: dict[str, Any]) -> None:
    made = revocation.revoke(holder.secret, 1, "compromised", b"r" * 32)
    assert revocation.check_revocation(made)
    assert refused(lambda: revocation.check_revocation(structs.replace(made, **changes))) == "proof"


def test_an_identitys_own_proof_is_not_a_revocation(holder: Any) -> None:
    """Each kind of statement has its own domain."""
    known = holder.identity
    stolen = Revocation(known.public, known.created, "retired", known.commitment, known.response)
    assert refused(lambda: revocation.check_revocation(stolen)) == "proof"


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        "null",
        "{}",
        "\x00",
        "[" * 100_000,
        '{"type":"watchword-zero-revocation","version":1}',
        "9" * 5000,
    ],
    ids=lambda bad: bad[:12].replace("\x00", "NUL"),
)
def test_a_damaged_registry_is_refused_and_the_line_named(holder: Any, bad: str) -> None:
    good = line(revocation.revoke(holder.secret, 1, "retired", b"r" * 32))
    with pytest.raises(ZeroError, match="line 2") as error:
        revocation.read_registry([good, bad])
    assert error.value.reason == "registry"


def test_an_unknown_reason_is_refused() -> None:
    assert refused(lambda: revocation.revoke(Secret(b"\x01" * 32, ()), 1, "bored", b"r" * 32)) == "malformed"
    assert (
        refused(lambda: revocation.revoke(Secret(b"\x01" * 32, ()), -1, "retired", b"r" * 32)) == "malformed"
    )
