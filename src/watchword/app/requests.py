"""From the ASGI scope of a request to a `Request`: who sent it, by what trusted proxies say, and whether it came over TLS."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from watchword.flows.clients.client_certificates import Certificates
from watchword.flows.runtime import Runtime
from watchword.http import Request, Scope
from watchword.networks import Network, read_address, read_network, without_port
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings

NONE: frozenset[bytes] = frozenset()
_HOST = re.compile(rb"(?:[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


class RequestReader:
    """Reads the heads of requests as the settings say: which proxies are trusted, and whether TLS is demanded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._trusted = [read_network(proxy) for proxy in settings.trusted_proxies]
        self._certificates = Certificates(settings)

    def read(self, runtime: Runtime, scope: Scope, path: str, params: dict[str, str]) -> Request:
        """Return the request without its body; raise `invalid_request` for a bad Host header, and for secrets in the clear (HT-01)."""
        headers: dict[bytes, bytes] = {}
        duplicates: set[bytes] | None = None
        for name, value in scope["headers"]:
            if name in headers:
                duplicates = {*(duplicates or ()), name}
                if name == b"cookie":
                    value = headers[name] + b"; " + value
                elif name == b"dpop":  # RFC 9449 §4.3 (1): at most one; two joined are not a valid proof
                    value = headers[name] + b", " + value
                elif name == b"x-forwarded-for":
                    value = headers[name] + b"," + value
            headers[name] = value
        self._check_host(headers, duplicates)
        peer = scope["client"][0] if scope.get("client") else ""
        address, proxied = peer, False
        if self._trusted:
            address, proxied = _client_address(peer, headers, self._trusted)
        secure = self._is_secure(scope, headers, proxied)
        carries_secrets = b"authorization" in headers or scope["method"] == "POST"
        if carries_secrets and not secure and self._settings.secure:  # HT-01
            raise OAuthError("invalid_request", "Use https: what was sent here has travelled in the clear.")
        certificate, issued = self._certificates.of(scope, headers, duplicates or NONE, proxied)
        return Request(
            runtime=runtime,
            method=scope["method"],
            path=path,
            query_string=scope["query_string"],
            headers=headers,
            duplicates=frozenset(duplicates) if duplicates else NONE,
            body=b"",
            address=address,
            secure=secure,
            path_params=params,
            client_certificate=certificate,
            certificate_issued=issued,
        )

    def _check_host(self, headers: dict[bytes, bytes], duplicates: set[bytes] | None) -> None:
        host = headers.get(b"host")
        if host is not None and ((duplicates and b"host" in duplicates) or not is_valid_host(host)):
            raise OAuthError("invalid_request", "The Host header is not valid.")

    def _is_secure(self, scope: Scope, headers: dict[bytes, bytes], proxied: bool) -> bool:
        if scope["scheme"] == "https":
            return True
        if not (proxied or self._settings.behind_tls_proxy):
            return False
        return headers.get(b"x-forwarded-proto", b"https").rpartition(b",")[2].strip().lower() == b"https"


def _client_address(
    peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]
) -> tuple[str, bool]:
    """Return the address of the client and whether the peer is a trusted proxy: the rightmost hop that is not one (HT-04)."""
    if not _within(peer, trusted):
        return peer, False
    hops = [
        hop.strip()
        for hop in headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")
        if hop.strip()
    ]
    for hop in map(without_port, reversed(hops[-20:])):
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            break
        if not _within(hop, trusted):
            return hop, True
    return peer, True


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = read_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


@lru_cache(maxsize=256)
def is_valid_host(host: bytes) -> bool:
    """Whether a Host header is a host and an optional port, with nothing that would corrupt a URL built from it (MD-05)."""
    return _HOST.fullmatch(host) is not None
