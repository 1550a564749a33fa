"""RFC 7516 and RFC 7518 §4, §5: encryption to a client's public key, through a library; nothing here decrypts.

Owns the choice of algorithms: RSA-OAEP with SHA-256 and ECDH-ES; neither RSAES-PKCS1-v1_5 nor anything symmetric. Only servers with
clients that ask for encryption need the library, so it is loaded with the first encrypted answer.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from watchword.jose.errors import JoseError

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, OKPKey, RSAKey

ALGORITHMS: dict[str, tuple[str, ...]] = {
    "RSA-OAEP-256": ("RSA",),
    "ECDH-ES": ("EC", "OKP"),
    "ECDH-ES+A128KW": ("EC", "OKP"),
    "ECDH-ES+A256KW": ("EC", "OKP"),
}
ENCODINGS = ("A128GCM", "A256GCM", "A128CBC-HS256")
DEFAULT_ENCODING = "A128CBC-HS256"  # OpenID Connect Dynamic Client Registration §2
CURVES = ("P-256", "P-384", "P-521", "X25519")
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
PUBLIC_MEMBERS = ("kty", "crv", "x", "y", "n", "e")
OPERATIONS = frozenset({"encrypt", "wrapKey", "deriveKey", "deriveBits"})


def find_key(documents: Iterable[Mapping[str, object]], alg: str) -> Mapping[str, object] | None:
    """Return the first public key for an encryption algorithm, None when there is none (RFC 7517 §4.2 to §4.4)."""
    return next((document for document in documents if _fits(document, alg)), None)


def _fits(document: Mapping[str, object], alg: str) -> bool:
    operations = document.get("key_ops")
    if document.get("kty") not in ALGORITHMS[alg] or document.get("alg", alg) != alg:
        return False
    if document.get("use", "enc") != "enc":
        return False
    if operations is not None and not (
        isinstance(operations, list) and OPERATIONS & set(map(str, operations))
    ):
        return False
    try:
        _read(document)
    except JoseError:
        return False
    return True


def _read(document: Mapping[str, object]) -> "RSAKey | ECKey | OKPKey":
    from joserfc.errors import JoseError as LibraryError
    from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

    if document.get("kty") != "RSA" and document.get("crv") not in CURVES:
        raise JoseError("key")
    members = {name: document[name] for name in PUBLIC_MEMBERS if name in document}
    try:
        key = import_key(members)  # type: ignore[arg-type]  # checked by the library
        if not isinstance(key, RSAKey | ECKey | OKPKey):
            raise JoseError("key type")
        if isinstance(key, RSAKey) and not MIN_RSA_BITS <= key.public_key.key_size <= MAX_RSA_BITS:
            raise JoseError("key")
    except (LibraryError, ValueError, TypeError, KeyError, OverflowError):
        raise JoseError("key") from None
    return key


def encrypt(
    payload: bytes, document: Mapping[str, object], *, alg: str, enc: str, cty: str | None = None
) -> str:
    """Encrypt to a public key that `find_key` found (RFC 7516 §7.1); raise JoseError.

    A `cty` of "JWT" says that the payload is one (RFC 7519 §5.2).
    """
    from joserfc import jwe
    from joserfc.errors import JoseError as LibraryError

    header = {"alg": alg, "enc": enc, "typ": "JWT"}
    kid = document.get("kid")
    if isinstance(kid, str):
        header["kid"] = kid
    if cty is not None:
        header["cty"] = cty
    try:
        registry = jwe.JWERegistry(algorithms=[*ALGORITHMS, *ENCODINGS])
        return jwe.encrypt_compact(header, payload, _read(document), registry=registry)
    except (LibraryError, ValueError):  # a point of small order, for example, which only fails in use
        raise JoseError("key") from None
