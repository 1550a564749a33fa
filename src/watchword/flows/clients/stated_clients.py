"""RFC 7591 §2: metadata that a client states about itself, restricted to what the operator allows such clients.

Owns the way from a stranger's JSON to a `Client`, for client ID metadata documents and dynamic registration alike. Members that the
server does not use are ignored, and so are values that the policy does not allow; the registration response says what is left. Nothing
is fetched here, and no address that a client states is shown as a link.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from watchword.flows.clients.client_metadata import ClientInput, check_name, to_client
from watchword.flows.inputs import Text, Uri
from watchword.oauth import malformed
from watchword.oauth.answers import AnswersInput, fields_of
from watchword.oauth.clients import (
    GRANT_TYPES,
    OPERATORS,
    SHORT_GRANTS,
    TOKEN_EXCHANGE,
    ApplicationType,
    Client,
    Origin,
    SecurityProfile,
)
from watchword.oauth.errors import OAuthError
from watchword.oauth.logout_addresses import check_own_host
from watchword.oauth.scopes import is_reserved, parse_scope
from watchword.settings import Settings

CERTIFICATE_SUBJECTS = {
    "tls_client_auth_subject_dn": "subject_dn",
    "tls_client_auth_san_dns": "san_dns",
    "tls_client_auth_san_uri": "san_uri",
    "tls_client_auth_san_ip": "san_ip",
    "tls_client_auth_san_email": "san_email",
}
Uris = Annotated[list[Uri], msgspec.Meta(max_length=50)]
# Each is checked as a redirect URI: an empty or over-long one is an invalid_redirect_uri.
Addresses = Annotated[list[str], msgspec.Meta(max_length=50)]
WebPage = Annotated[str, msgspec.Meta(max_length=2000, pattern="^($|https?://)")]
Picture = Annotated[str, msgspec.Meta(pattern="^($|https?://|data:image/)")]
Names = Annotated[list[Annotated[str, msgspec.Meta(max_length=200)]], msgspec.Meta(max_length=50)]


class Unused(AnswersInput, frozen=True, kw_only=True):
    """Members that are not used but still must have the right type, so that the client learns of its mistake (DC-04)."""

    client_uri: WebPage | None = None
    logo_uri: Picture | None = None
    policy_uri: WebPage | None = None
    tos_uri: WebPage | None = None
    contacts: Names | None = None
    software_id: str | None = None
    software_version: str | None = None
    initiate_login_uri: str | None = None
    request_uris: list[str] | None = None


class Stated(Unused, frozen=True, kw_only=True):
    """The metadata that is understood; everything else is ignored (RFC 7591 §2)."""

    client_name: Text | None = None
    redirect_uris: Addresses = msgspec.field(default_factory=list)
    post_logout_redirect_uris: Uris = msgspec.field(default_factory=list)
    grant_types: Names = msgspec.field(default_factory=lambda: ["authorization_code"])
    response_types: Names = msgspec.field(default_factory=lambda: ["code"])
    token_endpoint_auth_method: Annotated[str, msgspec.Meta(max_length=100)] | None = None
    token_endpoint_auth_signing_alg: str | None = None
    scope: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    application_type: ApplicationType | None = None
    jwks: dict[str, object] | None = None
    jwks_uri: Uri | None = None
    dpop_bound_access_tokens: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    request_object_signing_alg: Annotated[str, msgspec.Meta(max_length=10)] | None = None
    authorization_details_types: Names = msgspec.field(default_factory=list)
    tls_client_auth_subject_dn: Text | None = None
    tls_client_auth_san_dns: Text | None = None
    tls_client_auth_san_uri: Text | None = None
    tls_client_auth_san_ip: Text | None = None
    tls_client_auth_san_email: Text | None = None
    backchannel_logout_uri: Uri | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: Uri | None = None
    frontchannel_logout_session_required: bool = False


def read(
    settings: Settings,
    document: object,
    client_id: str,
    *,
    origin: Origin,
    methods: tuple[str, ...],
    fallback_name: str,
    known: Client | None = None,
) -> Client:
    """Return the client that the metadata describes; its authentication method is one of `methods`, by default the first.

    What an operator said of the client as it is `known` stays, and the metadata has to agree with it.
    Raises `invalid_client_metadata`, `invalid_redirect_uri` or `invalid_software_statement`.
    """
    stated = _understood(document)
    grants = _grants(settings, stated)
    _check_response_types(stated.response_types, grants)
    _check_certificates(settings, stated)
    method = stated.token_endpoint_auth_method or methods[0]
    if method not in methods:
        raise _bad("token_endpoint_auth_method", f"The methods are {', '.join(methods)}.")
    if stated.backchannel_logout_uri is not None:
        check_own_host(stated.backchannel_logout_uri, (client_id, *stated.redirect_uris))
    kept = _operators(known, grants, method)
    given = ClientInput(
        name=stated.client_name or fallback_name,
        redirect_uris=stated.redirect_uris,
        post_logout_redirect_uris=stated.post_logout_redirect_uris,
        grant_types=grants,
        token_endpoint_auth_method=method,
        token_endpoint_auth_signing_alg=_assertion_algorithm(stated, method),
        scope=_scope(settings, stated),
        resources=list(settings.self_registered_resources),
        application_type=stated.application_type or _application_type(stated.redirect_uris),
        jwks=stated.jwks,
        jwks_uri=stated.jwks_uri,
        require_pkce=settings.self_registered_pkce or method == "none",
        require_pushed_authorization_requests=stated.require_pushed_authorization_requests,
        require_signed_request_object=stated.require_signed_request_object,
        request_object_signing_alg=stated.request_object_signing_alg,
        authorization_details_types=tuple(
            name
            for name in stated.authorization_details_types
            if name in settings.self_registered_authorization_details
        ),
        dpop_bound_access_tokens=stated.dpop_bound_access_tokens,
        tls_client_certificate_bound_access_tokens=stated.tls_client_certificate_bound_access_tokens,
        tls_client_auth_subject=_subject(stated),
        backchannel_logout_uri=stated.backchannel_logout_uri,
        backchannel_logout_session_required=stated.backchannel_logout_session_required,
        frontchannel_logout_uri=stated.frontchannel_logout_uri,
        frontchannel_logout_session_required=stated.frontchannel_logout_session_required,
        **fields_of(stated),
        **kept,
    )
    client = to_client(given, client_id, schemes=settings.private_schemes, origin=origin)
    algorithm = _id_token_algorithm(settings, stated, client.security_profile)
    return msgspec.structs.replace(client, id_token_signed_response_alg=algorithm)


def _bad(field: str | None, description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field=field)


def _understood(document: object) -> Stated:
    if not isinstance(document, Mapping):
        raise _bad("client_metadata", "The metadata must be a JSON object.")
    if document.get("software_statement") is not None:  # RFC 7591 §3.1.1: trusting none is the server's right
        raise OAuthError("invalid_software_statement", "Software statements are not accepted here.")
    stated = _convert(document)
    if stated.client_name is not None:
        check_name("client_name", stated.client_name)
    return stated


def _convert(document: Mapping[str, object]) -> Stated:
    try:
        # null counts as absent: many programs write every member.
        return msgspec.convert({name: value for name, value in document.items() if value is not None}, Stated)
    except msgspec.ValidationError as error:
        wrong = malformed.explain(error, Stated)
        raise _bad(wrong.field, wrong.description) from None


def _operators(known: Client | None, grants: list[str], method: str) -> dict[str, Any]:
    kept = {name: getattr(known, name) for name in OPERATORS} if known is not None else {}
    if method == "none" or TOKEN_EXCHANGE not in grants:
        kept.pop("token_exchange", None)  # they allow, and nothing is left that they could allow
    return kept


def _id_token_algorithm(settings: Settings, stated: Stated, profile: SecurityProfile) -> str | None:
    # OpenID Connect Registration §2: RS256 is the default, here only if the server has such a key; FAPI 2.0 §5.4.1 has no RS256
    default = "RS256" if "RS256" in settings.signing_algorithms and profile != "fapi2" else None
    return stated.id_token_signed_response_alg or default


def _assertion_algorithm(stated: Stated, method: str) -> str | None:
    # Many programs state one beside any method: where nothing is signed, it means nothing.
    return stated.token_endpoint_auth_signing_alg if method == "private_key_jwt" else None


def _grants(settings: Settings, stated: Stated) -> list[str]:
    allowed = [SHORT_GRANTS.get(grant, grant) for grant in settings.self_registered_grants]
    grants = [grant for grant in GRANT_TYPES if grant in stated.grant_types and grant in allowed]
    if not grants:
        raise _bad("grant_types", "None of these grant types is allowed for self-registered clients.")
    return grants


def _check_response_types(named: list[str], grants: list[str]) -> None:
    # RFC 7591 §2.1: the other grants have no response type, so a client without the code grant may state none
    if "code" not in named and (named or "authorization_code" in grants):  # OAuth 2.1 §4
        raise _bad("response_types", "The only response type is code.")


def _check_certificates(settings: Settings, stated: Stated) -> None:
    # Such a client would be registered but could never get a token.
    if stated.tls_client_certificate_bound_access_tokens and not settings.takes_certificates:
        raise _bad(
            "tls_client_certificate_bound_access_tokens", "This server does not request client certificates."
        )


def _scope(settings: Settings, stated: Stated) -> str:
    allowed = [scope for scope in settings.self_registered_scopes if not is_reserved(scope)]
    try:
        wanted = parse_scope(stated.scope)
    except OAuthError as error:  # RFC 7591 §3.2.2 has no code of its own for it
        raise _bad("scope", error.description) from None
    scope = [token for token in allowed if token in wanted] if wanted else allowed
    if wanted and not scope:
        raise _bad("scope", "None of these scopes is allowed for self-registered clients.")
    return " ".join(scope)


def _application_type(redirect_uris: list[str]) -> ApplicationType:
    is_native = any(not uri.startswith("https://") for uri in redirect_uris)
    return "native" if is_native else "web"


def _subject(stated: Stated) -> list[str] | None:
    named = [
        [kind, value]
        for name, kind in CERTIFICATE_SUBJECTS.items()
        if (value := getattr(stated, name)) is not None
    ]
    if len(named) > 1:  # RFC 8705 §2.1.2: "exactly one"
        raise _bad("tls_client_auth_subject", "Name one subject of the certificate, not several.")
    return named[0] if named else None


def describe(client: Client) -> dict[str, object]:
    """Return a client's metadata by the names of RFC 7591 §2, without members that it did not register."""
    named: dict[str, object] = {
        "client_name": client.name,
        "redirect_uris": client.redirect_uris,
        "post_logout_redirect_uris": client.post_logout_redirect_uris,
        "grant_types": client.grant_types,
        "response_types": client.response_types,
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "token_endpoint_auth_signing_alg": client.token_endpoint_auth_signing_alg,
        "scope": " ".join(client.scope),
        "application_type": client.application_type,
        **fields_of(client),
        "require_auth_time": client.require_auth_time or None,
        "jwks": {"keys": client.jwks} if client.jwks is not None else None,
        "jwks_uri": client.jwks_uri,
        "require_pushed_authorization_requests": client.require_pushed_authorization_requests or None,
        "require_signed_request_object": client.require_signed_request_object or None,
        "request_object_signing_alg": client.request_object_signing_alg,
        "authorization_details_types": client.authorization_details_types,
        "dpop_bound_access_tokens": client.dpop_bound_access_tokens or None,
        "tls_client_certificate_bound_access_tokens": client.tls_client_certificate_bound_access_tokens
        or None,
        "backchannel_logout_uri": client.backchannel_logout_uri,
        "backchannel_logout_session_required": client.backchannel_logout_session_required or None,
        "frontchannel_logout_uri": client.frontchannel_logout_uri,
        "frontchannel_logout_session_required": client.frontchannel_logout_session_required or None,
    }
    if client.tls_client_auth_subject is not None:
        kind, value = client.tls_client_auth_subject
        named |= {name: value for name, known in CERTIFICATE_SUBJECTS.items() if known == kind}
    return {name: value for name, value in named.items() if value not in (None, ())}
