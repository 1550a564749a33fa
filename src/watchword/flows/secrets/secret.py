"""A 32-byte secret: keys derived from it by purpose, and encryption under these."""

import base64
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from watchword.store.database import StorageUnavailable

LENGTH = 32


class NotSealed(ValueError):
    """This key has not sealed that value, for that purpose and context."""


class Secret:
    """The bytes of the root secret, or of a master key."""

    def __init__(self, value: bytes) -> None:
        if len(value) != LENGTH:
            raise ValueError("a secret has 32 bytes")
        self.value = value
        self._derived: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Secret({self.name})"  # never the value, which would end up in logs and tracebacks

    @property
    def name(self) -> str:
        """A public name: eight hexadecimal digits that reveal nothing of the value."""
        return self.derive("name")[:4].hex()

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for one purpose (RFC 5869)."""
        key = self._derived.get(purpose)
        if key is None:
            kdf = HKDF(SHA256(), LENGTH, salt=None, info=f"watchword {purpose}".encode())
            key = self._derived[purpose] = kdf.derive(self.value)
        return key

    def seal(self, purpose: str, context: str, plaintext: bytes) -> bytes:
        """Encrypt under the purpose's key; `context` must be the same when it is opened."""
        nonce = os.urandom(12)
        return nonce + AESGCM(self.derive(purpose)).encrypt(nonce, plaintext, context.encode())

    def open(self, purpose: str, context: str, sealed: bytes) -> bytes:
        """Decrypt; raise NotSealed when this is not the key that sealed it."""
        try:
            return AESGCM(self.derive(purpose)).decrypt(sealed[:12], sealed[12:], context.encode())
        except (InvalidTag, ValueError):
            raise NotSealed("not sealed by this key") from None

    def open_kept(self, purpose: str, context: str, sealed: bytes) -> bytes:
        """Decrypt what a row keeps under the root secret; raise StorageUnavailable for a damaged one."""
        try:
            return self.open(purpose, context, sealed)
        except NotSealed as error:
            raise StorageUnavailable(f"a row cannot be read: what it seals ({purpose}) is damaged") from error

    def seal_text(self, purpose: str, context: str, plaintext: bytes) -> str:
        """Encrypt as `seal` does, into a text for a form, a cookie or an address."""
        return base64.urlsafe_b64encode(self.seal(purpose, context, plaintext)).decode().rstrip("=")

    def open_text(self, purpose: str, context: str, text: str) -> bytes:
        """Decrypt what `seal_text` has made; raise ValueError for any other text."""
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return self.open(purpose, context, sealed)
