"""RFC 7591 §2: a client's metadata as an operator states it, every rule that it has to keep, and the `Client` that it makes.

Owns what can be judged by the metadata alone. What depends on the running server is in `client_checks`; storing is in `client_registry`.
"""

from collections.abc import Collection
from typing import Annotated

import msgspec

from watchword.credentials import names
from watchword.fetch import FetchError, split_address
from watchword.flows.clients import client_keys
from watchword.flows.inputs import Text, Uri, check_resource
from watchword.networks import is_loopback
from watchword.oauth import assertion, logout_addresses, mtls, redirect_uri, request_object
from watchword.oauth import fapi as fapi_rules
from watchword.oauth.answers import AnswersInput, fields_of
from watchword.oauth.clients import (
    AUTH_METHODS,
    GRANT_TYPES,
    PLAIN_GRANTS,
    SHORT_GRANTS,
    TOKEN_EXCHANGE,
    ApplicationType,
    Client,
    ExchangeInput,
    ExchangeRules,
    Origin,
    SecurityProfile,
    TokenFormat,
)
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import is_reserved, parse_scope

SIGNING_METHODS = ("private_key_jwt", "self_signed_tls_client_auth")


class ClientInput(AnswersInput, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The metadata of a client as an administrator gives it; times in seconds.

    `grant_types`, if left out, are those of the code flow for a client with `redirect_uris`, else `client_credentials`. People are not
    asked to consent to a `first_party` client.
    """

    name: Text
    redirect_uris: Annotated[list[Uri], msgspec.Meta(max_length=50)] = msgspec.field(default_factory=list)
    post_logout_redirect_uris: Annotated[list[Uri], msgspec.Meta(max_length=50)] = msgspec.field(
        default_factory=list
    )
    grant_types: Annotated[list[str], msgspec.Meta(max_length=10)] | None = None
    token_endpoint_auth_method: str = "client_secret_basic"
    token_endpoint_auth_signing_alg: Annotated[str, msgspec.Meta(max_length=10)] | None = None
    scope: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    resources: Annotated[list[Uri], msgspec.Meta(max_length=50)] = msgspec.field(default_factory=list)
    application_type: ApplicationType = "web"
    jwks: dict[str, object] | None = None
    jwks_uri: Uri | None = None
    access_token_format: TokenFormat = "jwt"
    access_token_lifetime: Annotated[int, msgspec.Meta(ge=5, le=86_400)] | None = None
    access_token_status: bool = False
    require_pkce: bool = True
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    request_object_signing_alg: Annotated[str, msgspec.Meta(max_length=10)] | None = None
    authorization_details_types: Annotated[tuple[Text, ...], msgspec.Meta(max_length=50)] = ()
    groups: Annotated[tuple[Text, ...], msgspec.Meta(max_length=100)] = ()
    first_party: bool = False
    dpop_bound_access_tokens: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    tls_client_auth_subject: Annotated[list[Text], msgspec.Meta(min_length=2, max_length=2)] | None = None
    security_profile: SecurityProfile = "default"
    backchannel_logout_uri: Uri | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: Uri | None = None
    frontchannel_logout_session_required: bool = False
    token_exchange: ExchangeInput | None = None


def to_client(
    given: ClientInput, client_id: str, *, schemes: Collection[str] = (), origin: Origin = "registered"
) -> Client:
    """Check metadata and return the client; raise `invalid_client_metadata`, `invalid_redirect_uri`, `invalid_scope` or `invalid_target`.

    `schemes` are the private-use schemes that redirect URIs may have although they have no dot.
    """
    fapi = given.security_profile == "fapi2"
    chosen = fapi_rules.Binds(
        given.dpop_bound_access_tokens, given.tls_client_certificate_bound_access_tokens
    )
    binds = fapi_rules.binds(given.token_endpoint_auth_method, **chosen._asdict()) if fapi else chosen
    grants = _grants(given)
    check_name("name", given.name)
    _check_grants(given, grants)
    _check_method(given, fapi)
    _check_first_party(given, origin)
    _check_addresses(given, schemes)
    return Client(
        client_id=client_id,
        name=given.name,
        token_endpoint_auth_method=given.token_endpoint_auth_method,
        token_endpoint_auth_signing_alg=assertion.registered(given.token_endpoint_auth_signing_alg, fapi),
        grant_types=grants,
        response_types=("code",) if "authorization_code" in grants else (),
        redirect_uris=tuple(given.redirect_uris),
        post_logout_redirect_uris=tuple(given.post_logout_redirect_uris),
        scope=parse_scope(given.scope),
        resources=tuple(check_resource(resource) for resource in given.resources),
        application_type=given.application_type,
        jwks=client_keys.registered(given.jwks, signs=given.token_endpoint_auth_method in SIGNING_METHODS),
        jwks_uri=given.jwks_uri,
        access_token_format=given.access_token_format,
        access_token_lifetime=given.access_token_lifetime,
        access_token_status=given.access_token_status,
        require_pkce=given.require_pkce or fapi,
        require_pushed_authorization_requests=given.require_pushed_authorization_requests or fapi,
        require_signed_request_object=request_object.must_sign(
            given.request_object_signing_alg,
            required=given.require_signed_request_object,
            fapi=fapi,
            has_keys=given.jwks is not None or given.jwks_uri is not None,
        ),
        request_object_signing_alg=given.request_object_signing_alg,
        authorization_details_types=given.authorization_details_types,
        groups=given.groups,
        first_party=given.first_party,
        dpop_bound_access_tokens=binds.dpop,
        tls_client_certificate_bound_access_tokens=binds.certificate,
        tls_client_auth_subject=mtls.registered_subject(given.tls_client_auth_subject),
        security_profile=given.security_profile,
        **fields_of(given),
        backchannel_logout_uri=given.backchannel_logout_uri,
        backchannel_logout_session_required=given.backchannel_logout_session_required,
        frontchannel_logout_uri=given.frontchannel_logout_uri,
        frontchannel_logout_session_required=given.frontchannel_logout_session_required,
        token_exchange=_exchange(given, grants),
        origin=origin,
    )


def to_input(client: Client) -> ClientInput:
    """Return a client as the input that would register it again."""
    fields = {name: getattr(client, name) for name in ClientInput.__struct_fields__ if hasattr(client, name)}
    fields["scope"] = " ".join(client.scope)
    fields["jwks"] = {"keys": [dict(key) for key in client.jwks]} if client.jwks is not None else None
    return msgspec.convert(msgspec.to_builtins(fields), ClientInput)


def check_name(field: str, name: str) -> None:
    """Check a client's name like `check_text`, but raise `invalid_client_metadata` for the member that holds it."""
    if flaw := names.flaw("The name", name):
        raise _bad(field, flaw)


def _bad(field: str, description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field=field)


def _grants(given: ClientInput) -> tuple[str, ...]:
    if given.grant_types is None:
        return ("authorization_code", "refresh_token") if given.redirect_uris else ("client_credentials",)
    return tuple(SHORT_GRANTS.get(grant, grant) for grant in given.grant_types)


def _check_grants(given: ClientInput, grants: tuple[str, ...]) -> None:
    for grant in grants:
        if grant not in GRANT_TYPES:
            raise _bad("grant_types", f"The grant types are {', '.join((*PLAIN_GRANTS, *SHORT_GRANTS))}.")
    if "authorization_code" in grants and not given.redirect_uris:
        raise _bad("redirect_uris", "The authorization_code grant needs at least one redirect URI.")
    if given.token_endpoint_auth_method == "none" and "client_credentials" in grants:  # RFC 6749 §4.4
        raise _bad("grant_types", "A public client needs other grants than client_credentials: name them.")
    if not given.require_pkce and given.token_endpoint_auth_method == "none":  # RFC 9700 §2.1.1
        raise _bad("require_pkce", "PKCE cannot be switched off for a public client.")


def _check_first_party(given: ClientInput, origin: Origin) -> None:
    # Another program on the device can pass for a native application, whatever an operator calls it, and take the code of a public client
    # (RFC 8252 §8.6); who registered itself changes itself as well.
    is_public = given.token_endpoint_auth_method == "none"
    is_elsewhere = any(not uri.startswith("https://") for uri in given.redirect_uris)
    is_imitable = given.application_type == "native" or (is_public and is_elsewhere)
    if given.first_party and (is_imitable or origin != "registered"):
        raise _bad(
            "first_party",
            "People are always asked about a native client, a public one with redirect URIs that are not https, and one that registered itself.",
        )


def _check_addresses(given: ClientInput, schemes: Collection[str]) -> None:
    for field in ("redirect_uris", "post_logout_redirect_uris"):
        for uri in getattr(given, field):
            redirect_uri.check_registered(uri, given.application_type, field, schemes)
    if given.backchannel_logout_uri is not None:
        logout_addresses.check_backchannel(given.backchannel_logout_uri)
    if given.frontchannel_logout_uri is not None:
        logout_addresses.check_frontchannel(given.frontchannel_logout_uri, given.redirect_uris)


def _check_method(given: ClientInput, fapi: bool) -> None:
    method = given.token_endpoint_auth_method
    if method not in AUTH_METHODS:
        raise _bad("token_endpoint_auth_method", f"The methods are {', '.join(AUTH_METHODS)}.")
    if method == "none" and any(is_reserved(token) for token in parse_scope(given.scope)):
        raise _bad("scope", "A public client cannot hold a scope over this server.")
    if fapi:
        fapi_rules.check_client(method, given.redirect_uris)
    if given.jwks is not None and given.jwks_uri is not None:  # RFC 7591 §2
        raise _bad("jwks", "Give jwks or jwks_uri, not both.")
    if method in SIGNING_METHODS and given.jwks is None and given.jwks_uri is None:
        raise _bad("jwks", f"{method} needs the client's public keys: give jwks or jwks_uri.")
    _check_fetched("jwks_uri", given.jwks_uri)
    _check_fetched("sector_identifier_uri", given.sector_identifier_uri)
    if method == "tls_client_auth" and given.tls_client_auth_subject is None:
        raise _bad("tls_client_auth_subject", "tls_client_auth needs the certificate's subject.")


def _check_fetched(field: str, uri: str | None) -> None:
    """Check the form of an address that this server will fetch; whether it may be reached is checked with each fetch (DC-03)."""
    if uri is None:
        return
    try:
        target = split_address(uri)
    except FetchError:
        raise _bad(
            field, f"{field} must be an https address without user information or a fragment."
        ) from None
    if target.scheme != "https" and not is_loopback(target.host):
        raise _bad(field, f"{field} must be an https address.")


def _exchange(given: ClientInput, grants: tuple[str, ...]) -> ExchangeRules | None:
    rules = given.token_exchange
    if rules is None:
        return None
    if given.token_endpoint_auth_method == "none" or TOKEN_EXCHANGE not in grants:
        raise _bad("token_exchange", "Rules of exchange need the grant, and a client that can authenticate.")
    named = [*rules.serves, *rules.audiences]
    for target in rules.assertions:
        named += [target.issuer, *target.resources]
        parse_scope(" ".join(target.scope))
        if not 0 < len(target.client_id) <= 200 or not target.client_id.isprintable():
            raise _bad("token_exchange", "Name the client as the other server knows it.")
    if len(named) > 50:
        raise _bad("token_exchange", "Rules of exchange name at most 50 APIs and servers.")
    for resource in named:
        check_resource(resource)
    return msgspec.convert(rules, ExchangeRules, from_attributes=True)
