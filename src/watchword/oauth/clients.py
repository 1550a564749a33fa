"""RFC 7591 §2: client metadata, as the rules of this package need it.

Owns the frozen value `Client` and the rules that follow from its metadata alone. Storing, fetching and authenticating clients is
done elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from watchword.oauth import redirect_uri
from watchword.oauth.errors import OAuthError

ApplicationType = Literal["web", "native"]
SecurityProfile = Literal["default", "fapi2"]
SubjectType = Literal["public", "pairwise"]
TokenFormat = Literal["jwt", "opaque"]
Origin = Literal["registered", "dynamic", "document"]

AUTH_METHODS = (
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "zero_proof",
    "none",
)
SECRET_METHODS = ("client_secret_basic", "client_secret_post")
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ZERO_PROOF = "urn:watchword:params:oauth:grant-type:zero-proof"
# Grant types whose name is a URN, by the short name that operators may write instead.
SHORT_GRANTS = {
    "device_code": DEVICE_CODE,
    "token_exchange": TOKEN_EXCHANGE,
    "jwt_bearer": JWT_BEARER,
    "zero_proof": ZERO_PROOF,
}
PLAIN_GRANTS = ("authorization_code", "refresh_token", "client_credentials")
GRANT_TYPES = (*PLAIN_GRANTS, *SHORT_GRANTS.values())


class AssertionTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Another authorization server for which a client may get identity assertions (ID-JAG), and its `client_id` there.

    `scope` and `resources` are those of the other server, by default the client's own here. `tell_email` adds a verified email address.
    """

    issuer: str
    client_id: str
    scope: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    tell_email: bool = False


class ExchangeRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may do by token exchange (RFC 8693) beyond narrowing its own tokens.

    `serves` are the APIs that the client itself implements: it may exchange tokens that were sent to them. `audiences` are the APIs
    that it may get tokens for, by default its resources. `impersonate` allows exchange without an actor token, `delegate` with one.
    `max_lifetime` is in seconds.
    """

    serves: tuple[str, ...] = ()
    audiences: tuple[str, ...] = ()
    impersonate: bool = False
    delegate: bool = True
    max_lifetime: Annotated[int, msgspec.Meta(ge=5, le=3600)] = 300
    assertions: tuple[AssertionTarget, ...] = ()


# As they are given. What is stored is read without regard for what a later release, whose nodes serve beside this one, added to it.
class AssertionTargetInput(AssertionTarget, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = AssertionTarget.__doc__


class ExchangeInput(ExchangeRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    __doc__ = ExchangeRules.__doc__

    assertions: tuple[AssertionTargetInput, ...] = ()


# What only an operator says of a client: it stays when the client says anew what it says of itself (RFC 7592 §2.2, its own document).
OPERATORS = (
    "groups",
    "access_token_format",
    "access_token_lifetime",
    "access_token_status",
    "security_profile",
    "token_exchange",
)

# FAPI 2.0 Security Profile §5.4.1
FAPI_ALGORITHMS = ("PS256", "ES256", "EdDSA")
NO_FAPI_ALGORITHM = "FAPI 2.0 needs ES256 or EdDSA among the server's signing_algorithms."


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A client of the authorization server; times are Unix seconds."""

    client_id: str
    name: str
    token_endpoint_auth_method: str
    token_endpoint_auth_signing_alg: str | None = None
    grant_types: tuple[str, ...] = ()
    response_types: tuple[str, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    post_logout_redirect_uris: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # whose members alone sign in to it
    first_party: bool = False  # the operator's own, for which nobody is asked to consent
    application_type: ApplicationType = "web"
    jwks: tuple[Mapping[str, object], ...] | None = None
    jwks_uri: str | None = None
    access_token_format: TokenFormat = "jwt"
    access_token_lifetime: int | None = None
    access_token_status: bool = False
    require_pkce: bool = True
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    request_object_signing_alg: str | None = None
    dpop_bound_access_tokens: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    security_profile: SecurityProfile = "default"
    subject_type: SubjectType = "public"
    sector_identifier_uri: str | None = None
    default_acr_values: tuple[str, ...] = ()
    default_max_age: int | None = None
    require_auth_time: bool = False
    tls_client_auth_subject: tuple[str, str] | None = None
    token_exchange: ExchangeRules | None = None
    authorization_details_types: tuple[str, ...] = ()
    backchannel_logout_uri: str | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: str | None = None
    frontchannel_logout_session_required: bool = False
    id_token_signed_response_alg: str | None = None
    id_token_encrypted_response_alg: str | None = None
    id_token_encrypted_response_enc: str | None = None
    userinfo_signed_response_alg: str | None = None
    userinfo_encrypted_response_alg: str | None = None
    userinfo_encrypted_response_enc: str | None = None
    introspection_signed_response_alg: str | None = None
    introspection_encrypted_response_alg: str | None = None
    introspection_encrypted_response_enc: str | None = None
    origin: Origin = "registered"
    created_at: int = 0
    disabled_at: int | None = None
    version: int = 1

    @property
    def is_public(self) -> bool:
        """Whether the client can keep no secret (RFC 6749 §2.1)."""
        return self.token_endpoint_auth_method == "none"

    @property
    def is_recognized(self) -> bool:
        """Whether nobody can pass for the client where people saw it, so that what they agreed to is remembered.

        Anybody can pass for a public client, unless an operator says that it is a web application and its addresses do not say otherwise;
        of one that registered itself with several destinations the person saw one (RFC 6749 §10.2, RFC 8252 §8.6).
        """
        is_proven = not self.is_public and self.origin != "document" and self._has_one_destination()
        is_web = self.application_type == "web" and not any(map(redirect_uri.is_private, self.redirect_uris))
        return is_proven or (self.origin == "registered" and is_web)

    def _has_one_destination(self) -> bool:
        return len({redirect_uri.destination(uri).lower() for uri in self.redirect_uris}) == 1

    @property
    def rotates_refresh_tokens(self) -> bool:
        """Whether a refresh token is replaced with every use (FAPI 2.0 §5.3.2.1 forbids it: there the client's key protects the token)."""
        return self.security_profile != "fapi2"

    def signing_algorithm(self, available: Sequence[str]) -> str:
        """Return the algorithm that signs this client's tokens, out of those that the server has keys for.

        Raises `server_error` where FAPI 2.0 allows none of them, as after a change of the settings.
        """
        if self.security_profile != "fapi2":
            return available[0]
        allowed = next((name for name in available if name in FAPI_ALGORITHMS), None)
        if allowed is None:
            raise OAuthError(
                "server_error", NO_FAPI_ALGORITHM, detail=f"nothing can be signed for {self.client_id}"
            )
        return allowed

    def may(self, grant_type: str) -> bool:
        """Whether the client is registered for a grant type."""
        return grant_type in self.grant_types
