"""WebAuthn: responses that are garbled, of another kind or changed in a byte. Rows PS-01, PS-02."""

import json
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fixtures.rows import in_turn
from tests.unit.credentials.passkeys import (
    CHALLENGE,
    CREATE,
    HANDLE,
    ORIGIN,
    PARTY,
    reason_of_registration,
    register,
)
from tests.unit.credentials.software_authenticator import (
    BACKED_UP,
    USER_PRESENT,
    USER_VERIFIED,
    SoftwareAuthenticator,
    decode,
    encode,
)

from watchword.credentials import passkey as passkeys
from watchword.credentials.passkey import PasskeyRefused

POINT = SoftwareAuthenticator().cose_key()


RSA = {1: 3, 3: -257, -1: b"\xff" * 256, -2: b"\x01\x00\x01"}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        pytest.param({1: 3, 3: -65535, -1: b"\xff" * 256, -2: b"\x01\x00\x01"}, "algorithm", id="RS1"),
        pytest.param({**POINT, 3: -35, -1: 2}, "algorithm", id="ES384"),
        pytest.param({**POINT, 3: -47, -1: 8}, "algorithm", id="ES256K"),
        pytest.param({**RSA, 3: -37}, "algorithm", id="PS256"),
        pytest.param({1: 7, 3: -48, -1: bytes(1312)}, "algorithm", id="ML-DSA, which was not offered"),
        pytest.param({1: 4, 3: 5, -1: bytes(32)}, "algorithm", id="a symmetric key"),
        pytest.param({}, "algorithm", id="an empty key"),
        pytest.param([], "key", id="a list"),
        pytest.param({**POINT, -3: True}, "key", id="a compressed point"),
        pytest.param({**POINT, -3: bytes(32)}, "key", id="a point off the curve"),
        pytest.param({**POINT, -2: bytes(32), -3: bytes(32)}, "key", id="the point at infinity"),
        pytest.param({**POINT, -2: POINT[-2] + b"\x00"}, "key", id="a coordinate that is too long"),
        pytest.param({**POINT, -1: 2}, "key", id="ES256 on another curve"),
        pytest.param({**POINT, 1: 1}, "key", id="ES256 with another kind of key"),
        pytest.param({**POINT, -4: b"secret"}, "key", id="a key with a private part"),
        pytest.param({**RSA, -1: b"\xff" * 128}, "key", id="RSA of 1024 bits"),
        pytest.param({**RSA, -1: b"\xff" * 2048}, "key", id="RSA of 16384 bits"),
        pytest.param({**RSA, -2: b"\x03"}, "key", id="RSA with a small exponent"),
        pytest.param({1: 1, 3: -8, -1: 6, -2: bytes(31)}, "key", id="an Ed25519 key that is too short"),
        pytest.param({1: 1, 3: -8, -1: 6, -2: b"\xff" * 32}, "key", id="an Ed25519 key off the curve"),
        pytest.param(
            {1: 1, 3: -8, -1: 6, -2: b"\x01" + bytes(31)}, "key", id="an Ed25519 key of small order"
        ),
        pytest.param({1: 1, 3: -8, -1: 7, -2: bytes(57)}, "key", id="Ed448 as EdDSA"),
    ],
)
def test_a_key_that_was_not_asked_for_is_refused(key: Any, reason: str) -> None:
    """PS-06."""
    assert register(SoftwareAuthenticator().create(CREATE, origin=ORIGIN, cose_key=POINT))
    response = SoftwareAuthenticator().create(CREATE, origin=ORIGIN, cose_key=cbor2.dumps(key))
    assert reason_of_registration(response) == reason


@pytest.mark.parametrize(
    ("lie", "reasons"),
    [
        pytest.param({"att_stmt": {"sig": b"x"}}, {"attestation"}, id="none with a statement"),
        pytest.param({"fmt": "garbage"}, {"attestation"}, id="a format that nobody knows"),
        pytest.param({"fmt": ["none"]}, {"attestation"}, id="a list of formats"),
        pytest.param(
            {"fmt": "tpm", "att_stmt": {"ver": "2.0"}}, {"attestation"}, id="a format that was not asked for"
        ),
        pytest.param(
            {"fmt": "packed", "att_stmt": {"alg": -7, "sig": b"x"}},
            {"refused"},
            id="a wrong self attestation",
        ),
        pytest.param(
            {"fmt": "packed", "att_stmt": {"alg": -7, "sig": 5}}, {"refused"}, id="a number for a signature"
        ),
        pytest.param(
            {"fmt": "packed", "att_stmt": {"alg": -7, "sig": b"x", "x5c": [b"x"]}},
            {"refused"},
            id="a garbage certificate",
        ),
        pytest.param({"att_stmt": []}, {"attestation"}, id="a list for a statement"),
        pytest.param({"cose_key": b""}, {"malformed"}, id="no key"),
        pytest.param({"cose_key": cbor2.dumps(POINT) + b"\x00"}, {"malformed"}, id="bytes after the key"),
        pytest.param({"flags": 0xC5}, {"malformed"}, id="extensions promised and missing"),
        pytest.param(
            {"flags": USER_PRESENT | USER_VERIFIED | BACKED_UP}, {"refused"}, id="backed up, but not eligible"
        ),
        pytest.param({"attestation": b"\x81" * 5000 + b"\x00"}, {"malformed"}, id="5,000 nested lists"),
        pytest.param({"attestation": b"\xa1\x00" * 5000 + b"\x00"}, {"malformed"}, id="5,000 nested maps"),
        pytest.param({"attestation": b"\x9b" + b"\xff" * 8}, {"malformed"}, id="a list of 2^64 items"),
        pytest.param({"attestation": b"\x5b" + b"\xff" * 8}, {"malformed"}, id="2^64 bytes"),
        pytest.param({"attestation": b"\xbf\xff"}, {"malformed"}, id="an indefinite map"),
        pytest.param({"attestation": b"\xc2\x41\x01"}, {"malformed"}, id="a tag"),
        pytest.param({"attestation": b"\xfb" + bytes(8)}, {"malformed"}, id="a float"),
        pytest.param({"attestation": b"\xa2\x63fmt\x60\x63fmt\x60"}, {"malformed"}, id="a name twice"),
        pytest.param({"attestation": b"\xa0"}, {"malformed"}, id="an empty map"),
        pytest.param({"attestation": b"\x61\xff"}, {"malformed"}, id="text that is not UTF-8"),
        pytest.param({"attestation": b"\x00" * 16_385}, {"malformed"}, id="more than 16 kB"),
        pytest.param({"attestation": b"\x00" * 10_000_000}, {"malformed"}, id="10 MB"),
    ],
)
def test_a_garbled_attestation_is_refused(lie: dict[str, Any], reasons: set[str]) -> None:
    """PS-02."""
    assert register(SoftwareAuthenticator().create(CREATE, origin=ORIGIN))
    assert reason_of_registration(SoftwareAuthenticator().create(CREATE, origin=ORIGIN, **lie)) in reasons


def test_a_credential_id_of_somebody_else_is_not_smuggled_in() -> None:
    """PS-02: the identifier beside the attestation must be the one within."""
    device = SoftwareAuthenticator()
    document = json.loads(device.create(CREATE, origin=ORIGIN))
    assert register(json.dumps(document))
    document["id"] = document["rawId"] = encode(b"another credential")
    assert reason_of_registration(json.dumps(document)) == "malformed"


@in_turn("path", ["id", "rawId", "type", "response", "response.clientDataJSON", "response.attestationObject"])
@in_turn("value", [None, 5, True, "", "=", "a", "é", "A" * 100_000, [], {}, "\x00"], ids=ascii)
def test_a_member_of_another_kind_is_refused(path: str, value: object) -> None:
    """PS-02."""
    document = json.loads(SoftwareAuthenticator().create(CREATE, origin=ORIGIN))
    assert register(json.dumps(document))
    holder, _, name = path.rpartition(".")
    (document[holder] if holder else document)[name] = value
    assert reason_of_registration(json.dumps(document)) == "malformed"
    with pytest.raises(PasskeyRefused):
        passkeys.read_assertion(json.dumps(document["response"]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        "{",
        "[" * 100_000,
        "9" * 5000,
        '{"id":NaN}',
        '{"id":"a","id":"b"}',
        "\ud800",
        b"\xff\xfe",
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_response_is_refused(text: str | bytes) -> None:
    """PS-02."""
    with pytest.raises(PasskeyRefused):
        passkeys.read_assertion(text)
    with pytest.raises(PasskeyRefused):
        passkeys.verify_registration(
            PARTY, text, challenge=CHALLENGE, user_handle=HANDLE, verification="required"
        )


HONEST = SoftwareAuthenticator().create(CREATE, origin=ORIGIN)


@settings(max_examples=150)
@given(st.binary(max_size=300), st.sampled_from(["attestationObject", "clientDataJSON"]))
def test_whatever_is_sent_is_refused_in_one_way(raw: bytes, member: str) -> None:
    document = json.loads(HONEST)
    document["response"][member] = encode(raw)
    assert reason_of_registration(json.dumps(document))


@settings(max_examples=150)
@given(st.integers(0, 150), st.integers(0, 255))
def test_a_changed_byte_never_gives_another_error(position: int, value: int) -> None:
    document = json.loads(HONEST)
    raw = bytearray(decode(document["response"]["attestationObject"]))
    raw[position % len(raw)] = value
    document["response"]["attestationObject"] = encode(bytes(raw))
    try:
        register(json.dumps(document))
    except PasskeyRefused:
        return
