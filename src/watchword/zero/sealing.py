"""docs/zero.md §3.3: a secret under a passphrase: Argon2id (RFC 9106), then XChaCha20-Poly1305.

The cost, salt and nonce are authenticated with the ciphertext. Salt and nonce are passed in.
"""

import unicodedata

from nacl import bindings
from nacl.exceptions import CryptoError

from watchword.credentials.zkproof import ZeroError, frame
from watchword.zero.records import MAGIC, Sealed, Secret, checked, from_binary, to_binary

# RFC 9106 §4, the second recommended option: three passes over 64 MiB.
PASSES = 3
MEMORY = 64 * 1024
SALT_SIZE = 16
NONCE_SIZE = 24

_KEY_SIZE = 32


def seal(
    secret: Secret, passphrase: str, salt: bytes, nonce: bytes, passes: int = PASSES, memory: int = MEMORY
) -> Sealed:
    """Encrypt a secret under a passphrase; `memory` is in KiB. Raises ZeroError for an empty passphrase or a malformed secret."""
    key = _key(passphrase, salt, passes, memory)
    bound = _bound(passes, memory, salt, nonce)
    data = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(to_binary(checked(secret)), bound, nonce, key)
    return checked(Sealed(passes, memory, salt, nonce, data))


def unseal(sealed: Sealed, passphrase: str) -> Secret:
    """Decrypt a secret; raise ZeroError `passphrase` when the passphrase is wrong or the file was altered."""
    key = _key(passphrase, sealed.salt, sealed.passes, sealed.memory)
    bound = _bound(sealed.passes, sealed.memory, sealed.salt, sealed.nonce)
    try:
        opened = bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed.ciphertext, bound, sealed.nonce, key
        )
    except CryptoError:
        raise ZeroError("passphrase", "wrong passphrase, or the file was altered") from None
    return from_binary(opened, Secret)


def _key(passphrase: str, salt: bytes, passes: int, memory: int) -> bytes:
    try:
        password = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise ZeroError("passphrase", "the passphrase is not text") from None
    if not password:
        raise ZeroError("passphrase", "the passphrase is empty")
    try:
        return bindings.crypto_pwhash_alg(
            _KEY_SIZE, password, salt, passes, memory * 1024, bindings.crypto_pwhash_ALG_ARGON2ID13
        )
    except CryptoError:
        raise ZeroError("memory", f"this machine cannot spare the {memory} KiB that the key takes") from None


def _bound(passes: int, memory: int, salt: bytes, nonce: bytes) -> bytes:
    return MAGIC + frame((b"argon2id", passes.to_bytes(8, "big"), memory.to_bytes(8, "big"), salt, nonce))
