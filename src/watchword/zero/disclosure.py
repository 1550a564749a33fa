"""RFC 9901 §4.2: salted commitments to attributes, opened one by one.

A commitment is the SHA-256 digest of an SD-JWT disclosure, so that the same digests serve our own identities and
proofs and every verifier that speaks SD-JWT (`sd_jwt`). Decoys fill the list up to a multiple of four (§4.2.5).
"""

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Iterable, Mapping

from watchword.credentials.zkproof import ZeroError
from watchword.zero.derivation import attribute_salt, decoy
from watchword.zero.records import MAX_ATTRIBUTES, Secret, decode_base64url, encode_base64url, parse_json

Value = str | int | bool

PADDING = 4
# Members with a meaning of their own in a JWT: opening one must never replace it.
RESERVED = frozenset(
    {"_sd", "...", "_sd_alg", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "cnf", "vct", "status", "zero"}
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}")
_MAX_VALUE = 2048
_MAX_INTEGER = 2**53 - 1


def pack_attributes(attributes: Mapping[str, object]) -> tuple[str, ...]:
    """Check attributes and write them as a secret keeps them, sorted by name; raise ZeroError."""
    if len(attributes) > MAX_ATTRIBUTES:
        raise ZeroError("attribute", f"an identity has at most {MAX_ATTRIBUTES} attributes")
    return tuple(_compact([check_name(name), check_value(attributes[name])]) for name in sorted(attributes))


def read_attributes(secret: Secret) -> dict[str, Value]:
    """Return a secret's attributes by name; raise ZeroError when the secret is malformed."""
    attributes: dict[str, Value] = {}
    for text in secret.attributes:
        pair = parse_json(text)
        if not isinstance(pair, list) or len(pair) != 2 or check_name(pair[0]) in attributes:
            raise ZeroError("malformed", "attributes are pairs of one name and one value")
        attributes[pair[0]] = check_value(pair[1])
    return attributes


def select(secret: Secret, names: Iterable[str]) -> tuple[str, ...]:
    """Return the attributes of these names as a secret keeps them; raise ZeroError `attribute` for an unknown one."""
    attributes = read_attributes(secret)
    return pack_attributes({name: _known(attributes, name) for name in names})


def open_attributes(secret: Secret, names: Iterable[str]) -> tuple[str, ...]:
    """Return the disclosures that open these attributes; raise ZeroError `attribute` for an unknown one."""
    attributes = read_attributes(secret)
    return tuple(write(secret.seed, name, _known(attributes, name)) for name in sorted(set(names)))


def commitments(secret: Secret) -> tuple[str, ...]:
    """Return the sorted digests of all attributes, with decoys up to a multiple of four."""
    digests = [digest(text) for text in open_attributes(secret, read_attributes(secret))]
    missing = -len(digests) % PADDING
    return tuple(sorted(digests + [encode_base64url(decoy(secret.seed, index)) for index in range(missing)]))


def write(seed: bytes, name: str, value: Value) -> str:
    """Write the disclosure of one attribute."""
    salt = encode_base64url(attribute_salt(seed, name, _compact(value)))
    return encode_base64url(_compact([salt, name, value]).encode())  # §4.2.1


def digest(disclosure: str) -> str:
    """Return the digest that a commitment to this disclosure is."""
    return encode_base64url(hashlib.sha256(disclosure.encode()).digest())  # §4.2.3


def read(disclosure: str) -> tuple[str, Value]:
    """Read a disclosure's name and value; raise ZeroError `malformed`."""
    parts = parse_json(decode_base64url(disclosure))
    if not isinstance(parts, list) or len(parts) != 3 or not isinstance(parts[0], str):
        raise ZeroError("malformed", "a disclosure is an array of salt, name and value")
    return check_name(parts[1]), check_value(parts[2])


def check_opened(disclosures: Iterable[str], committed: Collection[str]) -> dict[str, Value]:
    """Return the attributes that the disclosures open; raise ZeroError `disclosure` for one not committed to."""
    opened: dict[str, Value] = {}
    for text in disclosures:
        name, value = read(text)
        wanted = digest(text).encode()
        if not any(hmac.compare_digest(wanted, known.encode()) for known in committed):
            raise ZeroError("disclosure", "the identity holds no commitment to this attribute")
        if name in opened:
            raise ZeroError("disclosure", "one attribute is disclosed twice")
        opened[name] = value
    return opened


def check_name(name: object) -> str:
    """Return a usable attribute name (1 to 64 letters, digits, `_.:/-`); raise ZeroError `attribute` otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in RESERVED:
        raise ZeroError(
            "attribute",
            "an attribute's name has up to 64 letters, digits and _.:/-, a letter or digit first, and no meaning of its own in a JWT",
        )
    return name


def check_value(value: object) -> Value:
    """Return a text, integer or truth value of bounded size; raise ZeroError `attribute` otherwise."""
    if isinstance(value, str) and len(value.encode(errors="replace")) <= _MAX_VALUE and _encodes(value):
        return value
    if isinstance(value, int) and abs(value) <= _MAX_INTEGER:
        return value
    raise ZeroError(
        "attribute", "an attribute's value is a text of up to 2048 bytes, an integer or a truth value"
    )


def _encodes(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" or character == "\0" for character in text)


def _known(attributes: Mapping[str, Value], name: str) -> Value:
    if name not in attributes:
        raise ZeroError("attribute", f"the identity has no attribute {name!r}")
    return attributes[name]


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
