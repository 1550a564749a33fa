"""docs/zero.md §3: the records that are exchanged and kept, and their binary and JSON encodings.

Binary is canonical: `WWZ1`, one letter for the kind, then each field after its length in four bytes. JSON carries
the same fields by name, byte strings in base64url. Whatever is decoded here has the right types, sizes and
characters; whether a point is in the group, or a proof holds, is not this module's business.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, TypeVar

import msgspec

from watchword.credentials.zkproof import ZeroError, frame
from watchword.jose import JoseError, strict_json
from watchword.jose.jwk import b64decode, b64encode
from watchword.jose.strict_json import StrictJSONError

MAX_RECORD = 64 * 1024
MAX_ATTRIBUTES = 64
MAGIC = b"WWZ1"
VERSION = 1

_PRINTABLE = r"^[\x20-\x7e]+\Z"

Bytes32 = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=512, pattern=_PRINTABLE)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]
# A disclosure is the longest: of 2048 control characters, each of which takes six in JSON, and then base64url.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=17 * 1024)]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any of the records below."""


class Identity(Record, frozen=True):
    """What everyone may see: the public point, commitments to attributes, lifetimes (Unix seconds), a self-proof."""

    public: Bytes32
    created: Seconds
    renewed: Seconds
    expires: Seconds
    sequence: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    jkt: Digest
    commitments: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=128)]
    commitment: Bytes32
    response: Bytes32


class Secret(Record, frozen=True):
    """What only the holder has: the seed, and the attributes as JSON arrays `["name", value]`."""

    seed: Bytes32
    attributes: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_ATTRIBUTES)]

    def __repr__(self) -> str:
        return f"Secret(seed=..., attributes={len(self.attributes)})"


class Sealed(Record, frozen=True):
    """A secret under a passphrase: Argon2id cost (passes, KiB), salt, nonce, XChaCha20-Poly1305 ciphertext."""

    passes: Annotated[int, msgspec.Meta(ge=1, le=16)]
    memory: Annotated[int, msgspec.Meta(ge=8, le=1024 * 1024)]
    salt: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    nonce: Annotated[bytes, msgspec.Meta(min_length=24, max_length=24)]
    ciphertext: Annotated[bytes, msgspec.Meta(min_length=16, max_length=MAX_RECORD)]


class Challenge(Record, frozen=True):
    """What a verifier asks to be answered once, before `expires`: who asks, for what, and 16 to 64 random bytes."""

    verifier: Label
    purpose: Label
    challenge: Annotated[bytes, msgspec.Meta(min_length=16, max_length=64)]
    issued: Seconds
    expires: Seconds


class Proof(Record, frozen=True):
    """The answer to a challenge: what it is bound to, the attributes it opens, and the Schnorr proof."""

    public: Bytes32
    verifier: Label
    purpose: Label
    challenge: Annotated[bytes, msgspec.Meta(min_length=16, max_length=64)]
    issued: Seconds
    expires: Seconds
    channel: Annotated[bytes, msgspec.Meta(max_length=256)]
    disclosures: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_ATTRIBUTES)]
    commitment: Bytes32
    response: Bytes32


class Revocation(Record, frozen=True):
    """The holder's statement, with proof, that the identity is never to be accepted again."""

    public: Bytes32
    revoked: Seconds
    reason: Annotated[str, msgspec.Meta(pattern=r"^(unspecified|compromised|superseded|retired)\Z")]
    commitment: Bytes32
    response: Bytes32


R = TypeVar("R", bound=Record)

# kind → (letter in binary, record); `secret` is the sealed form: the open one is never written anywhere.
KINDS: dict[str, tuple[bytes, type[Record]]] = {
    "identity": (b"I", Identity),
    "secret": (b"S", Sealed),
    "open-secret": (b"O", Secret),
    "challenge": (b"C", Challenge),
    "proof": (b"P", Proof),
    "revocation": (b"R", Revocation),
}


def kind_of(record: Record | type[Record]) -> str:
    """Return the name of a record's kind."""
    wanted = record if isinstance(record, type) else type(record)
    return next(kind for kind, (_, cls) in KINDS.items() if cls is wanted)


def checked(record: R) -> R:
    """Return the record when every field has its type, size and characters; raise ZeroError otherwise."""
    return _convert(msgspec.structs.asdict(record), type(record))


def check_label(name: str, text: str) -> None:
    """Raise ZeroError for the name of a verifier or purpose that no challenge could hold."""
    try:
        msgspec.convert(text, Label)
    except msgspec.ValidationError:
        raise ZeroError("label", f"{name} must be 1 to 512 printable ASCII characters") from None


def encode_base64url(data: bytes) -> str:
    """Write bytes in base64url without padding."""
    return b64encode(data)


def decode_base64url(text: object) -> bytes:
    """Read canonical base64url without padding, also of no bytes; raise ZeroError for anything else."""
    if text == "":
        return b""
    try:
        return b64decode(text if isinstance(text, str) else "*")
    except JoseError:
        raise ZeroError("malformed", "not canonical base64url") from None


def parse_json(data: bytes | str) -> object:
    """Parse JSON strictly: no duplicate members, no NaN, no lone surrogates; raise ZeroError otherwise."""
    try:
        return strict_json.loads(data, max_bytes=2 * MAX_RECORD)
    except StrictJSONError:
        raise ZeroError("malformed", "not well-formed JSON") from None


def to_binary(record: Record) -> bytes:
    """Encode a record in its canonical binary form; raise ZeroError for one that no reader would take."""
    letter, _ = KINDS[kind_of(record)]
    values = (getattr(record, name) for name in record.__struct_fields__)
    data = MAGIC + letter + frame(_field_bytes(value) for value in values)
    if len(data) > MAX_RECORD:
        raise ZeroError("malformed", f"this {kind_of(record)} would be larger than {MAX_RECORD // 1024} KiB")
    return data


def from_binary(data: bytes, cls: type[R]) -> R:
    """Decode the binary form of one kind; raise ZeroError."""
    letter, _ = KINDS[kind_of(cls)]
    if len(data) > MAX_RECORD or not data.startswith(MAGIC + letter):
        raise ZeroError("malformed", f"not a binary {kind_of(cls)} of version {VERSION}")
    fields = _frames(data[len(MAGIC) + 1 :])
    types = _types(cls)
    if len(fields) != len(types):
        raise ZeroError("malformed", "the wrong number of fields")
    return _convert({name: _read(field, types[name]) for name, field in zip(types, fields, strict=True)}, cls)


def to_json(record: Record) -> dict[str, object]:
    """Write a record as a JSON-ready mapping, with its `type` and `version`."""
    document: dict[str, object] = {"type": f"watchword-zero-{kind_of(record)}", "version": VERSION}
    for name, value in msgspec.structs.asdict(record).items():
        document[name] = encode_base64url(value) if isinstance(value, bytes) else value
    return document


def from_json(document: object, cls: type[R]) -> R:
    """Read a record from a parsed JSON document; unknown members are refused. Raises ZeroError."""
    if not isinstance(document, dict):
        raise ZeroError("malformed", "not a JSON object")
    values = dict(document)
    if values.pop("type", None) != f"watchword-zero-{kind_of(cls)}":
        raise ZeroError("malformed", f"not a {kind_of(cls)}")
    version = values.pop("version", None)
    if type(version) is not int or version != VERSION:
        raise ZeroError("malformed", "an unknown version")
    binary = {name for name, kind in _types(cls).items() if isinstance(kind, msgspec.inspect.BytesType)}
    return _convert({k: decode_base64url(v) if k in binary else v for k, v in values.items()}, cls)


def _convert(values: Mapping[str, object], cls: type[R]) -> R:
    try:
        return msgspec.convert(values, cls, strict=True)
    except (msgspec.ValidationError, UnicodeError, OverflowError) as error:
        raise ZeroError("malformed", str(error)) from None


@functools.cache
def _types(cls: type[Record]) -> dict[str, msgspec.inspect.Type]:
    info = msgspec.inspect.type_info(cls)
    fields = info.fields if isinstance(info, msgspec.inspect.StructType) else ()
    return {field.name: field.type for field in fields}


def _field_bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return value.to_bytes(8, "big")
    if isinstance(value, tuple):
        return frame(str(item).encode() for item in value)
    return str(value).encode()


def _read(field: bytes, kind: msgspec.inspect.Type) -> object:
    if isinstance(kind, msgspec.inspect.BytesType):
        return field
    if isinstance(kind, msgspec.inspect.IntType):
        if len(field) != 8:
            raise ZeroError("malformed", "an integer has eight bytes")
        return int.from_bytes(field, "big")
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return tuple(_text(item) for item in _frames(field))
    return _text(field)


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError:
        raise ZeroError("malformed", "not UTF-8") from None


def _frames(data: bytes) -> list[bytes]:
    fields: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data) or start + 4 > len(data):
            raise ZeroError("malformed", "cut short")
        fields.append(data[start + 4 : end])
        start = end
    return fields
