"""Derived identities: the same every time, different for everyone, and not to be linked without the secret."""

import itertools
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_core_ed25519_sub

from watchword.zero import derivation, disclosure, identity
from watchword.zero.records import Identity, Secret, encode_base64url, to_binary

seeds = st.binary(min_size=32, max_size=32)
labels = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)

ATTRIBUTES = disclosure.pack_attributes({"email": "ada@example.org", "age": 33})
MIDNIGHT = 1_800_057_600


def document(secret: Secret) -> Identity:
    return identity.create(secret, MIDNIGHT, MIDNIGHT + 86400, b"r" * 32)


def parts(document: Identity) -> Iterator[bytes]:
    """Every field of a document but the dates, which the holder chooses alike for all."""
    yield from (document.public, document.commitment, document.response, document.jkt.encode())
    yield from (digest.encode() for digest in document.commitments)


@settings(max_examples=20)
@given(seeds, labels, labels)
def test_derivation_is_repeatable(seed: bytes, verifier: str, purpose: str) -> None:
    first = derivation.derive(Secret(seed, ()), verifier, purpose)
    assert first == derivation.derive(Secret(seed, ()), verifier, purpose)


@settings(max_examples=20)
@given(seeds, st.lists(st.tuples(labels, labels), min_size=2, max_size=4, unique=True))
def test_derived_identities_share_nothing_with_each_other_or_with_the_base(
    seed: bytes, pairs: list[tuple[str, str]]
) -> None:
    """Unlinkable: even with the same attributes in them, no field of one occurs in another."""
    base = Secret(seed, ATTRIBUTES)
    children = [derivation.derive(base, verifier, purpose, ATTRIBUTES) for verifier, purpose in pairs]
    for one, other in itertools.combinations([base, *children], 2):
        assert not set(parts(document(one))) & set(parts(document(other)))
        assert len(to_binary(document(one))) == len(to_binary(document(other)))


@settings(max_examples=10)
@given(seeds, seeds)
def test_whose_child_it_is_cannot_be_told_by_differences_of_points(one: bytes, two: bytes) -> None:
    """No algebra links child to parent: with additive derivation, the difference would be the same for all seeds."""
    if one == two:
        return
    assert _difference(one) != _difference(two)


def _difference(seed: bytes) -> bytes:
    child = derivation.derive(Secret(seed, ()), "https://api.example", "login")
    return crypto_core_ed25519_sub(derivation.public_of(child.seed), derivation.public_of(seed))


def test_the_bits_of_derived_points_are_spread_evenly() -> None:
    """A bias shared by one holder's children would link them; 256 children, each bit set in about half of them."""
    base = Secret(b"\x01" * 32, ())
    points = [
        int.from_bytes(derivation.public_of(derivation.derive(base, f"https://{n}", "login").seed), "little")
        for n in range(256)
    ]
    counts = [sum(point >> bit & 1 for point in points) for bit in range(254)]
    assert all(80 <= count <= 176 for count in counts)  # six standard deviations


def test_verifier_and_purpose_do_not_run_into_each_other() -> None:
    base = Secret(b"\x01" * 32, ())
    assert derivation.derive(base, "ab", "c").seed != derivation.derive(base, "a", "bc").seed


def test_nothing_is_carried_over_unless_it_is_named() -> None:
    base = Secret(b"\x01" * 32, ATTRIBUTES)
    assert derivation.derive(base, "https://api.example", "login").attributes == ()
    kept = derivation.derive(base, "https://api.example", "login", disclosure.select(base, ["age"]))
    assert disclosure.read_attributes(kept) == {"age": 33}


def test_the_key_binding_key_is_not_the_identity(vectors: Any) -> None:
    """No secret serves two schemes."""
    seed = bytes.fromhex(vectors("derivation")["seed"])
    assert derivation.binding_jwk(seed)["x"] != encode_base64url(derivation.public_of(seed))
