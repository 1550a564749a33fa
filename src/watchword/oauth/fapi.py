"""FAPI 2.0 Security Profile: what a client with the profile `fapi2` must do, beyond what every client must do here.

For every client, codes live a minute at most, responses carry `iss`, PKCE is S256, and a `request_uri` works once. A client of this
profile must also push its requests (`authorization`), authenticate by key or certificate with an assertion whose audience is the
issuer alone (`assertion`), and have its tokens bound; signatures by it and for it use one of three algorithms.
"""

from typing import NamedTuple

from watchword.oauth import answers
from watchword.oauth.clients import FAPI_ALGORITHMS, NO_FAPI_ALGORITHM, Client
from watchword.oauth.errors import OAuthError

METHODS = ("private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth")


class Binds(NamedTuple):
    """What a client's access tokens must be bound to."""

    dpop: bool
    certificate: bool


def check_client(method: str, redirect_uris: list[str]) -> None:
    """Check a client's authentication method (§5.3.2.1) and redirect URIs (§5.3.2.2).

    Raises `invalid_client_metadata` or `invalid_redirect_uri` (RFC 7591 §3.2.2).
    """
    if method not in METHODS:
        raise OAuthError(
            "invalid_client_metadata",
            "FAPI 2.0 asks for private_key_jwt or mutual TLS.",
            field="token_endpoint_auth_method",
        )
    if not all(uri.startswith("https://") for uri in redirect_uris):
        raise OAuthError(
            "invalid_redirect_uri", "FAPI 2.0 asks for https redirect URIs.", field="redirect_uris"
        )


def binds(method: str, *, dpop: bool, certificate: bool) -> Binds:
    """Return what tokens are bound to (§5.3.2.1): as registered, else to the certificate that authenticates, else to a DPoP key."""
    if not dpop and not certificate:
        certificate = method != "private_key_jwt"
        dpop = not certificate
    return Binds(dpop, certificate)


def check_signing(client: Client, available: tuple[str, ...]) -> None:
    """Check that the server can sign for a client (§5.4.1); raise `invalid_client_metadata`."""
    if client.security_profile != "fapi2":
        return
    for kind in answers.KINDS:
        if answers.protection_of(client, kind).signed not in (None, *FAPI_ALGORITHMS):
            raise OAuthError(
                "invalid_client_metadata",
                "FAPI 2.0 allows PS256, ES256 and EdDSA only.",
                field=f"{kind}_signed_response_alg",
            )
    if not any(name in FAPI_ALGORITHMS for name in available):
        raise OAuthError("invalid_client_metadata", NO_FAPI_ALGORITHM, field="security_profile")
