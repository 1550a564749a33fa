"""What `auth.client` may be told, for type checkers and editors: the fields of `ClientInput`, which owns their rules and defaults."""

from typing import TypedDict

from watchword.oauth.clients import ApplicationType, ExchangeInput, SecurityProfile, SubjectType, TokenFormat


class ClientFields(TypedDict, total=False):
    """The metadata of a client; times in seconds."""

    name: str
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    grant_types: list[str]
    token_endpoint_auth_method: str
    token_endpoint_auth_signing_alg: str | None
    scope: str
    resources: list[str]
    application_type: ApplicationType
    jwks: dict[str, object] | None
    jwks_uri: str | None
    access_token_format: TokenFormat
    access_token_lifetime: int | None
    access_token_status: bool
    require_pkce: bool
    require_pushed_authorization_requests: bool
    require_signed_request_object: bool
    request_object_signing_alg: str | None
    authorization_details_types: tuple[str, ...]
    groups: tuple[str, ...]
    first_party: bool
    dpop_bound_access_tokens: bool
    tls_client_certificate_bound_access_tokens: bool
    tls_client_auth_subject: list[str] | None
    security_profile: SecurityProfile
    backchannel_logout_uri: str | None
    backchannel_logout_session_required: bool
    frontchannel_logout_uri: str | None
    frontchannel_logout_session_required: bool
    token_exchange: ExchangeInput | None
    subject_type: SubjectType
    sector_identifier_uri: str | None
    default_max_age: int | None
    require_auth_time: bool
    default_acr_values: tuple[str, ...]
    id_token_signed_response_alg: str | None
    id_token_encrypted_response_alg: str | None
    id_token_encrypted_response_enc: str | None
    userinfo_signed_response_alg: str | None
    userinfo_encrypted_response_alg: str | None
    userinfo_encrypted_response_enc: str | None
    introspection_signed_response_alg: str | None
    introspection_encrypted_response_alg: str | None
    introspection_encrypted_response_enc: str | None
