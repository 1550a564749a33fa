"""RFC 8705: how a client's certificate reaches the server: in the server's own TLS handshake, or in a header of a trusted proxy.

Owns which header counts and from whom (MT-04, MT-06), whether an authority issued the certificate, and what the handshake trusts.
OpenSSL aborts a handshake with a certificate that it cannot verify. So that self-signed ones get through, those that clients
registered are added to its trust store; only the configured authorities count for `tls_client_auth`.

OpenSSL picks the issuer of a certificate from its trust store by name and key identifier, and tries no other when the signature does
not verify. A registered certificate with the name of an authority would thus lock out the clients of that authority. Therefore a
self-registered client's certificate is trusted only if it cannot be mistaken for any issuer but itself (`oauth.mtls.is_own`).
"""

import contextlib
import hashlib
import ssl
from collections.abc import Mapping, Set
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509

from watchword.flows.runtime import Runtime
from watchword.oauth import mtls
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import clients

TLS = "watchword.tls"
SELF_SIGNED = "self_signed_tls_client_auth"
VERIFIED = frozenset({"SUCCESS", "0"})  # as nginx and HAProxy write it


class Certificates:
    """Where this server finds clients' certificates, according to its settings."""

    def __init__(self, settings: Settings) -> None:
        self._authorities = _read_authorities(settings.tls_client_ca)
        self._header = _name(settings.client_certificate_header)
        self._verified = _name(settings.client_certificate_verified_header)
        self._is_issued = lru_cache(maxsize=256)(self._chains_to_authority)

    def of(
        self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], duplicates: Set[bytes], proxied: bool
    ) -> tuple[bytes | None, bool]:
        """Return the certificate of a request and whether a trusted authority issued it; raise `invalid_request`."""
        if proxied and self._header is not None:
            return self._passed_on(headers, duplicates)
        tls = (scope.get("extensions") or {}).get(TLS)
        chain: tuple[bytes, ...] = tls.get("client_certificate_chain", ()) if tls else ()
        return (chain[0], self._is_issued(chain)) if chain else (None, False)

    def _chains_to_authority(self, chain: tuple[bytes, ...]) -> bool:
        return mtls.is_issued(chain, self._authorities)

    def _passed_on(self, headers: Mapping[bytes, bytes], duplicates: Set[bytes]) -> tuple[bytes | None, bool]:
        if self._header in duplicates or self._verified in duplicates:  # MT-06
            raise OAuthError("invalid_request", "The certificate was passed on more than once.")
        value = headers.get(self._header or b"", b"").decode("latin-1")
        verified = headers.get(self._verified or b"", b"").decode("latin-1")
        return (mtls.read_header(value), verified in VERIFIED) if value else (None, False)


def _name(header: str | None) -> bytes | None:
    return header.lower().encode("latin-1", "replace") if header else None


def _read_authorities(path: str | None) -> list[x509.Certificate]:
    if path is None:
        return []
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"tls_client_ca: cannot read certificates from {path}: {error}") from None


def check_registered(settings: Settings, client: Client) -> None:
    """Check that the certificates of a self-registered client may be trusted in handshakes; raise `invalid_client_metadata`."""
    if not settings.tls_client_self_signed or client.token_endpoint_auth_method != SELF_SIGNED:
        return
    certificates = [mtls.first_certificate(document) for document in client.jwks or ()]
    if not all(_is_harmless(client, certificate) for certificate in certificates if certificate is not None):
        raise OAuthError(
            "invalid_client_metadata",
            "The certificate must be self-signed and have the SHA-1 of its own key as subjectKeyIdentifier, or it could be mistaken "
            "for an authority.",
            field="jwks",
        )


def _is_harmless(client: Client, certificate: bytes) -> bool:
    return client.origin == "registered" or mtls.is_own(certificate)


async def trust_registered(runtime: Runtime) -> None:
    """Make the handshake accept every self-signed certificate in a client's registered `jwks`."""
    if runtime.trust_certificate is None or not runtime.settings.tls_client_self_signed:
        return
    version = runtime.database.version()
    at, known = runtime.cache.get("trusted certificates", (None, ()))
    if at == version:
        return
    trusted: set[bytes] = set(known)  # by digest: each signature is verified once
    for client in await runtime.database.read(clients.list_self_signed):
        for document in client.jwks or ():
            certificate = mtls.first_certificate(document)
            if certificate is None or (digest := hashlib.sha256(certificate).digest()) in trusted:
                continue
            if _is_readable(certificate) and _is_harmless(client, certificate):
                with contextlib.suppress(ssl.SSLError):  # OpenSSL does not take all that `x509` reads
                    runtime.trust_certificate(certificate)
                trusted.add(digest)
    runtime.remember("trusted certificates", version, trusted)


def _is_readable(der: bytes) -> bool:
    try:  # one certificate, and nothing behind it
        return len(der) <= mtls.MAX_CERTIFICATE and bool(x509.load_der_x509_certificate(der))
    except (ValueError, x509.InvalidVersion):
        return False
