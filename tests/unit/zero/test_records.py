"""Decoders: whatever arrives, they return a well-formed record or raise ZeroError."""

import base64
import contextlib
import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.zero.refusing import refused

from watchword.credentials.zkproof import ZeroError, frame
from watchword.zero import description, disclosure, files, proof, revocation, sealing
from watchword.zero.records import (
    KINDS,
    Challenge,
    Identity,
    Proof,
    Record,
    Revocation,
    Sealed,
    Secret,
    checked,
    decode_base64url,
    encode_base64url,
    from_binary,
    from_json,
    parse_json,
    to_binary,
    to_json,
)

CHALLENGE = proof.issue_challenge("https://api.example", "login", b"c" * 32, 1_800_000_000, 120)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture
def records(holder: Any) -> list[Record]:
    answer = proof.prove(
        holder.secret,
        holder.challenge,
        channel=b"jkt:x",
        disclose=["age"],
        now=holder.now,
        randomness=b"p" * 32,
    )
    sealed = sealing.seal(holder.secret, "open sesame", b"s" * 16, b"n" * 24, 1, 8)
    revoked = revocation.revoke(holder.secret, holder.now, "retired", b"r" * 32)
    return [holder.identity, holder.challenge, answer, sealed, revoked]


@pytest.mark.parametrize("form", ["text", "json", "binary"])
def test_every_record_survives_every_format(records: list[Record], form: files.Format) -> None:
    for record in records:
        written = files.dump(record, form)
        assert files.load(written, type(record)) == record
        assert files.load_any(written) == record
        assert description.describe(record)["kind"] in KINDS


@pytest.mark.parametrize("form", ["text", "binary"])
def test_what_could_not_be_read_again_is_not_written(form: files.Format) -> None:
    """Of attributes that only just fit into a secret, the sealed one must be readable, or their holder loses it."""

    def sealed(size: int) -> bytes:
        texts = {f"a{n:02}": "x" * 2000 for n in range(32)} | {"z": "x" * size}
        secret = Secret(bytes(32), disclosure.pack_attributes(texts))
        return files.dump(sealing.seal(secret, "open sesame", b"s" * 16, b"n" * 24, 1, 8), form)

    written = 0
    for size in range(925, 945):
        with contextlib.suppress(ZeroError):
            assert files.load(sealed(size), Sealed)
            written = size
    assert 925 < written < 944
    assert refused(lambda: sealed(written + 1)) == "malformed"


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({f"a{number}": number for number in range(64)}, id="as many attributes as may be"),
        pytest.param({"a" * 64: "\x01" * 2048}, id="the longest text, of what JSON escapes"),
    ],
)
def test_whatever_attributes_are_taken_can_be_read_and_opened_again(attributes: dict[str, object]) -> None:
    """Or their holder has an identity and no secret for it."""
    secret = Secret(bytes(32), disclosure.pack_attributes(attributes))
    sealed = sealing.seal(secret, "open sesame", b"s" * 16, b"n" * 24, 1, 8)
    opened = sealing.unseal(files.load(files.dump(sealed, "text"), Sealed), "open sesame")
    asked = Challenge("https://api.example", "login", b"c" * 32, 5, 125)
    answer = proof.prove(opened, asked, channel=None, disclose=attributes, now=6, randomness=b"r" * 32)
    known = disclosure.commitments(secret)
    shown = files.load(files.dump(answer, "text"), Proof).disclosures
    assert disclosure.check_opened(shown, known) == attributes


def test_more_attributes_than_a_secret_can_hold_are_refused() -> None:
    assert refused(lambda: disclosure.pack_attributes({f"a{n}": n for n in range(65)})) == "attribute"
    many = Secret(bytes(32), tuple(f'["a{number}",1]' for number in range(65)))
    assert refused(lambda: sealing.seal(many, "open sesame", b"s" * 16, b"n" * 24, 1, 8)) == "malformed"


def loads(data: bytes, cls: type[Record]) -> bool:
    with contextlib.suppress(ZeroError):
        return bool(files.load(data, cls))
    return False


@pytest.mark.parametrize("form", ["text", "json", "binary"])
def test_one_kind_is_never_taken_for_another(records: list[Record], form: files.Format) -> None:
    for record in records:
        fitting = [cls for _, cls in KINDS.values() if loads(files.dump(record, form), cls)]
        assert fitting == [type(record)]


@pytest.mark.parametrize("form", ["text", "json", "binary"])
def test_a_record_cut_short_anywhere_is_refused(records: list[Record], form: files.Format) -> None:
    for record in records:
        written = files.dump(record, form).rstrip()
        assert not [end for end in range(0, len(written), 7) if loads(written[:end], type(record))]


@settings(max_examples=150)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"WWZ1I", b"WWZ1C", b"WWZ1P", b"-----BEGIN WATCHWORD", b"{"]),
)
def test_any_bytes(data: bytes, start: bytes) -> None:
    for load in (files.load_any, lambda data: files.load(data, Identity)):
        with contextlib.suppress(ZeroError):
            load(start + data)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from([*to_json(CHALLENGE), "extra"]), json_values, max_size=4))
def test_any_json_members(changes: dict[str, object]) -> None:
    document = {**to_json(CHALLENGE), **changes}
    with contextlib.suppress(ZeroError):
        assert checked(from_json(document, Challenge))


@settings(max_examples=80)
@given(st.integers(0, len(to_binary(CHALLENGE)) - 1), st.integers(0, 255))
def test_any_changed_byte_of_a_binary_record(position: int, value: int) -> None:
    changed = bytearray(to_binary(CHALLENGE))
    changed[position] = value
    with contextlib.suppress(ZeroError):
        again = from_binary(bytes(changed), Challenge)
        assert to_binary(again) == bytes(changed)


DOCUMENT = json.dumps(to_json(CHALLENGE))
HOSTILE_JSON = {
    "a duplicate member": DOCUMENT.replace("{", '{"purpose":"payment",', 1),
    "an unknown member": DOCUMENT.replace("{", '{"more":1,', 1),
    "another version": DOCUMENT.replace('"version": 1', '"version": 2'),
    "a version that is true": DOCUMENT.replace('"version": 1', '"version": true'),
    "a version of 1.0": DOCUMENT.replace('"version": 1', '"version": 1.0'),
    "a version of 1.5": DOCUMENT.replace('"version": 1', '"version": 1.5'),
    "another type": DOCUMENT.replace("zero-challenge", "zero-proof"),
    "a missing member": DOCUMENT.replace('"purpose": "login", ', ""),
    "a number as text": DOCUMENT.replace("1800000000", '"1800000000"'),
    "a fraction": DOCUMENT.replace("1800000000", "1800000000.5"),
    "5,000 digits": DOCUMENT.replace("1800000000", "9" * 5000),
    "4,000 digits": DOCUMENT.replace("1800000000", "9" * 4000),
    "NaN": DOCUMENT.replace("1800000000", "NaN"),
    "infinity": DOCUMENT.replace("1800000000", "1e999"),
    "a negative time": DOCUMENT.replace("1800000000", "-1"),
    "NUL": DOCUMENT.replace("login", "log\\u0000in"),
    "a line feed": DOCUMENT.replace("login", "login\\n"),
    "a lone surrogate": DOCUMENT.replace("login", "\\ud800"),
    "a text that turns round": DOCUMENT.replace("login", "\\u202enigol"),
    "bytes that are a number": DOCUMENT.replace(f'"{encode_base64url(b"c" * 32)}"', "5"),
    "padded base64": DOCUMENT.replace(encode_base64url(b"c" * 32), encode_base64url(b"c" * 32) + "="),
    "plain base64": DOCUMENT.replace(encode_base64url(b"c" * 32), "++//" * 8),
    "100,000 deep": '{"type":' + "[" * 100_000,
    "something behind": DOCUMENT + "x",
    "an array": f"[{DOCUMENT}]",
    "not UTF-8": DOCUMENT.replace("login", "\udcff"),
}


@pytest.mark.parametrize("text", HOSTILE_JSON.values(), ids=HOSTILE_JSON.keys())
def test_hostile_json(text: str) -> None:
    assert files.load(DOCUMENT.encode(), Challenge) == CHALLENGE
    data = text.encode(errors="surrogateescape")
    assert refused(lambda: files.load(data, Challenge)) == "malformed"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(to_binary(CHALLENGE) + b"\0", id="a byte behind"),
        pytest.param(to_binary(CHALLENGE) + b"\0\0\0\0", id="a field behind"),
        pytest.param(b"WWZ2" + to_binary(CHALLENGE)[4:], id="another version"),
        pytest.param(b"WWZ1C" + b"\xff\xff\xff\xff", id="a field of 4 GiB"),
        pytest.param(b"WWZ1C" + b"\0" * 60_000, id="15,000 empty fields"),
        pytest.param(b"WWZ1C" + b"x" * 200_000, id="too large"),
    ],
)
def test_hostile_binary(data: bytes) -> None:
    assert refused(lambda: files.load(data, Challenge)) == "malformed"


def _stray_bits(text: str) -> str:
    """The same bytes in base64 that no encoder writes."""
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
    position = text.index("=") - 1
    assert base64.b64decode("QQ==") == base64.b64decode("QR==")
    return text[:position] + letters[letters.index(text[position]) + 1] + text[position + 1 :]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.replace("CHALLENGE", "PROOF"), id="another title"),
        pytest.param(lambda text: text.replace("END WATCHWORD ZERO CHALLENGE", "END"), id="another end"),
        pytest.param(lambda text: text.replace("V1daMUM", "V1daMU!"), id="a letter that is not base64"),
        pytest.param(lambda text: "\n".join(text.split("\n")[1:]), id="no title"),
        pytest.param(lambda text: text.replace("=\n", "=\n\n="), id="more padding"),
        pytest.param(_stray_bits, id="stray bits behind the last byte"),
        pytest.param(lambda text: "", id="nothing"),
    ],
)
def test_hostile_text(change: Callable[[str], str]) -> None:
    text = files.dump(CHALLENGE, "text").decode()
    assert files.load(text.replace("\n", "\r\n").encode(), Challenge) == CHALLENGE
    assert refused(lambda: files.load(change(text).encode(), Challenge)) == "malformed"


@pytest.mark.parametrize("text", ["a", "YR", "YQ==", "a b", "é", "YQ\n", None, 5, "=" * 4], ids=repr)
def test_base64url_is_strict(text: object) -> None:
    assert decode_base64url("YQ") == b"a"
    assert refused(lambda: decode_base64url(text)) == "malformed"


@pytest.mark.parametrize(
    "document", [[], [1], "x", None, 5, [["type", "watchword-zero-challenge"]]], ids=repr
)
def test_what_is_no_object_is_no_record(document: object) -> None:
    assert from_json(to_json(CHALLENGE), Challenge) == CHALLENGE
    assert refused(lambda: from_json(document, Challenge)) == "malformed"


@pytest.mark.parametrize("size", [0, 7, 9, 16])
def test_an_integer_has_eight_bytes_and_no_other_length(size: int) -> None:
    fields = [b"https://api.example", b"login", b"c" * 32, (5).to_bytes(8, "big"), (9).to_bytes(8, "big")]
    assert from_binary(b"WWZ1C" + frame(fields), Challenge).issued == 5
    fields[3] = (5).to_bytes(size, "big") if size else b""
    assert refused(lambda: from_binary(b"WWZ1C" + frame(fields), Challenge)) == "malformed"


# Of each bound the last value that is taken and the first that is not, by the kind and the member.
BOUNDS: list[tuple[type[Record], str, object, object]] = [
    *((Identity, name, b"x" * 32, b"x" * size) for name in ("public", "response") for size in (31, 33)),
    *((cls, "commitment", b"x" * 32, b"x" * 33) for cls in (Identity, Proof, Revocation)),
    (Identity, "created", 2**53 - 1, 2**53),
    (Identity, "sequence", 2**31 - 1, 2**31),
    (Identity, "jkt", "A" * 43, "A" * 42),
    (Identity, "jkt", "A" * 43, "A" * 42 + "+"),
    (Identity, "commitments", ["A" * 43], ["A" * 44]),
    (Identity, "commitments", ["A" * 43] * 128, ["A" * 43] * 129),
    (Challenge, "verifier", "v" * 512, "v" * 513),
    (Challenge, "purpose", "p", ""),
    (Challenge, "challenge", b"c" * 16, b"c" * 15),
    (Challenge, "challenge", b"c" * 64, b"c" * 65),
    (Proof, "channel", b"h" * 256, b"h" * 257),
    (Proof, "disclosures", ["d" * 17408], ["d" * 17409]),
    (Proof, "disclosures", ["d"], [""]),
    (Proof, "disclosures", ["d"] * 64, ["d"] * 65),
    (Sealed, "passes", 16, 17),
    (Sealed, "passes", 1, 0),
    (Sealed, "memory", 2**20, 2**20 + 1),
    (Sealed, "memory", 8, 7),
    (Sealed, "salt", b"s" * 16, b"s" * 17),
    (Sealed, "nonce", b"n" * 24, b"n" * 23),
    (Sealed, "ciphertext", b"t" * 16, b"t" * 15),
    (Revocation, "reason", "retired", "tired"),
]


@pytest.mark.parametrize(("cls", "member", "last", "beyond"), BOUNDS)
def test_a_member_has_its_bounds(
    records: list[Record], cls: type[Record], member: str, last: object, beyond: object
) -> None:
    (document,) = (to_json(record) for record in records if type(record) is cls)

    def read(value: object) -> Record:
        text = encode_base64url(value) if isinstance(value, bytes) else value
        return from_json({**document, member: text}, cls)

    assert read(last)
    assert refused(lambda: read(beyond)) == "malformed"


def test_json_is_strict() -> None:
    assert parse_json('{"a": [1, "b"]}') == {"a": [1, "b"]}
    assert refused(lambda: parse_json('{"a": {"b": 1, "b": 1}}')) == "malformed"
