"""docs/zero.md's test vectors: reproduced by the product, and again by the second implementation."""

from typing import Any

import pytest
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from watchword.credentials import zkproof
from watchword.zero import derivation, disclosure, files, identity, proof, revocation, sealing
from watchword.zero.records import (
    Challenge,
    Identity,
    Proof,
    Record,
    Revocation,
    Sealed,
    Secret,
    from_binary,
    from_json,
    to_binary,
    to_json,
)


def read(vector: dict[str, Any], cls: type[Record]) -> Any:
    """Read a vector's record from its three forms, which must agree, and write it back to each."""
    record = from_json(vector["json"], cls)
    assert from_binary(bytes.fromhex(vector["binary"]), cls) == record
    assert files.load(vector["text"].encode(), cls) == record
    assert to_json(record) == {**vector["json"], **_as_tuples(vector["json"])}
    assert to_binary(record).hex() == vector["binary"]
    assert files.dump(record, "text").decode() == vector["text"]
    return record


def _as_tuples(document: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) for name, value in document.items() if isinstance(value, list)}


def test_derivation(vectors: Any, ref: Any) -> None:
    vector = vectors("derivation")
    seed = bytes.fromhex(vector["seed"])
    assert (
        derivation.secret_scalar(seed).hex() == vector["scalar"] == ref.scalar_bytes(ref.secret(seed)).hex()
    )
    assert derivation.public_of(seed).hex() == vector["public"] == ref.public(seed).hex()
    assert identity.identity_id(derivation.public_of(seed)) == vector["id"]
    assert derivation.binding_jwk(seed) == vector["binding_jwk"]
    assert vector["binding_jwk"]["d"] == ref.base64url(ref.hkdf(seed, "key-binding", 32))
    assert derivation.binding_thumbprint(seed) == vector["jkt"]
    for case in vector["derived"]:
        child = derivation.derive(Secret(seed, ()), case["verifier"], case["purpose"])
        other = ref.hkdf(seed, "derive", 32, case["verifier"].encode(), case["purpose"].encode())
        assert child.seed.hex() == case["seed"] == other.hex()
        assert derivation.public_of(child.seed).hex() == case["public"] == ref.public(other).hex()


def test_disclosure(vectors: Any, ref: Any) -> None:
    vector = vectors("disclosure")
    seed = bytes.fromhex(vector["seed"])
    for name, value in vector["attributes"].items():
        written = disclosure.write(seed, name, value)
        assert written == vector["disclosures"][name] == ref.disclosure(seed, name, value)
        assert disclosure.read(written) == (name, value)
    for attributes, expected in (
        (vector["attributes"], vector["commitments"]),
        ({}, vector["without_attributes"]),
        (vector["one_attribute"]["attributes"], vector["one_attribute"]["commitments"]),
    ):
        secret = Secret(seed, disclosure.pack_attributes(attributes))
        assert list(disclosure.commitments(secret)) == expected == ref.commitments(seed, attributes)


def test_identity(vectors: Any, ref: Any) -> None:
    vector = vectors("identity")
    seed = bytes.fromhex(vector["seed"])
    secret = Secret(seed, disclosure.pack_attributes(vector["attributes"]))
    created, renewed = read(vector["created"], Identity), read(vector["renewed"], Identity)
    randomness = [bytes.fromhex(vector[name]["randomness"]) for name in ("created", "renewed")]
    assert identity.create(secret, created.created, created.expires, randomness[0]) == created
    assert identity.renew(created, secret, renewed.renewed, renewed.expires, randomness[1]) == renewed
    for record, random in zip((vector["created"], vector["renewed"]), randomness, strict=True):
        fields = ref.identity_fields(record["json"])
        made = ref.prove("watchword/zero/1/identity", seed, random, *fields)
        assert made == tuple(ref.unbase64url(record["json"][name]) for name in ("commitment", "response"))
        assert ref.accepts("watchword/zero/1/identity", ref.public(seed), *made, *fields)


@pytest.mark.parametrize(
    "number", range(3), ids=["unbound", "bound to DPoP and disclosing", "derived and bound to TLS"]
)
def test_proof(vectors: Any, ref: Any, number: int) -> None:
    asked = read(vectors("proof")["challenge"], Challenge)
    vector = vectors("proof")["proofs"][number]
    seed, randomness = bytes.fromhex(vector["seed"]), bytes.fromhex(vector["randomness"])
    answer = read(vector, Proof)
    secret = Secret(seed, disclosure.pack_attributes(vectors("disclosure")["attributes"]))
    names = [disclosure.read(text)[0] for text in answer.disclosures]
    lifetime = answer.expires - answer.issued
    again = proof.prove(
        secret,
        asked,
        channel=answer.channel or None,
        disclose=names,
        now=answer.issued,
        lifetime=lifetime,
        randomness=randomness,
    )
    assert again == answer
    fields = ref.proof_fields(vector["json"])
    made = ref.prove("watchword/zero/1/proof", seed, randomness, *fields)
    assert made == (answer.commitment, answer.response)
    assert ref.accepts("watchword/zero/1/proof", answer.public, *made, *fields)


def test_revocation(vectors: Any, ref: Any) -> None:
    vector = vectors("revocation")
    seed, randomness = bytes.fromhex(vector["seed"]), bytes.fromhex(vector["randomness"])
    record = read(vector["revocation"], Revocation)
    assert revocation.revoke(Secret(seed, ()), record.revoked, record.reason, randomness) == record
    fields = (ref.u64(record.revoked), record.reason.encode())
    made = ref.prove("watchword/zero/1/revocation", seed, randomness, *fields)
    assert made == (record.commitment, record.response)


def test_sealed_secret(vectors: Any, ref: Any) -> None:
    """Opened once by libsodium, once by argon2-cffi, HChaCha20 in Python and OpenSSL's ChaCha20-Poly1305."""
    vector = vectors("sealed")
    record = read(vector["sealed"], Sealed)
    opened = sealing.unseal(record, vector["passphrase"])
    assert to_binary(opened).hex() == vector["open"]
    salt, nonce = bytes.fromhex(vector["salt"]), bytes.fromhex(vector["nonce"])
    assert sealing.seal(opened, vector["passphrase"], salt, nonce, record.passes, record.memory) == record
    password = vector["passphrase"].encode()
    key = hash_secret_raw(password, salt, record.passes, record.memory, 1, 32, Type.ID)
    bound = b"WWZ1" + ref.frame(b"argon2id", ref.u64(record.passes), ref.u64(record.memory), salt, nonce)
    cipher = ChaCha20Poly1305(ref.hchacha20(key, nonce[:16]))
    assert cipher.decrypt(bytes(4) + nonce[16:], record.ciphertext, bound).hex() == vector["open"]


def test_refused_encodings(vectors: Any, ref: Any) -> None:
    vector = vectors("refused")
    for point in vector["points"]:
        assert not ref.member(bytes.fromhex(point["hex"])), point["why"]
        with pytest.raises(zkproof.ZeroError):
            zkproof.check_point(bytes.fromhex(point["hex"]))
    for scalar in vector["scalars"]:
        with pytest.raises(zkproof.ZeroError):
            zkproof.check_scalar(bytes.fromhex(scalar["hex"]))
