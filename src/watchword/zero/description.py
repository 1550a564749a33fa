"""Records described as names and values, for people and for `--json`, without any secret."""

from watchword.zero.disclosure import read
from watchword.zero.identity import identity_id
from watchword.zero.records import (
    Challenge,
    Identity,
    Proof,
    Record,
    Revocation,
    Sealed,
    encode_base64url,
    kind_of,
)


def describe(record: Record) -> dict[str, object]:
    """Return a record's kind and what there is to know about it."""
    return {"kind": kind_of(record), **_details(record)}


def _details(record: Record) -> dict[str, object]:
    if isinstance(record, Identity):
        return _identity(record)
    if isinstance(record, Challenge):
        return {"verifier": record.verifier, "purpose": record.purpose, "expires": record.expires}
    if isinstance(record, Proof):
        return _proof(record)
    if isinstance(record, Revocation):
        return {"id": identity_id(record.public), "revoked": record.revoked, "reason": record.reason}
    if isinstance(record, Sealed):
        return {"kdf": "argon2id", "passes": record.passes, "memory": record.memory}
    return {}


def _identity(record: Identity) -> dict[str, object]:
    return {
        "id": identity_id(record.public),
        "public": encode_base64url(record.public),
        "created": record.created,
        "renewed": record.renewed,
        "expires": record.expires,
        "sequence": record.sequence,
        "commitments": len(record.commitments),
    }


def _proof(record: Proof) -> dict[str, object]:
    return {
        "id": identity_id(record.public),
        "verifier": record.verifier,
        "purpose": record.purpose,
        "issued": record.issued,
        "expires": record.expires,
        "bound": bool(record.channel),
        "attributes": dict(read(disclosure) for disclosure in record.disclosures),
    }
