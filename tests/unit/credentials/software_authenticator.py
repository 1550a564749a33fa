"""A passkey authenticator and its browser in software, for tests: honest by default, and every lie can be told by name.

    authenticator = SoftwareAuthenticator()
    response = authenticator.create(options, origin="https://auth.example.com")      # navigator.credentials.create
    response = authenticator.get(options, origin="https://auth.example.com")         # navigator.credentials.get

`options` is the JSON that a page gives the browser; the answers are JSON texts, as `PublicKeyCredential.toJSON()` makes them.
"""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

USER_PRESENT, USER_VERIFIED, BACKUP_ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
SYNCED = USER_PRESENT | USER_VERIFIED | BACKUP_ELIGIBLE | BACKED_UP


def encode(raw: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class SoftwareAuthenticator:
    """One credential; `sign_count` None is a synced passkey, which does not count."""

    def __init__(self, alg: int = -7, *, flags: int = SYNCED, sign_count: int | None = None) -> None:
        self.alg = alg
        self.flags = flags
        self.sign_count = sign_count
        self.credential_id = secrets.token_bytes(32)
        self.user_handle = b""
        self.rp_id = ""
        self._ec = ec.generate_private_key(ec.SECP256R1())
        self._ed = ed25519.Ed25519PrivateKey.generate()
        self._rsa = rsa.generate_private_key(65537, 2048) if alg == -257 else None

    def cose_key(self) -> dict[int, Any]:
        """Return the public key as a COSE map."""
        if self._rsa is not None:
            numbers = self._rsa.public_key().public_numbers()
            return {1: 3, 3: -257, -1: numbers.n.to_bytes(256, "big"), -2: b"\x01\x00\x01"}
        if self.alg == -8:
            return {1: 1, 3: -8, -1: 6, -2: self._ed.public_key().public_bytes_raw()}
        point = self._ec.public_key().public_numbers()
        return {1: 2, 3: self.alg, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the credential's key."""
        if self._rsa is not None:
            return self._rsa.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if self.alg == -8:
            return self._ed.sign(data)
        return self._ec.sign(data, ec.ECDSA(hashes.SHA256()))

    def _count(self, said: int | None) -> bytes:
        if said is None and self.sign_count is not None:
            self.sign_count += 1
        return (said if said is not None else self.sign_count or 0).to_bytes(4, "big")

    def create(
        self,
        options: Mapping[str, Any],
        *,
        origin: str,
        rp_id: str | None = None,
        kind: str = "webauthn.create",
        flags: int | None = None,
        sign_count: int | None = None,
        client_data: Mapping[str, Any] | None = None,
        cose_key: Mapping[Any, Any] | bytes | None = None,
        fmt: str = "none",
        att_stmt: Any = None,
        attestation: bytes | None = None,
    ) -> str:
        """Register with a page's creation options and return the response."""
        self.user_handle = decode(options["user"]["id"])
        self.rp_id = options["rp"]["id"]
        key = self.cose_key() if cose_key is None else cose_key
        said = (self.flags if flags is None else flags) | ATTESTED
        auth_data = b"".join(
            (
                hashlib.sha256((rp_id or self.rp_id).encode()).digest(),
                bytes([said]),
                self._count(sign_count),
                bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id,
                key if isinstance(key, bytes) else cbor2.dumps(key),
            )
        )
        client = self._client_data(kind, options["challenge"], origin, client_data)
        if fmt == "packed" and att_stmt is None:
            att_stmt = {"alg": self.alg, "sig": self.sign(auth_data + hashlib.sha256(client).digest())}
        statement = {} if att_stmt is None else att_stmt
        whole = attestation or cbor2.dumps({"fmt": fmt, "attStmt": statement, "authData": auth_data})
        return self._response(client, attestationObject=encode(whole), transports=["internal", "hybrid"])

    def get(
        self,
        options: Mapping[str, Any],
        *,
        origin: str,
        rp_id: str | None = None,
        kind: str = "webauthn.get",
        flags: int | None = None,
        sign_count: int | None = None,
        client_data: Mapping[str, Any] | None = None,
        user_handle: bytes | None = None,
        auth_data: bytes | None = None,
        signature: bytes | None = None,
    ) -> str:
        """Sign in with a page's request options and return the response; an empty handle is left out."""
        said = self.flags if flags is None else flags
        rp = hashlib.sha256((rp_id or self.rp_id or options["rpId"]).encode()).digest()
        data = rp + bytes([said]) + self._count(sign_count) if auth_data is None else auth_data
        client = self._client_data(kind, options["challenge"], origin, client_data)
        signed = self.sign(data + hashlib.sha256(client).digest()) if signature is None else signature
        handle = self.user_handle if user_handle is None else user_handle
        return self._response(
            client,
            authenticatorData=encode(data),
            signature=encode(signed),
            userHandle=encode(handle) if handle else None,
        )

    def _client_data(self, kind: str, challenge: str, origin: str, more: Mapping[str, Any] | None) -> bytes:
        data = {"type": kind, "challenge": challenge, "origin": origin, "crossOrigin": False, **(more or {})}
        return json.dumps(data).encode()

    def _response(self, client: bytes, **parts: Any) -> str:
        name = encode(self.credential_id)
        response = {"clientDataJSON": encode(client), **parts}
        return json.dumps(
            {
                "id": name,
                "rawId": name,
                "type": "public-key",
                "authenticatorAttachment": "platform",
                "clientExtensionResults": {"credProps": {"rk": True}},
                "response": response,
            }
        )
