"""Clients: looked up from a cache, registered, changed and deleted, with every rule checked again on every change (AD-05)."""

import re
from collections.abc import Callable
from typing import Annotated

import msgspec

from watchword.credentials import names
from watchword.fetch import FetchError, split_address
from watchword.flows import client_checks, client_keys
from watchword.flows.identifiers import new_id
from watchword.flows.inputs import Text, Uri, check_resource
from watchword.flows.runtime import Runtime
from watchword.networks import is_loopback
from watchword.oauth import assertion, logout_addresses, mtls, redirect_uri, request_object, token_format
from watchword.oauth import fapi as fapi_rules
from watchword.oauth.answers import AnswersInput, fields_of
from watchword.oauth.clients import (
    AUTH_METHODS,
    GRANT_TYPES,
    PLAIN_GRANTS,
    SECRET_METHODS,
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
from watchword.store import clients as store
from watchword.store.clients import ClientFacts, ClientSecret

SIGNING_METHODS = ("private_key_jwt", "self_signed_tls_client_auth")
# RFC 6749 §A.1, without the space, and without `.` and `..`, which no address of the admin API can name (RFC 3986 §5.2.4).
CHOSEN_ID = re.compile(r"(?!\.+\Z)[\x21-\x7e]{1,200}")


class ClientInput(AnswersInput, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The metadata of a client as an administrator gives it; times in seconds."""

    name: Text
    redirect_uris: Annotated[list[Uri], msgspec.Meta(max_length=50)] = msgspec.field(default_factory=list)
    post_logout_redirect_uris: Annotated[list[Uri], msgspec.Meta(max_length=50)] = msgspec.field(
        default_factory=list
    )
    grant_types: Annotated[list[str], msgspec.Meta(max_length=10)] = msgspec.field(
        default_factory=lambda: ["client_credentials"]
    )
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
    dpop_bound_access_tokens: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    tls_client_auth_subject: Annotated[list[Text], msgspec.Meta(min_length=2, max_length=2)] | None = None
    security_profile: SecurityProfile = "default"
    backchannel_logout_uri: Uri | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: Uri | None = None
    frontchannel_logout_session_required: bool = False
    token_exchange: ExchangeInput | None = None


class Registered(msgspec.Struct, frozen=True):
    """A client as registered, with its secret, which is shown only now."""

    client: Client
    client_secret: str | None
    client_secret_id: str | None


async def find(runtime: Runtime, client_id: str) -> Client | None:
    """Return a client by its identifier, or None."""
    return facts.client if (facts := await find_facts(runtime, client_id)) else None


async def find_facts(runtime: Runtime, client_id: str) -> ClientFacts | None:
    """Return a client with the facts that its tokens are checked against; cached as long as the database does not change."""
    if len(client_id) > 2000 or "\x00" in client_id or not client_id.isprintable():
        return None
    version = runtime.database.version()
    cached = runtime.cache.get(("client", client_id))
    if cached is not None and cached[0] == version:
        facts: ClientFacts = cached[1]
        return facts
    found = await runtime.database.read(store.find_client, client_id)
    if found is not None:
        runtime.remember(("client", client_id), version, found)
    return found


def to_client(given: ClientInput, client_id: str, *, origin: Origin = "registered") -> Client:
    """Check metadata and return the client; raise `invalid_client_metadata`, `invalid_redirect_uri`, `invalid_scope` or `invalid_target`."""
    fapi = given.security_profile == "fapi2"
    chosen = fapi_rules.Binds(
        given.dpop_bound_access_tokens, given.tls_client_certificate_bound_access_tokens
    )
    binds = fapi_rules.binds(given.token_endpoint_auth_method, **chosen._asdict()) if fapi else chosen
    grants = tuple(SHORT_GRANTS.get(grant, grant) for grant in given.grant_types)
    check_name("name", given.name)
    _check_grants(given, grants)
    _check_method(given, fapi)
    for field in ("redirect_uris", "post_logout_redirect_uris"):
        for uri in getattr(given, field):
            redirect_uri.check_registered(uri, given.application_type, field)
    _check_logout(given)
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


def check_name(field: str, name: str) -> None:
    """Check a client's name like `check_text`, but raise `invalid_client_metadata` for the member that holds it."""
    if flaw := names.flaw("The name", name):
        raise _bad(field, flaw)


def _bad(field: str, description: str) -> OAuthError:
    return OAuthError("invalid_client_metadata", description, field=field)


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


def _check_logout(given: ClientInput) -> None:
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


async def register(
    runtime: Runtime,
    given: ClientInput,
    *,
    actor: str,
    client_id: str | None = None,
    origin: Origin = "registered",
    disabled: bool = False,
    with_secret: bool = True,
) -> Registered:
    """Register a client and create its secret, if its method uses one; raise as `to_client`, or `conflict` for a taken identifier."""
    if client_id is not None and not CHOSEN_ID.fullmatch(client_id):
        raise OAuthError(
            "invalid_request", "client_id must be 1 to 200 visible ASCII characters, not only dots."
        )
    now = runtime.now()
    client = to_client(given, client_id or new_id("client"), origin=origin)
    client = msgspec.structs.replace(client, created_at=now, disabled_at=now if disabled else None)
    if not disabled:
        await client_checks.check(runtime, client)
    has_secret = with_secret and client.token_endpoint_auth_method in SECRET_METHODS
    secret, secret_id = runtime.new_secret("s"), new_id("secret")
    kept = (secret_id, token_format.digest(secret)) if has_secret else None
    if not await runtime.database.write(store.create_client, client, secret=kept, actor=actor, now=now):
        raise OAuthError("conflict", "A client with this identifier exists.", field="client_id")
    return Registered(client, secret, secret_id) if has_secret else Registered(client, None, None)


async def add_secret(
    runtime: Runtime,
    client_id: str,
    *,
    overlap: int | None,
    expires_in: int | None = None,
    keep: Callable[[str], None] | None = None,
    actor: str,
) -> tuple[str, str]:
    """Give a client another secret, which `keep` gets before it is valid; with `overlap` older ones end after that many seconds."""
    now = runtime.now()
    client = await find(runtime, client_id)
    if client is None:
        raise OAuthError("not_found", "There is no such client.")
    if client.token_endpoint_auth_method not in SECRET_METHODS:
        raise OAuthError("invalid_request", "This client's authentication method uses no secret.")
    secret, secret_id = runtime.new_secret("s"), new_id("secret")
    if keep is not None:
        keep(secret)
    added = await runtime.database.write(
        store.add_secret,
        client_id,
        id=secret_id,
        digest=token_format.digest(secret),
        expires_at=now + expires_in if expires_in else None,
        overlap_until=None if overlap is None else now + overlap,
        actor=actor,
        now=now,
    )
    if not added:  # deleted, or given another method
        raise OAuthError(
            "precondition_failed", "The client was changed meanwhile: read it again, then repeat."
        )
    return secret, secret_id


async def remove_secret(runtime: Runtime, client_id: str, secret_id: str, *, actor: str) -> None:
    """Delete one of a client's secrets, which ends it at once; raise `not_found`."""
    if not await runtime.database.write(
        store.delete_secret, client_id, secret_id, actor=actor, now=runtime.now()
    ):
        raise OAuthError("not_found", "There is no such secret.")


async def secrets_of(runtime: Runtime, client_id: str) -> list[ClientSecret]:
    """Return the metadata of a client's secrets, without their values."""
    return await runtime.database.read(store.list_secrets, client_id)


async def change(
    runtime: Runtime,
    client_id: str,
    given: ClientInput,
    *,
    expected_version: int | None,
    disabled: bool | None = None,
    actor: str,
) -> Client:
    """Replace a client's metadata; disabling it revokes its tokens, a method without secrets ends its secrets.

    Raises `not_found`, `precondition_failed`, or as `register`.
    """
    existing = await find(runtime, client_id)
    if existing is None:
        raise OAuthError("not_found", "There is no such client.")
    client, now = existing, runtime.now()
    is_disabled = existing.disabled_at is not None if disabled is None else disabled
    if not is_disabled or given != to_input(existing):  # today's rules keep nobody from disabling it
        client = to_client(given, client_id, origin=existing.origin)
    if not is_disabled:  # it can be disabled whatever its addresses answer
        await client_checks.check(runtime, client)
    changed = await runtime.database.write(
        store.update_client,
        client,
        expected_version=existing.version if expected_version is None else expected_version,
        disabled_at=(existing.disabled_at or now) if is_disabled else None,
        kill=is_disabled,
        actor=actor,
        now=now,
    )
    if changed is None:
        raise OAuthError(
            "precondition_failed", "The client was changed meanwhile: read it again, then repeat."
        )
    return changed


def to_input(client: Client) -> ClientInput:
    """Return a client as the input that would register it again."""
    fields = {name: getattr(client, name) for name in ClientInput.__struct_fields__ if hasattr(client, name)}
    fields["scope"] = " ".join(client.scope)
    fields["jwks"] = {"keys": [dict(key) for key in client.jwks]} if client.jwks is not None else None
    return msgspec.convert(msgspec.to_builtins(fields), ClientInput)


async def delete(runtime: Runtime, client_id: str, *, actor: str) -> None:
    """Delete a client and revoke everything that was issued to it; raise `not_found`."""
    if not await runtime.database.write(store.delete_client, client_id, actor=actor, now=runtime.now()):
        raise OAuthError("not_found", "There is no such client.")
