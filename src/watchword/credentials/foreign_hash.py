"""RFC 8018 §5.2, RFC 7914 and bcrypt: password hashes of other products, so that people keep their passwords when they move here.

Owns which hashes are imported, the forms in which other products export them, and their verification. Such a hash is used until the
person's first sign-in, when the password is known and hashed again with Argon2id. A plain MD5, SHA-1 or SHA-256 is not imported, since
it was not made for passwords: those people set a new one.
"""

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode

MIN_ITERATIONS, MAX_ITERATIONS = 1000, 2_000_000
MAX_SCRYPT_BYTES = 256 * 1024 * 1024  # of all lanes together, which OpenSSL computes one after another
MAX_BCRYPT_COST = 15
BCRYPT_BYTES = 72  # of a password; what follows never counted, so products cut it off
MIN_TAG, MAX_PART = 16, 128  # bytes of a hash at least, of hash and salt at most

# The unused bits in the last characters of salt (128 bits) and tag (184 bits) must be zero: the library refuses other salts.
_BCRYPT = re.compile(
    r"(?P<prehash>bcrypt_sha256\$)?"
    r"(?P<hash>\$2[aby]\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26])"
)
_PBKDF2 = re.compile(
    r"\$pbkdf2-(?P<digest>sha1|sha256|sha512)\$i=(?P<i>[1-9][0-9]{0,7})\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<tag>[A-Za-z0-9+/]+)"
)
_SCRYPT = re.compile(
    r"\$scrypt\$ln=(?P<ln>[1-9][0-9]?),r=(?P<r>[1-9][0-9]?),p=(?P<p>[1-9][0-9]?)\$(?P<salt>[A-Za-z0-9+/]+)\$(?P<tag>[A-Za-z0-9+/]+)"
)
BCRYPT_CHARACTERS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# What other products write, each rewritten to one of the forms above
_ANY_BCRYPT = re.compile(
    r"(?P<start>(?:bcrypt_sha256\$)?\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{21})"
    r"(?P<salt>[./A-Za-z0-9])(?P<tag>[./A-Za-z0-9]{30})(?P<end>[./A-Za-z0-9])"
)
_DJANGO_PBKDF2 = re.compile(r"pbkdf2_(?P<digest>sha1|sha256)\$(?P<i>[0-9]+)\$(?P<salt>[^$]+)\$(?P<tag>[^$]+)")
_WERKZEUG_PBKDF2 = re.compile(
    r"pbkdf2:(?P<digest>[a-z0-9]+)(?::(?P<i>[0-9]+))?\$(?P<salt>[^$]+)\$(?P<tag>[0-9a-f]+)"
)
_PASSLIB_PBKDF2 = re.compile(
    r"\$pbkdf2(?:-(?P<digest>sha256|sha512))?\$(?:i=)?(?P<i>[0-9]+)(?:,l=[0-9]+)?\$(?P<salt>[^$]+)\$(?P<tag>[^$]+)"
)
_DJANGO_SCRYPT = re.compile(
    r"scrypt\$(?P<n>[0-9]{1,8})\$(?P<salt>[^$]+)\$(?P<r>[0-9]+)\$(?P<p>[0-9]+)\$(?P<tag>[^$]+)"
)
_WERKZEUG_SCRYPT = re.compile(
    r"scrypt:(?P<n>[0-9]{1,8}):(?P<r>[0-9]+):(?P<p>[0-9]+)\$(?P<salt>[^$]+)\$(?P<tag>[0-9a-f]+)"
)
_PASSLIB_SCRYPT = re.compile(
    r"\$scrypt\$ln=(?P<ln>[0-9]+),r=(?P<r>[0-9]+),p=(?P<p>[0-9]+)\$(?P<salt>[^$]+)\$(?P<tag>[^$]+)"
)
_WERKZEUG_ITERATIONS = "150000"  # of its releases that did not write how many


def rewrite(exported: str) -> str:
    """Return an exported hash in the form in which it is stored; any other text as it is."""
    text = exported.strip()
    if text.startswith(("argon2$argon2", "bcrypt$$")):  # Django's name for what follows
        text = f"${text.partition('$')[2].lstrip('$')}"
    return _pbkdf2(text) or _scrypt(text) or _bcrypt(text) or text


def is_readable(stored: str) -> bool:
    """Whether a stored hash is one of these, within the bounds of what may be computed (LG-10)."""
    if (found := _BCRYPT.fullmatch(stored)) is not None:
        return 4 <= int(found["cost"]) <= MAX_BCRYPT_COST
    if (found := _PBKDF2.fullmatch(stored)) is not None:
        return MIN_ITERATIONS <= int(found["i"]) <= MAX_ITERATIONS and _has_parts(found)
    if (found := _SCRYPT.fullmatch(stored)) is not None:
        ln, r, p = int(found["ln"]), int(found["r"]), int(found["p"])
        # RFC 7914 §2: N is less than 2^(128 * r / 8)
        return ln < 16 * r and 128 * 2**ln * r * p <= MAX_SCRYPT_BYTES and _has_parts(found)
    return False


def matches(stored: str, typed: str) -> bool:
    """Whether a password, as it was typed, matches a hash that `is_readable`; raise MemoryError when there is not enough memory to tell."""
    raw = typed.encode("utf-8")
    if (found := _BCRYPT.fullmatch(stored)) is not None:
        return _matches_bcrypt(found, raw)
    if (found := _PBKDF2.fullmatch(stored)) is not None:
        salt, tag = _part(found["salt"]), _part(found["tag"])
        # The first block is enough to tell, and each further one would cost as much.
        tag = tag[: hashlib.new(found["digest"]).digest_size]
        made = hashlib.pbkdf2_hmac(found["digest"], raw, salt, int(found["i"]), len(tag))
        return hmac.compare_digest(made, tag)
    if (found := _SCRYPT.fullmatch(stored)) is not None:
        n, r, p = 2 ** int(found["ln"]), int(found["r"]), int(found["p"])
        salt, tag = _part(found["salt"]), _part(found["tag"])
        room = 128 * r * (n + p + 2)
        try:
            made = hashlib.scrypt(raw, salt=salt, n=n, r=r, p=p, maxmem=room, dklen=len(tag))
        except ValueError as error:
            raise MemoryError(str(error)) from None  # within these bounds, nothing else can fail
        return hmac.compare_digest(made, tag)
    return False


def _matches_bcrypt(found: re.Match[str], raw: bytes) -> bool:
    import bcrypt  # here, because hardly any server ever needs it

    if found["prehash"]:  # as Django does it, so that more than 72 bytes count
        raw = binascii.hexlify(hashlib.sha256(raw).digest())
    return bcrypt.checkpw(raw[:BCRYPT_BYTES], found["hash"].encode("ascii"))


def _pbkdf2(text: str) -> str | None:
    """Return the stored form of a hash that Django, Werkzeug or passlib wrote; None for any other text."""
    if (found := _DJANGO_PBKDF2.fullmatch(text)) is not None:
        return f"$pbkdf2-{found['digest']}$i={found['i']}${_text(found['salt'])}${found['tag'].rstrip('=')}"
    if (found := _WERKZEUG_PBKDF2.fullmatch(text)) is not None:
        iterations = found["i"] or _WERKZEUG_ITERATIONS
        return f"$pbkdf2-{found['digest']}$i={iterations}${_text(found['salt'])}${_hexadecimal(found['tag'])}"
    if (found := _PASSLIB_PBKDF2.fullmatch(text)) is not None:
        salt, tag = (_standard(found[name]) for name in ("salt", "tag"))
        return f"$pbkdf2-{found['digest'] or 'sha1'}$i={found['i']}${salt}${tag}"
    return None


def _scrypt(text: str) -> str | None:
    """Return the stored form of a hash that Django, Werkzeug or passlib wrote; None for any other text."""
    if (found := _DJANGO_SCRYPT.fullmatch(text)) is not None:
        return f"$scrypt$ln={_exponent(found['n'])},r={found['r']},p={found['p']}${_text(found['salt'])}${found['tag'].rstrip('=')}"
    if (found := _WERKZEUG_SCRYPT.fullmatch(text)) is not None:
        tag = _hexadecimal(found["tag"])
        return (
            f"$scrypt$ln={_exponent(found['n'])},r={found['r']},p={found['p']}${_text(found['salt'])}${tag}"
        )
    if (found := _PASSLIB_SCRYPT.fullmatch(text)) is not None:
        salt, tag = (_standard(found[name]) for name in ("salt", "tag"))
        return f"$scrypt$ln={found['ln']},r={found['r']},p={found['p']}${salt}${tag}"
    return None


def _bcrypt(text: str) -> str | None:
    """Return the stored form of a bcrypt hash, with the padding bits cleared that some products leave set; None for any other text."""
    if (found := _ANY_BCRYPT.fullmatch(text)) is None:
        return None
    salt, end = (BCRYPT_CHARACTERS.index(found[name]) for name in ("salt", "end"))
    return f"{found['start']}{BCRYPT_CHARACTERS[salt & 0x30]}{found['tag']}{BCRYPT_CHARACTERS[end & 0x3C]}"


def _exponent(n: str) -> str:
    """Return the binary logarithm of a power of two; "" for any other number, which makes the hash unreadable."""
    number = int(n)
    return str(number.bit_length() - 1) if number > 1 and number & (number - 1) == 0 else ""


def _standard(text: str) -> str:
    """Return Base64 in the alphabet of RFC 4648 §4 without padding: passlib writes a dot for its plus."""
    return text.replace(".", "+").rstrip("=")


def _text(salt: str) -> str:
    return _encoded(salt.encode("utf-8"))


def _hexadecimal(tag: str) -> str:
    return _encoded(bytes.fromhex(tag)) if len(tag) % 2 == 0 else ""


def _encoded(raw: bytes) -> str:
    return b64encode(raw).decode().rstrip("=")


def _part(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))


def _has_parts(found: re.Match[str]) -> bool:
    try:
        salt, tag = _part(found["salt"]), _part(found["tag"])
    except binascii.Error:
        return False
    return 1 <= len(salt) <= MAX_PART and MIN_TAG <= len(tag) <= MAX_PART
